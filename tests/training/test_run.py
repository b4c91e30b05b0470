"""A run that is interrupted ends where one that is not ends, and its monitoring changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training import checkpoint
from refdiff.training.config import (
    BatchConfig,
    Config,
    EMAConfig,
    MonitorConfig,
    OptimizerConfig,
    ProcessConfig,
    TimesConfig,
)
from refdiff.training.errors import CheckpointError, TrainingError
from refdiff.training.run import train

from . import runs

KILLS = int(os.environ.get("REFDIFF_KILLS", "6"))
"""Random moments at which a run is killed; 20 for the record."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file of images."""
    return runs.images(tmp_path_factory.mktemp("data"))


def _files(out: Path) -> dict[str, bytes]:
    """Return the bits of all weights."""
    return {
        f"{kind} {name}": value.numpy().tobytes()
        for kind in ("model", "ema")
        for name, value in load_file(out / f"{kind}.safetensors").items()
    }


def test_resumed_is_uninterrupted_to_the_bit(data: str, tmp_path: Path) -> None:
    """TRN-9, TRN-11: a run killed with SIGKILL at random moments, again and again, ends with the same bits."""
    saving = replace(runs.QUIET, save_every=2, keep=2)
    how = runs.config(data, steps=300, times=TimesConfig(sampler="second_moment", cells=4, history=2), monitor=saving)
    whole = runs.run(how, tmp_path / "whole")
    assert whole.end == "finished"
    context, moments = multiprocessing.get_context("forkserver"), random.Random(0)  # noqa: S311 - moments, not secrets
    context.set_forkserver_preload(["tests.training.runs"])
    out, killed = tmp_path / "killed", 0
    reached: set[str] = set()
    while killed < KILLS:
        process = context.Process(target=runs.resumed, args=(how, out))
        process.start()
        # Half of the moments are counted from the start, half from the first checkpoint of this process.
        before = checkpoint.listed(out)
        while killed % 2 == 0 and process.is_alive() and checkpoint.listed(out) == before:
            process.join(timeout=0.01)
        process.join(timeout=moments.uniform(0.0, 0.7))
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
            reached.update(path.name for path in checkpoint.listed(out))
            for path in checkpoint.listed(out):
                checkpoint.load(path)
        else:
            # It got to the end before it was killed: begin again, so that every kill hits a run.
            assert process.exitcode == 0
            assert _files(out) == _files(tmp_path / "whole")
            shutil.rmtree(out)
    runs.resumed(how, out)
    assert _files(out) == _files(tmp_path / "whole")
    assert len(reached) > 1


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits(data: str, tmp_path: Path, kind: signal.Signals) -> None:
    """TRN-11: SIGTERM and Ctrl-C end the step, save and say how to go on; Ctrl-C exits with 130, as shells count."""
    command = [sys.executable, "-m", "refdiff", "train", "--out", str(tmp_path / "run"), "--data", data]
    small = ["--network.width", "8", "--network.groups", "4", "--network.multipliers", "1", "--monitor.log-every", "1"]
    quiet = [
        "--steps",
        "1000000",
        "--monitor.picture-every",
        "0",
        "--monitor.eval-every",
        "0",
        "--monitor.save-every",
        "0",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, *small, *quiet], env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 3 "):
                break
        process.send_signal(kind)
        said = process.stderr.read()
    assert process.returncode == (130 if kind == signal.SIGINT else 0), said
    assert "continue with --resume" in said
    assert "Traceback" not in said
    path = checkpoint.listed(tmp_path / "run")[0]
    assert checkpoint.load(path)[1]["step"] == int(path.stem.removeprefix("step-")) >= 3


def test_resume_without_checkpoint_is_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: --resume without a checkpoint starts nothing from scratch."""
    with pytest.raises(CheckpointError, match=r"expected a checkpoint to resume from, got 0.* \(TRN-11\)$"):
        runs.run(runs.config(data), tmp_path, resume=True)


def test_new_run_over_an_old_one_is_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: without --resume what is there is not overwritten."""
    runs.run(runs.config(data, steps=1), tmp_path)
    before = _files(tmp_path)
    with pytest.raises(ConfigError, match="use --resume"):
        runs.run(runs.config(data, steps=2), tmp_path)
    assert _files(tmp_path) == before


def test_resume_with_other_settings_is_refused(data: str, tmp_path: Path) -> None:
    """TRN-11: a setting that decided the steps so far may not change, and is named; more steps may be asked for."""
    runs.run(runs.config(data, steps=2), tmp_path)
    with pytest.raises(ConfigError, match=r"got other values for seed, batch\.size"):
        runs.run(runs.config(data, steps=2, seed=1, batch=BatchConfig(size=32, shards=4)), tmp_path, resume=True)
    assert runs.run(runs.config(data, steps=3), tmp_path, resume=True).state.step == 3


def test_resume_uses_the_newest_valid_checkpoint(data: str, tmp_path: Path) -> None:
    """TRN-11: a cut checkpoint is named, and the one before goes on, to the same bits."""
    how = runs.config(data, steps=6, monitor=replace(runs.QUIET, save_every=2, keep=3))
    runs.run(how, tmp_path / "whole")
    runs.run(how, tmp_path / "cut")
    newest = checkpoint.listed(tmp_path / "cut")[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    said: list[str] = []
    train(how, tmp_path / "cut", resume=True, say=said.append)
    assert any(str(newest) in line for line in said)
    assert "resuming from step 4" in said
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


def test_monitoring_does_not_change_the_weights(data: str, tmp_path: Path) -> None:
    """TRN-13: with pictures, evaluations, metrics and checkpoints at every step the weights are the same to the bit."""
    watched = MonitorConfig(
        log_every=1, picture_every=2, eval_every=3, save_every=1, eval_samples=8, picture_samples=4, sampling_steps=4
    )
    how = runs.config(data, steps=6, ema=EMAConfig(decay=0.9), network=replace(runs.SMALL, dropout=0.2))
    runs.run(how, tmp_path / "quiet")
    result = runs.run(replace(how, monitor=watched), tmp_path / "watched")
    assert result.state.model.training
    plain, seen = (load_file(tmp_path / name / "model.safetensors") for name in ("quiet", "watched"))
    assert all(torch.equal(plain[name], seen[name]) for name in plain)


def test_logged_loss_is_the_mean_over_all_examples(data: str, tmp_path: Path) -> None:
    """TRN-13: the loss of a row is the mean over every example since the last, whatever the gradient accumulation."""
    watched = replace(runs.QUIET, log_every=2, buckets=3)
    one = runs.run(runs.config(data, steps=4, monitor=watched), tmp_path / "one").rows
    four = runs.run(
        runs.config(data, steps=4, monitor=watched, batch=BatchConfig(size=16, shards=4, accumulation=4)),
        tmp_path / "four",
    ).rows
    for row, other in zip(one, four, strict=True):
        if row["kind"] == "train":
            assert abs(row["loss"] - other["loss"]) < 1e-5
            assert all(abs(a - b) < 1e-5 for a, b in zip(row["bucket_loss"], other["bucket_loss"], strict=True))
            # Uniform times and weight 1: the mean of all is that of the buckets, by their counts, near a third each.
            assert min(row["bucket_loss"]) <= row["loss"] <= max(row["bucket_loss"])
    assert [row["step"] for row in one if row["kind"] == "train"] == [2, 4]


def test_resumed_metrics_have_no_duplicates(data: str, tmp_path: Path) -> None:
    """TRN-13: rows of steps that are done again are dropped, and a line that a crash cut."""
    watched = replace(runs.QUIET, log_every=1, save_every=2)
    runs.run(runs.config(data, steps=3, monitor=watched), tmp_path)
    checkpoint.listed(tmp_path)[0].unlink()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    runs.run(runs.config(data, steps=4, monitor=watched), tmp_path, resume=True)
    assert [row["step"] for row in runs.rows(tmp_path) if row["kind"] == "train"] == [1, 2, 3, 4]


def test_early_stopping(data: str, tmp_path: Path) -> None:
    """TRN-13: without improvement for as long as patience, the run ends early, with its best weights kept."""
    watched = replace(runs.QUIET, eval_every=1, patience=2, eval_samples=4, sampling_steps=2)
    still = OptimizerConfig(lr=1e-30, warmup=0, lr_schedule="constant")
    result = runs.run(runs.config(data, steps=50, monitor=watched, optimizer=still), tmp_path)
    assert (result.end, result.state.step) == ("stopped early", 3)
    assert (tmp_path / "best.safetensors").exists()


class Explodes(nn.Module):
    """Turns to NaN."""

    def __init__(self, event: tuple[int, ...]) -> None:
        """Take the shape of one example."""
        super().__init__()
        self.inner, self.calls = runs.Affine(event), 0

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return NaN from the fourth call on: the start-up checks take two."""
        self.calls += 1
        out: torch.Tensor = self.inner(x, t)
        return out * float("nan") if self.calls > 4 else out


def test_nonfinite_gradient_stops_before_any_update(data: str, tmp_path: Path) -> None:
    """TRN-12: NaN stops the run in one sentence, before weights, average or optimizer have seen it."""
    how = runs.config(data, steps=10, monitor=replace(runs.QUIET, save_every=1))
    with pytest.raises(TrainingError, match=r"expected finite gradients, got a norm of nan at step.* \(TRN-12\)$"):
        train(how, tmp_path, denoiser=Explodes, say=runs.quiet)
    saved = checkpoint.load(checkpoint.listed(tmp_path)[0])[1]
    assert all(torch.isfinite(value).all() for value in saved["ema"].values())
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_custom_denoiser_trains(data: str, tmp_path: Path) -> None:
    """TRN-8: a module of one's own takes the U-Net's place, and learns."""
    how = runs.config(data, steps=300, monitor=replace(runs.QUIET, log_every=100))
    result = train(how, tmp_path, denoiser=runs.Affine, say=runs.quiet)
    losses = [row["loss"] for row in result.rows if row["kind"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_findings_stop_a_run_or_warn(data: str, tmp_path: Path) -> None:
    """TRN-12: findings of the checks stop a run before its first step, or are reported as warnings."""
    how = runs.config(data, steps=1, times=TimesConfig(t_max=0.3))
    with pytest.raises(
        TrainingError,
        match=r"^expected no likely mistake [^\n]*, got: alpha_bar is 0\.\d+ at the last time[^\n]* \(TRN-12\)$",
    ):
        runs.run(how, tmp_path / "stop")
    said: list[str] = []
    train(replace(how, monitor=replace(runs.QUIET, on_findings="warn")), tmp_path / "warn", say=said.append)
    assert any("alpha_bar is" in line for line in said)


@pytest.mark.parametrize("process", ["linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain"])
@pytest.mark.parametrize("sampler", ["uniform", "stratified", "importance", "second_moment"])
def test_every_process_and_sampler_trains(data: str, tmp_path: Path, process: Any, sampler: Any) -> None:
    """TRN-8: each combination takes steps whose loss is finite."""
    masses = (1.0, 2.0) if sampler == "importance" else ()
    how = runs.config(
        data,
        steps=3,
        process=ProcessConfig(kind=process),
        times=TimesConfig(sampler=sampler, masses=masses, cells=4),
        monitor=replace(runs.QUIET, log_every=3, picture_samples=2, sampling_steps=3, picture_every=3),
    )
    rows = train(how, tmp_path, denoiser=runs.Affine, say=runs.quiet).rows
    assert all(row["loss"] > 0.0 for row in rows if row["kind"] == "train")


def test_refusals_are_one_error_line(data: str, tmp_path: Path) -> None:
    """TRN-8: what cannot be trained is refused by a RefdiffError of one line."""
    wrong = [
        runs.config(data, network=replace(runs.SMALL, multipliers=(1, 1, 1, 1))),
        runs.config("nowhere"),
        runs.config(data, preprocess=replace(Config().preprocess, held_out=40)),
        runs.config(data, runtime=replace(Config().runtime, channels_last=True)),
        runs.config(data, runtime=replace(Config().runtime, device="nowhere")),
        runs.config(data, times=TimesConfig(sampler="importance")),
        runs.config(data, objective=replace(Config().objective, weight="likelihood"),
                    process=ProcessConfig(kind="linear_chain")),
        runs.config(data, process=ProcessConfig(kind="linear_chain", steps=10)),
    ]  # fmt: skip
    for i, how in enumerate(wrong):
        with pytest.raises(RefdiffError) as refused:
            runs.run(how, tmp_path / str(i))
        assert "\n" not in str(refused.value), refused.value


def test_too_few_held_out_examples_are_refused_before_the_first_step(data: str, tmp_path: Path) -> None:
    """TRN-13: not after the last one, when a night's work would be lost."""
    how = runs.config(
        data, preprocess=replace(Config().preprocess, held_out=1), monitor=replace(runs.QUIET, eval_every=5)
    )
    with pytest.raises(ConfigError, match=r"expected at least 2 held-out examples to evaluate samples.* \(TRN-13\)$"):
        runs.run(how, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_messages_say_what_happens(data: str, tmp_path: Path) -> None:
    """Data, network, each row of metrics, each evaluation, and where the weights are; then where a run resumed."""
    watched = replace(runs.QUIET, log_every=1, eval_every=2, eval_samples=4, sampling_steps=2)
    said: list[str] = []
    train(runs.config(data, steps=2, monitor=watched), tmp_path, say=said.append)
    patterns = (
        r"training on 34 examples of shape 1 x 8 x 8 \(6 held out\): UNet with [\d,]+ parameters on cpu",
        r"step 1 of 2: loss \d\.\d{4} \(irreducible \d\.\d{4}\), gradient norm [\d.]+, lr 0\.002",
        r"step 2 of 2: loss [^\n]+",
        r"step 2: Frechet distance to held-out examples [\d.]+ \([\d.]+ ± [\d.]+ for training examples\); "
        r"precision \d+% \(\d+%\), recall \d+% \(\d+%\), coverage \d+% \(\d+%\), "
        r"duplicates [\d.]+% \([\d.]+%\), near copies [\d.]+% \([\d.]+%\)",
        rf"finished at step 2 of 2; EMA weights: {re.escape(str(tmp_path))}/ema\.safetensors",
    )
    assert len(said) == len(patterns), said
    for pattern, line in zip(patterns, said, strict=True):
        assert re.fullmatch(pattern, line), line
    train(runs.config(data, steps=3), tmp_path, resume=True, say=said.append)
    assert said[5] == "resuming from step 2"
