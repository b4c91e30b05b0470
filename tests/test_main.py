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


@pytest.mark.parametrize(("wrong", "message"), [
    ("", "expected train or sample as the command (see --help), got none"),
    ("nonsense", "expected train or sample as the command (see --help), got nonsense"),
    ("train", "expected the option --out, got none"),
    ("sample --out x", "expected the option --checkpoint, got none"),
    ("train extra --out x", "expected an option such as --out, got 'extra'"),
    ("train --out x extra", "expected one value for --out, got 'x', 'extra'"),
    ("train --out x --config", "expected one value for --config, got none"),
    ("train --out x --ema.warmup true", "expected no value for --ema.warmup, got 'true'"),
    ("train --out x --ema.no-decay 1", "expected an option of this command such as --ema.decay, got --ema.no-decay"),
    ("train --out x --optimizer.betas 0.9", "expected 2 values for --optimizer.betas, got '0.9'"),
    ("train --out x --steps abc", "expected an integer for --steps, got 'abc'"),
    ("train --out x --seed 1.5", "expected an integer for --seed, got '1.5'"),
    ("train --out x --optimizer.lr fast", "expected a number for --optimizer.lr, got 'fast'"),
    ("train --out x --optimizer.kind lion", "expected adam, adamw or sgd for --optimizer.kind, got 'lion'"),
    ("sample --checkpoint x --out y --sampler none", "expected em, ddpm, ddim, ode or rk4 for --sampler, got 'none'"),
    ("train --out x --lr 1", "expected an option of this command such as --optimizer.lr, got --lr"),
    ("train --out x --step 2", "expected an option of this command such as --steps, got --step"),
    ("train --out x --zebra 2", "expected an option of this command (see --help), got --zebra"),
    ("train --out=", "expected a path for --out, got ''"),
])  # fmt: skip
def test_invalid_commands_are_one_error_line(capsys: pytest.CaptureFixture[str], wrong: str, message: str) -> None:
    """TRN-8: one sentence that names the option as it was typed, exit status 2, and nothing in tyro's words."""
    assert main(wrong.split()) == 2
    assert capsys.readouterr().err == f"refdiff: {message} (TRN-8)\n"


@pytest.mark.parametrize("wrong", [
    "--network.width 4611686018427387904", "--network.width 1048576", "--batch.size 9223372036854775808",
    "--batch.size 1099511627776", "--preprocess.pad 4611686018427387904", "--preprocess.pad 1000000",
    "--monitor.eval-samples 1099511627776", "--monitor.picture-samples 1099511627776",
    "--monitor.buckets 1099511627776", "--times.cells 1099511627776 --times.sampler second_moment",
    "--network.blocks 1000000000000", "--monitor.sampling-steps 1000000000000",
])  # fmt: skip
def test_sizes_beyond_the_memory_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """TRN-8: before anything is allocated, in one sentence that names the setting to lower."""
    assert main(["train", "--out", str(tmp_path / "run"), *wrong.split()]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"refdiff: expected .+, got .+ \([A-Z]{3}-\d+\)\n", said)
    assert wrong.split()[0].removeprefix("--").replace("-", "_").partition(".")[2] in said


@pytest.mark.parametrize("command", ["", "train ", "sample "])
def test_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """TRN-8: on stdout, with status 0."""
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "usage: refdiff" in capsys.readouterr().out


def test_absurd_samples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-8: a number, a seed or steps that no machine could take are one sentence, before anything is drawn."""
    run = trained(tmp_path)
    for wrong in ("--num 0", "--num -1", "--num 1000000000000", "--seed -1", "--steps 0", "--steps 1000000000000"):
        capsys.readouterr()
        assert main(["sample", "--checkpoint", str(run), "--out", str(tmp_path / "x"), *wrong.split()]) == 2
        assert re.fullmatch(r"refdiff: expected .+, got .+ \([A-Z]{3}-\d+\)\n", capsys.readouterr().err), wrong
    assert not (tmp_path / "x").exists()


def test_control_characters_are_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-8: a name with ESC or a line break changes neither the colours of a terminal nor the lines of a log."""
    assert main(["train", "--out", str(tmp_path / "run"), "--config", "\x1b[31mred\nline"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 1


def test_missing_weights_are_one_error_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRN-11: one sentence."""
    assert main(["sample", "--checkpoint", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("refdiff: expected weights exported by refdiff, got ")
