"""The words are executed: code blocks of README.md and CONTRIBUTING.md, and the report that the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
VECTORS = (ROOT / "spec" / "vectors" / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


FILES = {match[1]: code for code in blocks(README, "python") if (match := re.match(r"# (\w+\.py)\n", code))}
SCRIPTS = [
    code for text in (README, CONTRIBUTING, VECTORS) for code in blocks(text, "python") if code not in FILES.values()
]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, as a reader would."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REFDIFF"))}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Return a folder with the files that the README prints."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    return tmp_path


def test_readme_prints_three_files() -> None:
    """A library, an adapter of ten lines, a unit test of six."""
    assert list(FILES) == ["mylib.py", "mylib_refdiff.py", "test_mylib.py"]
    code = [line for line in FILES["mylib_refdiff.py"].splitlines() if line and not line.startswith("#")]
    assert len(code) <= 10
    code = [line for line in FILES["test_mylib.py"].splitlines() if line and not line.startswith("#")]
    assert len(code) <= 6


def test_report_in_the_readme_is_real(theirs: Path) -> None:
    """Each line that the README shows is printed by the run that it describes."""
    (command,) = (line for line in blocks(README, "console") if "mylib_refdiff" in line)
    options = command.split("refdiff_validation ")[1].split()
    done = run(theirs, "-m", "pytest", str(ROOT / "validation"), "-p", "no:cacheprovider", *options)
    assert done.returncode == 1
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    (shown,) = blocks(README, "text")
    missing = [line for line in shown.splitlines() if line and line.rstrip() not in printed]
    assert not missing, done.stdout


def test_unit_test_in_the_readme_passes(theirs: Path) -> None:
    """The oracle of a unit test, as printed."""
    done = run(theirs, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mylib.py")
    assert done.returncode == 0, done.stdout


COMMANDS = [line for block in blocks(README, "console") for line in block.splitlines()]
TRAINING = [line.split()[1:] for line in COMMANDS if line.startswith("python -m refdiff ")]
TINY = ["--steps=2", "--batch.size=8", "--network.width=8"]
TINY += [f"--monitor.{name}" for name in ("judged=4", "walk=2", "shown=2")]


def test_training_commands_of_the_readme(tmp_path: Path) -> None:
    """Each trains, resumes or samples as printed, but for the size and the number of steps."""
    from PIL import Image  # lazy import: part of the extra `train`

    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.new("RGB", (48, 40), (20 * i, 255 - 20 * i, 99)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "mine.toml").write_text('objective = {prediction = "eps"}\n', encoding="utf-8")
    for command in TRAINING:
        done = run(tmp_path, *command, *(TINY if "train" in command else []))
        assert done.returncode == 0, done.stderr
    left = {"model.safetensors", "ema.safetensors", "metrics.jsonl", "run.png", "samples.png", "checkpoints"}
    assert left <= {path.name for path in (tmp_path / "runs" / "digits").iterdir()}
    assert {path.name for path in (tmp_path / "runs" / "samples").iterdir()} == {"samples.npy", "samples.png"}
    assert len(TRAINING) == 4


@pytest.mark.parametrize("code", SCRIPTS, ids=range(len(SCRIPTS)))
def test_script(code: str, tmp_path: Path) -> None:
    """Every other block runs, without a warning, beside the specification."""
    (tmp_path / "spec").symlink_to(ROOT / "spec")
    done = run(tmp_path, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def test_commands_are_those_of_ci() -> None:
    """The commands in the pages are those that CI runs."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for text in (README, CONTRIBUTING):
        for part in re.findall(r"python -m pytest (?:-n auto tests|validation)$", text, re.M):
            assert part in script
    for tool in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        assert tool in CONTRIBUTING
        assert tool in script


def test_links_lead_somewhere() -> None:
    """Every relative link of the pages is a file of the repository."""
    for text in (README, CONTRIBUTING):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (ROOT / link).exists(), link
