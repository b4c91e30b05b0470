"""refdiff.training.findings: each fault of a run is found, once, and a healthy run has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refdiff.training.config import OptimizerConfig, PreprocessConfig, TimesConfig
from refdiff.training.findings import LONG, Findings, below, plateau, rises
from refdiff.training.run import train

from . import runs

FEW = PreprocessConfig(held_out=1400)
"""397 digits to train on, so that the irreducible loss is soon computed."""


def row(step: int, loss: float, error: float = 0.01, **changes: Any) -> dict[str, Any]:
    """Return a row of training of two buckets."""
    return {
        "kind": "train", "step": step, "loss": loss, "loss_error": error, "trivial": 1.0,
        "bucket_loss": [loss, loss], "bucket_loss_error": [error, error],
        "bucket_irreducible": [0.1, 0.1], "bucket_irreducible_error": [0.01, 0.01],
    } | changes  # fmt: skip


def noisy(losses: np.ndarray, error: float, seed: int) -> list[dict[str, Any]]:
    """Return rows of losses with normal noise."""
    drawn = losses + error * np.random.default_rng(seed).standard_normal(len(losses))
    return [row(100 * i, float(loss), error) for i, loss in enumerate(drawn)]


def test_a_loss_below_the_irreducible_loss_is_found() -> None:
    """TRN-12: beyond 7 combined errors, in one bucket; not within, not without data, not without the loss."""
    far = 7.0 * (0.02**2 + 0.01**2) ** 0.5
    for by, wanted in ((1.01, True), (0.99, False)):
        one = row(1, 0.5, bucket_loss=[0.5, 0.9 - by * far], bucket_loss_error=[0.02, 0.02],
                  bucket_irreducible=[0.1, 0.9])  # fmt: skip
        assert (below(one) is not None) == wanted
    assert below(row(1, 0.0, bucket_loss=[None, None], bucket_loss_error=[None, None])) is None
    assert below(row(1, 0.0, bucket_irreducible=None)) is None
    assert "bucket 1 " in str(below(row(1, 0.5, bucket_loss=[0.5, -9.0])))


def test_a_rising_loss_is_found_and_noise_is_not() -> None:
    """TRN-12: a rise of half is found within 3 rows; 200 runs of 100 rows of pure noise have none."""
    fall = 0.5 + np.exp(-np.arange(40) / 5.0)
    rise = np.concatenate([fall, np.full(5, 0.75)])
    rows = noisy(rise, 0.01, 0)
    assert all(rises(rows[:n]) is None for n in range(1, 41))
    assert "to 0.7" in str(rises(rows[:43]))
    for seed in range(200):
        flat = noisy(np.full(100, 0.5), 0.05, seed)
        assert all(rises(flat[:n]) is None for n in range(6, 101, 3))


def test_one_outlier_is_no_rise() -> None:
    """TRN-12: the median of three rows does not move with one of them."""
    rows = noisy(np.full(30, 0.5), 0.01, 0)
    rows[20] = row(2000, 50.0, 0.01)
    assert all(rises(rows[:n]) is None for n in range(1, 31))


def test_a_plateau_far_above_the_irreducible_loss_is_told() -> None:
    """TRN-12: after 20 rows without a significant fall; not near the irreducible loss, and not while it falls."""
    flat = noisy(np.full(2 * LONG, 0.5), 1e-4, 1)
    for one in flat[:LONG]:
        one["loss"] = 0.5
    for one in flat[LONG:]:
        one["loss"] = 0.5
    assert "5 times the irreducible loss" in str(plateau(flat))
    assert plateau(flat[1:]) is None
    assert plateau([row(i, 0.2) for i in range(2 * LONG)]) is None
    assert plateau(noisy(1.0 - 0.01 * np.arange(2 * LONG), 1e-4, 2)) is None
    assert plateau([row(i, 0.5, bucket_irreducible=None) for i in range(2 * LONG)]) is None


def test_each_kind_is_said_once_also_after_resuming() -> None:
    """TRN-12: a run of 1,000 rows that is stuck has one warning, not 1,000."""
    rows = [row(1000 + i, 1.5) for i in range(30)]
    findings = Findings()
    said = [kind for n in range(1, 31) for kind, _ in findings.of(rows[:n])]
    assert sorted(said) == ["plateau", "stuck"]
    resumed = Findings()
    resumed.resume([{"kind": "finding", "step": 1, "finding": "stuck", "says": ""}])
    assert [kind for kind, _ in resumed.of(rows)] == ["plateau"]


@pytest.mark.parametrize("sampler", ["uniform", "stratified", "importance", "second_moment"])
def test_a_healthy_run_has_no_alarm(sampler: Any, tmp_path: Path) -> None:
    """TRN-12: digits by a small U-Net, rows of 3 steps, or an affine map, for every sampler of times."""
    masses = (1.0, 2.0, 3.0) if sampler == "importance" else ()
    times = TimesConfig(sampler=sampler, masses=masses, cells=4)
    how = runs.config("digits", preprocess=FEW, steps=60, times=times, monitor=replace(runs.QUIET, log_every=3))
    denoiser = runs.Affine if sampler in ("uniform", "importance") else None
    rows = train(how, tmp_path, denoiser=denoiser, say=runs.quiet).rows
    assert len([one for one in rows if one["kind"] == "train"]) == 20
    assert [one["says"] for one in rows if one["kind"] == "finding" and one["finding"] != "plateau"] == []


def test_a_diverging_run_is_found(tmp_path: Path) -> None:
    """TRN-12: SGD without clipping whose learning rate warms up to far too much: the loss falls, then rises."""
    descent = OptimizerConfig(kind="sgd", lr=120.0, warmup=4000, lr_schedule="constant", max_grad_norm=float("inf"))
    how = runs.config("digits", preprocess=FEW, steps=400, optimizer=descent, monitor=replace(runs.QUIET, log_every=4))
    said: list[str] = []
    try:
        train(how, tmp_path, denoiser=runs.Affine, say=said.append)
    except Exception as error:  # noqa: BLE001 - a gradient that is not finite may end the run after the finding
        said.append(str(error))
    assert sum("the loss rose from" in line for line in said) == 1, said
