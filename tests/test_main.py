"""python -m refdiff: from a table of settings to samples, and what a person sees of a slip."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from refdiff.__main__ import main
from refdiff.training import checkpoint

TINY = """
steps = 2
seed = 3
[network]
width = 4
multipliers = [1]
groups = 2
[batch]
size = 8
[monitor]
log = 0
samples = 0
"""


def trained(folder: Path, *more: str) -> Path:
    """Train two steps, and return the folder."""
    (folder / "a.toml").write_text(TINY)
    assert main(["train", "--config", str(folder / "a.toml"), "--out", str(folder / "run"), *more]) == 0
    return folder / "run"


def test_options_override_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    """TRN-8: a flag, a table and a default, each where nothing stands above it."""
    config = checkpoint.weights(trained(tmp_path, "--seed", "9")).config
    assert (config.seed, config.steps, config.optimizer.rate) == (9, 2, 2e-3)


@pytest.mark.parametrize(("kind", "rules"), [
    ("cosine", ("em", "ddpm", "ddim", "ode", "rk4")),
    ("linear_chain", ("ddim", "ddpm")),
])  # fmt: skip
def test_samples_by_every_rule(tmp_path: Path, kind: str, rules: tuple[str, ...]) -> None:
    """TRN-11: numbers in [-1, 1] and a picture, from either network of a run and from a file."""
    run = trained(tmp_path, "--process.kind", kind)
    for rule in rules:
        out = tmp_path / rule
        asked = ["--out", str(out), "--rule", rule, "--num", "5", "--walk", "3"]
        assert main(["sample", "--checkpoint", str(run), "--weights", "model", *asked]) == 0
        assert main(["sample", "--checkpoint", str(run / "ema.safetensors"), *asked]) == 0
        made = np.load(out / "samples.npy")
        assert made.shape == (5, 1, 8, 8)
        assert (np.abs(made) <= 1.0).all()
        assert sorted(path.name for path in out.iterdir()) == ["samples.npy", "samples.png"]


def test_a_chain_has_no_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-8: one sentence, and exit status 2."""
    run = trained(tmp_path, "--process.kind", "linear_chain")
    capsys.readouterr()
    assert main(["sample", "--checkpoint", str(run), "--out", str(tmp_path / "x"), "--rule", "rk4"]) == 2
    assert (
        capsys.readouterr().err
        == "refdiff: expected a schedule for rk4: a chain has no rate, got DiscreteChain (SMP-6)\n"
    )


@pytest.mark.parametrize("wrong", [
    "--network.width 0", "--network.groups 0", "--network.multipliers", "--optimizer.rate nan", "--ema.decay 1",
    "--optimizer.betas 1.5 2", "--config nowhere.toml", "--data nowhere", "--reading.size 0", "--denoiser nowhere:f",
    "--denoiser a", "--denoiser :", "--denoiser math:pi", "--machine.device nowhere", "--times.t-min 1",
    "--process.steps 0", "--process.beta-max 4", "--process.kind linear_chain --process.beta-max 4",
    "--process.kind linear --process.beta-end 0.01", "--process.kind linear_chain --process.beta-end 20",
    "--monitor.rule ancestral", "--monitor.rule=euler_maruyama", "--objective.gamma nan",
    "--reading.range nan 1", "--reading.held-out 1797",
])  # fmt: skip
def test_a_wrong_setting_gives_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """TRN-8: on stderr, with the clause last, no box, no traceback; exit status 2; nothing is left behind."""
    assert main(["train", "--out", str(tmp_path / "run"), *wrong.split()]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"refdiff: expected .+, got .+ \([A-Z]{3}-\d+\)\n", said)
    assert said.count("\n") == 1
    assert "tyro" not in said
    assert checkpoint.listed(tmp_path / "run") == []


@pytest.mark.parametrize(("old", "new"), [("ancestral", "ddpm"), ("euler_maruyama", "em"), ("flow", "ode")])
def test_former_names_of_samplers_are_refused_with_the_present(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    """TRN-8: one sentence, from the command line of both commands and from a table of settings."""
    (tmp_path / "old.toml").write_text(f'monitor.rule = "{old}"')
    for asked in (
        ["sample", "--checkpoint", "x", "--out", "y", "--rule", old],
        ["train", "--out", str(tmp_path / "run"), f"--monitor.rule={old}"],
        ["train", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "old.toml")],
    ):
        assert main(asked) == 2
        want = f"refdiff: expected the rule '{new}', got its former name '{old}' (SMP-6)\n"
        assert capsys.readouterr().err == want


@pytest.mark.parametrize("wrong", [
    "", "train", "train --out x --steps abc", "train --out x --config", "train --out x --lr 1",
    "sample --out x", "sample --checkpoint x --out y --rule none", "nonsense",
])  # fmt: skip
def test_an_unknown_command_is_explained(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """TRN-8: exit status 2 and where to read more, by the name of the program."""
    with pytest.raises(SystemExit) as ended:
        main(wrong.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "refdiff" in said
    assert "__main__" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["", "train ", "sample "])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """TRN-8: on stdout, with status 0."""
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "usage: refdiff" in capsys.readouterr().out


def test_weights_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-11: one sentence."""
    assert main(["sample", "--checkpoint", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("refdiff: expected weights exported by refdiff, got ")
