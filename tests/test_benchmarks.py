"""The benchmarks run, and count what they say they count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch

from refdiff.nn import Architecture
from refdiff.training import config
from refdiff.training.data import load, split
from validation.tools.benchmarks import conditional, fashion, peers, trainer
from validation.tools.benchmarks.noising import Batch, main
from validation.tools.benchmarks.timing import compare

TINY = [Batch(shape=(2, 3)), Batch(shape=(2, 1, 2, 2), dtype=torch.bfloat16)]


def test_noising_prints_a_row_for_each_batch_and_a_verdict_for_each_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two batches, the bars are for the first; the number of threads is as it was."""
    before = torch.get_num_threads()
    assert main(["--rounds", "2"], TINY, threads=(1,)) == 0
    assert torch.get_num_threads() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in lines[1:5]] == [5] * 4
    for line, name in zip(lines[5:], ("drawn", "given"), strict=True):
        assert line.startswith(f"{name}, (2, 3) float32, threads 1: ")


def test_a_missed_bar_is_an_error_only_if_asked() -> None:
    """Two numbers a batch are all overhead, and miss the bar of what is drawn by far."""
    assert main(["--rounds", "2", "--strict"], TINY[:1], threads=(1,)) == 1


SMALL = config.Config(
    network=Architecture(width=8, multipliers=(1,)),
    batch=config.BatchConfig(size=4),
    monitor=config.MonitorConfig(log_every=2),
    runtime=config.RuntimeConfig(device="cpu"),
)


def test_the_trainer_prints_a_row_for_each_number_of_threads(capsys: pytest.CaptureFixture[str]) -> None:
    """Threads, two ratios with quartiles, steps per second; two verdicts; the number of threads is as it was."""
    before = torch.get_num_threads()
    assert trainer.main(["--rounds", "2"], SMALL, threads=(1,)) == 0
    assert torch.get_num_threads() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in lines[1:4]] == [5] * 3
    for line, name in zip(lines[4:], ("trainer", "same optimizer"), strict=True):
        assert line.startswith(f"{name}, threads 1: ")


def test_a_trainer_that_is_mostly_overhead_misses_its_bar() -> None:
    """On 4 images and 8 channels the steps around the network cost more than 3 % of it; an error only if asked."""
    assert trainer.main(["--rounds", "2", "--strict"], SMALL, threads=(1,)) == 1


def test_the_bare_loop_learns_what_the_trainer_learns(tmp_path: Path) -> None:
    """The compared loops do the same work: after 200 steps of each, both losses have fallen equally."""
    data, _ = split(load("digits", SMALL.preprocess), None, 0)
    how = replace(SMALL, batch=config.BatchConfig(size=32), monitor=config.MonitorConfig(log_every=50))
    steps = {"trainer": trainer.trainer(how, data, tmp_path), "bare": trainer.bare(how, data)}
    losses = {name: [float(step().mean()) for _ in range(200)] for name, step in steps.items()}
    for course in losses.values():
        assert fmean(course[-50:]) < 0.8 * fmean(course[:10])
    assert abs(fmean(losses["trainer"][-50:]) - fmean(losses["bare"][-50:])) < 0.1 * fmean(losses["bare"][-50:])
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_ratio_leaves_out_the_first_calls() -> None:
    """By a clock that each call moves: 6 to 2, whatever the first call costs, in either order."""
    elapsed, firsts = 0.0, {"ours": 0, "theirs": 0}

    def spend(name: str, cost: float) -> None:
        nonlocal elapsed
        firsts[name] += 1
        elapsed += 100.0 if firsts[name] % 5 == 1 else cost

    ratio = compare(lambda: spend("ours", 6.0), lambda: spend("theirs", 2.0), rounds=4, calls=4, clock=lambda: elapsed)
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 3.0, 3.0)
    assert firsts == {"ours": 20, "theirs": 20}


def test_conditional_prints_a_row_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    """After two steps the classifier recognises the held-out digits and not the samples, an error only if asked."""
    how = replace(
        conditional.DEFAULT,
        steps=2,
        network=Architecture(width=8, multipliers=(1,)),
        monitor=replace(conditional.DEFAULT.monitor, log_every=0),
    )
    assert conditional.main(["--samples", "2", "--strict"], how) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in lines[:14]] == [3] * 14
    assert float(lines[2].split("|")[2].split("(")[0]) >= 97.0
    assert lines[-1] == "guidance 2, bar 97 %: MISSED"


def test_share_has_its_exact_interval() -> None:
    """Of n right out of n the least share is 0.025^(1/n), and the largest 1."""
    assert conditional.share(np.ones(100, dtype=np.bool_)) == f"100.0 ({100 * 0.025**0.01:.1f} to 100.0)"


def test_fashion_records_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run takes the place of refdiff's in the record of the peers, whose table it can be printed in."""
    record = tmp_path / "record.json"
    source = peers.Source("digits", None, 8, (1.0,), 1.0, record)
    small = replace(SMALL, monitor=config.MonitorConfig(log_every=0, picture_every=0, eval_every=0, save_every=0))
    for name in ("one", "other"):
        assert fashion.main([str(tmp_path / name), "--steps", "2"], small, source) == 0
    assert (tmp_path / "one" / "fashion.png").read_bytes().startswith(b"\x89PNG")
    (run,) = json.loads(record.read_text("utf-8"))["runs"]
    assert (run["row"], run["steps"], run["settings"]["batch"]) == ("refdiff", 2, SMALL.batch.size)
    assert f"{run['samplings']['DDIM 50']['ratio']:.3f} times" in capsys.readouterr().out
    assert "| refdiff " in peers.table([run])
