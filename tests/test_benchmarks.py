"""The benchmarks run, and count what they say they count."""

from __future__ import annotations

import pytest
import torch

from validation.benchmarks.noising import Batch, compare, main

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


def test_a_ratio_is_of_the_calls_after_the_first() -> None:
    """By a clock that each call moves: 6 to 2, whatever the first call costs, in either order."""
    elapsed, firsts = 0.0, {"ours": 0, "theirs": 0}

    def spend(name: str, cost: float) -> None:
        nonlocal elapsed
        firsts[name] += 1
        elapsed += 100.0 if firsts[name] % 5 == 1 else cost

    ratio = compare(lambda: spend("ours", 6.0), lambda: spend("theirs", 2.0), rounds=4, calls=4, clock=lambda: elapsed)
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 3.0, 3.0)
    assert firsts == {"ours": 20, "theirs": 20}
