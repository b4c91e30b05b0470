"""The gate: the guide is followed literally, and the template of an adapter runs for all that a library may have."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from refdiff.conformance import new
from refdiff.conformance.interface import METHODS
from refdiff.conformance.judge import Judge
from tests.guide import EXPECTED, follow
from tests.meta.variants.judging import failing
from validation.checks.suite import checks

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "refdiff" / "conformance" / "gate.md"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, in which Python is this one and finds the checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "REFDIFF"))]:
        monkeypatch.delenv(name)
    return tmp_path


def test_guide_ends_as_it_says(beside: Path) -> None:
    """The gate is red until the adapter is filled in, red for the wrong library, and green for the mended one."""
    text = GUIDE.read_text(encoding="utf-8").replace("--pyargs refdiff_validation", str(ROOT / "validation" / "checks"))
    done = follow(text, beside, skip=lambda line: "pip install" in line)
    assert tuple(code for _, code, _ in done) == EXPECTED[1:], "\n".join(output[-1500:] for _, _, output in done)
    outputs = [output for _, _, output in done]
    assert "unsupported, as perturb is not connected yet" in outputs[1]
    assert re.search(r"noiselib: MAR-2 fail: .*sigma", outputs[2])
    assert "noiselib conforms" in outputs[3]
    assert tomllib.loads((beside / "known.toml").read_text(encoding="utf-8")) == {}


ACTION = (ROOT / ".github" / "actions" / "gate" / "action.yml").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8")


def act(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the action in a folder, with some of its inputs."""
    (command,) = re.findall(r"run: \|\n((?: {8}.*\n)+)", ACTION)
    command = command.replace("--pyargs refdiff_validation", str(ROOT / "validation" / "checks"))
    inputs = dict.fromkeys(("TARGET", "EXEC", "REQUIRE", "KNOWN", "OPTIONS"), "") | given
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607  # the shell that the runner has
        cwd=folder,
        env={**os.environ, **inputs},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("given", [{}, {"KNOWN": "known.toml", "REQUIRE": "MAR-2", "OPTIONS": "--refdiff-chapter MAR"}])
def test_action_runs_the_gate(given: dict[str, str], beside: Path) -> None:
    """The command of the action judges the target that it is given, with and without its other inputs."""
    assert len(_written(beside)) == 2
    (beside / "known.toml").write_text("", encoding="utf-8")
    done = act(beside, TARGET="noiselib_refdiff:Target", **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "noiselib conforms" in done.stdout
    assert ("MAR only" in done.stdout) == bool(given)


def test_action_without_a_target_fails(beside: Path) -> None:
    """The action never judges refdiff in place of a target that is not named."""
    done = act(beside)
    assert done.returncode == 1
    assert "expected a target or exec, got neither" in done.stdout


def _written(folder: Path) -> list[str]:
    """Write the right library of the guide, and its adapter."""
    text = GUIDE.read_text(encoding="utf-8")
    found = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.S))
    for name, code in found.items():
        (folder / name).write_text(code, encoding="utf-8")
    return list(found.values())


def test_action_and_workflow_use_options_that_exist() -> None:
    """Every option in the action and the workflow is one of the plugin."""
    known = (ROOT / "refdiff" / "conformance" / "options.py").read_text(encoding="utf-8")
    for option in re.findall(r"--refdiff-([a-z-]+)", ACTION + WORKFLOW):
        assert f'"{option}"' in known or f"--refdiff-{option}" in known


@pytest.mark.parametrize("framework", new.FRAMEWORKS)
@pytest.mark.parametrize("process", new.PROCESSES)
def test_template_runs_and_says_what_is_missing(
    process: str, framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter of every capability loads, and fails CON-1 for each, as none is filled in."""
    if process == "none":
        has: tuple[str, ...] = ("times", "ema", "guide")
    else:
        has = tuple(name for name in METHODS if not (process == "chain" and name == "sde"))
    monkeypatch.chdir(tmp_path)
    name = f"lib_{process}_{framework}"
    chosen = ["--has", ",".join(has), "--process", process, "--framework", framework]
    assert new.main([name, *chosen]) == 0
    judge = Judge.of(f"{name}_refdiff:Target", folder=tmp_path)
    assert judge.load_failure is None
    assert judge.claim is not None
    assert judge.claim.capabilities == set(has)
    outcomes = judge.judge((check, body) for check, body in checks() if check.clause in ("CON-1", "CON-2"))
    assert not failing(outcomes)
    assert {outcome.status for outcome in outcomes if outcome.clause == "CON-2"} == {"unsupported"}
    tree = ast.parse((tmp_path / f"{name}_refdiff.py").read_text(encoding="utf-8"))
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    assert len(raised) == sum(len(METHODS[one]) for one in METHODS if one in has)


@pytest.mark.parametrize("has", [["schedule"], ["perturb", "loss"], [*METHODS]])
@pytest.mark.parametrize("framework", new.FRAMEWORKS)
def test_template_is_tidy(has: list[str], framework: str, tmp_path: Path) -> None:
    """The adapter has the layout that ruff's formatter gives, and no line above 120 characters."""
    library = new.Library(name="lib", framework=framework, dtype="float64", capabilities=tuple(has), process="chain")
    path = tmp_path / "lib_refdiff.py"
    path.write_text(library.adapter(), encoding="utf-8")
    command = ["-m", "ruff", "format", "--check", "--isolated", "--line-length", "120", str(path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
    assert max(map(len, library.adapter().splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["my-lib", "--has", "ema", "--process", "none"], "expected the name of a module, got 'my-lib'"),
        (["class", "--has", "ema", "--process", "none"], "expected the name of a module, got 'class'"),
        (["lib", "--has", "noise", "--process", "own"], "expected capability as one of schedule, perturb"),
        (["lib", "--has", "perturb", "--process", "own"], "wrote"),
        (["lib"], "expected --has and --process, as there is no terminal to ask in, got neither or one"),
        (["lib", "--has", "perturb"], "expected --has and --process"),
        (
            ["lib", "--has", "ema", "--process", "flow"],
            "expected process as one of linear, cosine, chain, own, none, got 'flow'",
        ),
        (
            ["lib", "--has", "ema", "--process", "none", "--framework", "mxnet"],
            "expected framework as one of numpy, torch, jax, got 'mxnet'",
        ),
        (["lib", "--has", "ema", "--process", "none", "--dtype", "int8"], "expected dtype as one of float16"),
        (
            ["lib", "--has", "ema", "--process", "none", "--out", "missing/lib.py"],
            "expected a new file for the adapter: delete it, or name another by --out; got missing/lib.py",
        ),
    ],
)
def test_wrong_answer_is_one_sentence(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the contract does not know is refused in a sentence, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    code = new.main(arguments)
    told = "".join(capsys.readouterr())
    assert says in told
    assert (code == 0) == (says == "wrote")
    assert bool(list(tmp_path.iterdir())) == (says == "wrote")


def test_adapter_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run leaves the adapter alone that somebody may have filled in."""
    monkeypatch.chdir(tmp_path)
    command = ["lib", "--has", "perturb", "--process", "linear"]
    assert new.main(command) == 0
    (tmp_path / "lib_refdiff.py").write_text("mine", encoding="utf-8")
    assert new.main(command) == 1
    assert (tmp_path / "lib_refdiff.py").read_text(encoding="utf-8") == "mine"
