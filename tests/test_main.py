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
log_every = 0
picture_every = 0
"""


def trained(folder: Path, *more: str) -> Path:
    """Train two steps, and return the folder."""
    (folder / "a.toml").write_text(TINY)
    assert main(["train", "--config", str(folder / "a.toml"), "--out", str(folder / "run"), *more]) == 0
    return folder / "run"


def test_options_override_the_file_and_the_defaults(tmp_path: Path) -> None:
    """TRN-8: a flag, a table and a default, each where nothing stands above it."""
    config = checkpoint.weights(trained(tmp_path, "--seed", "9")).config
    assert (config.seed, config.steps, config.optimizer.lr) == (9, 2, 2e-3)


@pytest.mark.parametrize(("kind", "rules"), [
    ("cosine", ("em", "ddpm", "ddim", "ode", "rk4")),
    ("linear_chain", ("ddim", "ddpm")),
])  # fmt: skip
def test_every_sampler_samples(tmp_path: Path, kind: str, rules: tuple[str, ...]) -> None:
    """TRN-11: numbers in [-1, 1] and a picture, from either network of a run and from a file."""
    run = trained(tmp_path, "--process.kind", kind)
    for rule in rules:
        out = tmp_path / rule
        asked = ["--out", str(out), "--sampler", rule, "--num", "5", "--steps", "3"]
        assert main(["sample", "--checkpoint", str(run), "--weights", "model", *asked]) == 0
        assert main(["sample", "--checkpoint", str(run / "ema.safetensors"), *asked]) == 2
        assert main(["sample", "--checkpoint", str(run / "ema.safetensors"), *asked, "--overwrite"]) == 0
        made = np.load(out / "samples.npy")
        assert made.shape == (5, 1, 8, 8)
        assert (np.abs(made) <= 1.0).all()
        assert sorted(path.name for path in out.iterdir()) == ["samples.npy", "samples.png"]


def test_rk4_on_a_chain_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-8: one sentence, and exit status 2."""
    run = trained(tmp_path, "--process.kind", "linear_chain")
    capsys.readouterr()
    assert main(["sample", "--checkpoint", str(run), "--out", str(tmp_path / "x"), "--sampler", "rk4"]) == 2
    assert (
        capsys.readouterr().err
        == "refdiff: expected a schedule for rk4: a chain has no rate, got DiscreteChain (SMP-6)\n"
    )


@pytest.mark.parametrize("wrong", [
    "--network.width 0", "--network.groups 0", "--network.multipliers", "--optimizer.lr nan", "--ema.decay 1",
    "--optimizer.betas 1.5 2", "--config nowhere.toml", "--data nowhere", "--preprocess.size 0", "--denoiser nowhere:f",
    "--denoiser a", "--denoiser :", "--denoiser math:pi", "--runtime.device nowhere", "--times.t-min 1",
    "--process.steps 0", "--process.beta-max 4", "--process.kind linear_chain --process.beta-max 4",
    "--process.kind linear --process.beta-end 0.01", "--process.kind linear_chain --process.beta-end 20",
    "--monitor.sampler ancestral", "--monitor.sampler=euler_maruyama", "--objective.gamma nan",
    "--preprocess.range nan 1", "--preprocess.held-out 1797",
])  # fmt: skip
def test_wrong_options_are_one_error_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """TRN-8: on stderr, with the clause last, no box, no traceback; exit status 2; nothing is left behind."""
    assert main(["train", "--out", str(tmp_path / "run"), *wrong.split()]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"refdiff: expected .+, got .+ \([A-Z]{3}-\d+\)\n", said)
    assert said.count("\n") == 1
    assert "tyro" not in said
    assert checkpoint.listed(tmp_path / "run") == []


@pytest.mark.parametrize(("old", "new"), [("ancestral", "ddpm"), ("euler_maruyama", "em"), ("flow", "ode")])
def test_former_sampler_names_are_refused_with_the_present_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    """TRN-8: one sentence, from the command line of both commands and from a table of settings."""
    (tmp_path / "old.toml").write_text(f'monitor.sampler = "{old}"')
    for asked in (
        ["sample", "--checkpoint", "x", "--out", "y", "--sampler", old],
        ["train", "--out", str(tmp_path / "run"), f"--monitor.sampler={old}"],
        ["train", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "old.toml")],
    ):
        assert main(asked) == 2
        want = f"refdiff: expected the sampler '{new}', got its former name '{old}' (SMP-6)\n"
        assert capsys.readouterr().err == want


@pytest.mark.parametrize(("wrong", "message"), [
    ("train --out x --optimizer.rate 1e-3", "expected --optimizer.lr, got its former name --optimizer.rate"),
    ("train --out x --optimizer.warm-up=1", "expected --optimizer.warmup, got its former name --optimizer.warm-up"),
    ("train --out x --ema.no-warm-up", "expected --ema.warmup, got its former name --ema.no-warm-up"),
    ("train --out x --reading.held-out 3", "expected --preprocess.held-out, got its former name --reading.held-out"),
    ("sample --checkpoint x --out y --rule ddim", "expected --sampler, got its former name --rule"),
    ("sample --checkpoint x --out y --walk=3", "expected --steps, got its former name --walk"),
])  # fmt: skip
def test_former_options_are_refused_with_the_present_ones(
    capsys: pytest.CaptureFixture[str], wrong: str, message: str
) -> None:
    """TRN-8: one sentence for whoever has a command of an earlier version."""
    assert main(wrong.split()) == 2
    assert capsys.readouterr().err == f"refdiff: {message} (TRN-8)\n"


@pytest.mark.parametrize("wrong", [
    "", "train", "train --out x --steps abc", "train --out x --config", "train --out x --lr 1",
    "sample --out x", "sample --checkpoint x --out y --sampler none", "nonsense",
])  # fmt: skip
def test_invalid_commands_are_explained(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
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


def test_missing_weights_are_one_error_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-11: one sentence."""
    assert main(["sample", "--checkpoint", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("refdiff: expected weights exported by refdiff, got ")
