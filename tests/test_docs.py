"""The pages are true: their code runs, their links lead somewhere, and their lines are short."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from refdiff.__main__ import main
from refdiff.conformance import options
from refdiff.conformance.clauses import clauses
from refdiff.conformance.known import read as read_known

ROOT = Path(__file__).parents[1]
PATHS = (
    "README.md",
    "CONTRIBUTING.md",
    "refdiff/conformance/README.md",
    "refdiff/conformance/gate.md",
    "refdiff/training/README.md",
    "refdiff/conformance/reading.md",
    "validation/README.md",
    "validation/faults/MATRIX.md",
    "validation/gallery.md",
    "validation/MUTATION.md",
    "validation/targets/FINDINGS.md",
    "validation/targets/MUTATION.md",
    "validation/targets/RESULTS.md",
    "spec/README.md",
    "spec/vectors/README.md",
)
PAGES = {path: (ROOT / path).read_text(encoding="utf-8") for path in PATHS}
README, CONTRIBUTING, ADAPTERS, GATE, TRAINER, READING = (PAGES[path] for path in PATHS[:6])
SPECIFICATION = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted((ROOT / "spec").glob("*.md"))
}


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def find_files(text: str) -> dict[str, str]:
    """Return the blocks of a page that begin with the name of a file, by that name."""
    code = [*blocks(text, "python"), *blocks(text, "toml")]
    return {match[1]: block for block in code if (match := re.match(r"# (\w+\.\w+)\n", block))}


FILES = {name: code for text in PAGES.values() for name, code in find_files(text).items()}
SCRIPTS = {
    f"{path}:{number}": code
    for path, text in PAGES.items()
    for number, code in enumerate(blocks(text, "python"), start=1)
    if code not in FILES.values()
}
RUNNER = """
import json, os, sys, traceback
failures = {}
for name, (folder, code) in json.load(sys.stdin).items():
    os.chdir(folder)
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    except BaseException:
        failures[name] = traceback.format_exc()
sys.exit("scripts failed: " + json.dumps(failures) if failures else 0)
"""
"""Runs scripts one after another, each in its folder and with names of its own: torch is imported once."""


def run(folder: Path, *command: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, as a reader would, with some text as its input."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REFDIFF"))}
    clean |= environment
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def fill(folder: Path) -> Path:
    """Write the files that the pages print, beside the specification."""
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "spec").symlink_to(ROOT / "spec")
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return a folder with the files that the pages print, beside the specification."""
    return fill(tmp_path)


def test_every_page_is_tested() -> None:
    """No Markdown file of the repository is left out."""
    folders = ("refdiff", "spec", "tests", "validation")
    found = [*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))]
    assert {path.relative_to(ROOT).as_posix() for path in found} == {*PAGES, *SPECIFICATION}


def test_readme_prints_three_files() -> None:
    """A library, an adapter of ten lines, a unit test of six."""
    files = find_files(README)
    assert list(files) == ["mylib.py", "mylib_refdiff.py", "test_mylib.py"]
    code = [line for line in files["mylib_refdiff.py"].splitlines() if line and not line.startswith("#")]
    assert len(code) <= 10
    code = [line for line in files["test_mylib.py"].splitlines() if line and not line.startswith("#")]
    assert len(code) <= 6


def test_readme_is_short() -> None:
    """At most 120 lines: the guides have the rest."""
    assert len(README.splitlines()) <= 120


def test_shown_report_is_real(theirs: Path) -> None:
    """Each line of a report that a page shows is printed by the run that the README describes."""
    (command,) = (line for line in blocks(README, "console") if "mylib_refdiff" in line)
    given = command.split("refdiff_validation ")[1].split()
    done = run(theirs, "-m", "pytest", str(ROOT / "validation"), "-p", "no:cacheprovider", *given)
    assert done.returncode == 1
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    shown = [
        line.rstrip() for text in (README, READING) for block in blocks(text, "text") for line in block.split("\n")
    ]
    assert len(shown) > 8
    assert not [line for line in shown if line and line not in printed], done.stdout


def test_unit_test_in_the_readme_passes(theirs: Path) -> None:
    """The oracle of a unit test, as printed."""
    done = run(theirs, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mylib.py")
    assert done.returncode == 0, done.stdout


COMMANDS = [line for text in (README, TRAINER) for block in blocks(text, "console") for line in block.splitlines()]
TRAINING = [line.split()[1:] for line in COMMANDS if line.startswith("python -m refdiff ")]
TINY = ["--steps=2", "--batch.size=8", "--network.width=8"]
TINY += [f"--monitor.{name}" for name in ("eval-samples=4", "sampling-steps=2", "picture-samples=2")]


@pytest.mark.usefixtures("unhooked")
def test_training_commands(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trains, resumes or samples as printed, but for the size and the number of steps."""
    from PIL import Image  # lazy import: part of the extra `train`

    (theirs / "photos").mkdir()
    for i in range(12):
        Image.new("RGB", (48, 40), (20 * i, 255 - 20 * i, 99)).save(theirs / "photos" / f"{i}.png")
    for command in TRAINING[:1]:
        done = run(theirs, *command, *TINY)
        assert done.returncode == 0, done.stderr
    monkeypatch.chdir(theirs)
    for command in TRAINING[1:]:  # in this process, which has imported torch
        assert command[:2] == ["-m", "refdiff"]
        assert main([*command[2:], *(TINY if "train" in command else [])]) == 0
    left = {"model.safetensors", "ema.safetensors", "metrics.jsonl", "run.png", "samples.png", "checkpoints"}
    assert left <= {path.name for path in (theirs / "runs" / "digits").iterdir()}
    assert {path.name for path in (theirs / "runs" / "samples").iterdir()} == {"samples.npy", "samples.png"}
    labelled = {path.name for path in (theirs / "runs" / "labelled-samples").iterdir()}
    assert labelled == {"samples.npy", "samples.png", "labels.npy"}
    assert len(TRAINING) == 7


LAUNCHES = [line.split()[1:] for line in COMMANDS if line.startswith("torchrun ")]


def test_launches_of_several_processes(tmp_path: Path) -> None:
    """Each trains on as many processes as it names, and ends with all files, as printed but for the number of steps."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    for command in LAUNCHES:
        done = run(tmp_path, "-m", "torch.distributed.run", *command, TINY[0], OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("finished at step 2 of 2") == 1
        left = {"model.safetensors", "ema.safetensors", "best.safetensors", "samples.png", "run.png"}
        assert left <= {path.name for path in (tmp_path / command[command.index("--out") + 1]).iterdir()}
    assert len(LAUNCHES) == 1


def test_every_command_is_run_or_known() -> None:
    """A command that is neither trained nor sampled here installs packages, or runs pytest, as CI does."""
    others = [line for line in COMMANDS if line.split()[1:] not in [*TRAINING, *LAUNCHES]]
    assert all(line.startswith(("python -m pip install", "python -m pytest")) for line in others), others


def test_scripts(tmp_path: Path) -> None:
    """Every other Python block runs, without a warning, beside the files that the pages print."""
    given = {}
    for number, (name, code) in enumerate(SCRIPTS.items()):
        (folder := tmp_path / str(number)).mkdir()
        given[name] = (str(fill(folder)), code)
    done = run(tmp_path, "-W", "error", "-c", RUNNER, given=json.dumps(given))
    assert done.returncode == 0, done.stderr
    assert len(given) > 8


def test_a_script_that_fails_is_seen(tmp_path: Path) -> None:
    """An error, a warning and an exit are each a failure of their script, and the next one runs."""
    codes = {"error": "1 / 0", "warning": "import warnings; warnings.warn('old')", "exit": "exit()", "right": "a = 1"}
    given = {name: (str(tmp_path), code) for name, code in codes.items()}
    done = run(tmp_path, "-W", "error", "-c", RUNNER, given=json.dumps(given))
    assert done.returncode == 1
    assert json.loads(done.stderr.removeprefix("scripts failed: ")).keys() == {"error", "warning", "exit"}


def test_known_failures_are_valid(tmp_path: Path) -> None:
    """Each TOML block that is no file of settings is a file of known failures that the suite accepts."""
    found = [block for text in PAGES.values() for block in blocks(text, "toml") if block not in FILES.values()]
    for block in found:
        path = tmp_path / "known.toml"
        path.write_text(block, encoding="utf-8")
        assert read_known(path, clauses()).keys() == tomllib.loads(block).keys()
    assert len(found) == 1


class Recorder:
    """Stands for pytest's parser, and keeps the names of the options."""

    def __init__(self) -> None:
        """Begin with none."""
        self.names: set[str] = set()

    def getgroup(self, *_: str) -> Recorder:
        """Return the group, which is the parser itself."""
        return self

    def addoption(self, name: str, **_: Any) -> None:
        """Keep the name."""
        self.names.add(name)


def find_messages(text: str) -> Iterator[Any]:
    """Yield the values of a block of JSON that has several, one after another."""
    rest = text.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        yield value
        rest = rest[end:].strip()


def test_messages_are_valid() -> None:
    """Every block of JSON in the specification is a message of the protocol."""
    schema = json.loads((ROOT / "spec" / "protocol.schema.json").read_text(encoding="utf-8"))
    texts = [block for text in SPECIFICATION.values() for block in blocks(text, "json")]
    messages = [message for text in texts for message in find_messages(text)]
    for message in messages:
        Draft202012Validator(schema).validate(message)
    assert len(messages) == 3


def test_options_exist() -> None:
    """Every option of the suite that a page names is one of the plugin, and the guide of adapters names them all."""
    plugin = Recorder()
    options.add(cast("pytest.Parser", plugin))
    named = {path: set(re.findall(r"--refdiff-[a-z]+(?:-[a-z]+)*", text)) for path, text in PAGES.items()}
    assert not set().union(*named.values()) - plugin.names
    assert named["refdiff/conformance/README.md"] == plugin.names


def test_commands_are_those_of_ci() -> None:
    """The commands in the pages are those that CI runs."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for text in (README, CONTRIBUTING):
        found = re.findall(r"python -m pytest (?:-n auto tests|validation)$", text, re.M)
        assert len(found) == 2
        for part in found:
            assert part in script
    for tool in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        assert tool in CONTRIBUTING
        assert tool in script


def test_modules_exist() -> None:
    """Every `python -m module` of the pages that is the repository's can be found."""
    text = "\n".join([*PAGES.values(), *SPECIFICATION.values()])
    modules = {name.rstrip(".") for name in re.findall(r"python -m ([\w.]+)", text)}
    # Looking for pip, of all modules, would import setuptools.
    modules = {name for name in modules if name.partition(".")[0] in ("refdiff", "validation", "tests")}
    assert len(modules) > 8
    assert not [name for name in modules if find_spec(name) is None]


def name_headings(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted({**PAGES, **SPECIFICATION}))
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the repository, and every anchor a heading of that page."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in name_headings(target), f"{link}#{anchor}"


def find_long_lines(text: str) -> Iterator[str]:
    """Yield the lines of more than 160 characters outside tables and code, with their numbers."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside and not line.startswith(("|", "    ")) and len(line) > 160:
            yield f"{number}: {line}"


@pytest.mark.parametrize("page", sorted({**PAGES, **SPECIFICATION}))
def test_lines_are_short(page: str) -> None:
    """A line that is short can be read, quoted and compared."""
    assert list(find_long_lines((ROOT / page).read_text(encoding="utf-8"))) == []


def test_long_lines_are_seen() -> None:
    """Prose and list items count; tables, fenced and indented code do not."""
    long = "x" * 161
    text = f"{long}\n| {long}\n```\n{long}\n```\n    {long}\n- {long}\n"
    assert [line.split(":")[0] for line in find_long_lines(text)] == ["1", "7"]
