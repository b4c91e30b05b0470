"""refdiff.training.irreducible: the least loss on a finite set, by NumPy and by what nothing beats."""

from __future__ import annotations

from math import hypot
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from refdiff.parameterization import Parameterization
from refdiff.positions import SecondMoment
from refdiff.training import build, config
from refdiff.training.data import Examples
from refdiff.training.distributed import World
from refdiff.training.irreducible import Optimum, irreducible_loss, mean_losses
from refdiff.training.monitor import Monitor
from refdiff.training.step import StepStats

KINDS = ("linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain")
PREDICTIONS = get_args(Parameterization)


def parts(kind: Any, prediction: Any) -> tuple[Any, Any]:
    """Return objective and times."""
    noise = build.process(config.ProcessConfig(kind=kind))
    return build.objective(config.ObjectiveConfig(prediction=prediction), noise), build.times(
        config.TimesConfig(), noise, torch.float64
    )


def examples(n: int = 7) -> Examples:
    """Return a few examples of 5 numbers."""
    raw = np.random.default_rng(0).uniform(-1.0, 1.0, (n, 5)).astype(np.float32)
    return Examples(raw, np.arange(n), -1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_optimum_is_the_posterior_mean(kind: str, prediction: str) -> None:
    """TRN-13: E[target | x_t], its weights summed one by one in NumPy from alpha and sigma; exact, not x_0_hat's."""
    objective, times = parts(kind, prediction)
    known = examples().take(slice(None)).double()
    t = times.at(torch.tensor([0.01, 0.3, 0.7, 0.95], dtype=torch.float64))
    x_t = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = Optimum(objective, known)(x_t, t)
    log_alpha_bar = objective.process.log_alpha_bar(t).double().numpy()
    for row in range(4):
        a, s = np.exp(0.5 * log_alpha_bar[row]), np.sqrt(-np.expm1(log_alpha_bar[row]))
        away = np.array([np.sum((x_t[row].numpy() - a * x.numpy()) ** 2) / (2.0 * s**2) for x in known])
        share = np.exp(away.min() - away)
        eps = [(x_t[row].numpy() - a * x.numpy()) / s for x in known]
        target = {
            "eps": eps,
            "x_0": [x.numpy() for x in known],
            "v": [a * e - s * x.numpy() for e, x in zip(eps, known, strict=True)],
            "score": [-e / s for e in eps],
        }[prediction]
        wanted = np.average(target, axis=0, weights=share)
        assert np.allclose(got[row].numpy(), wanted, rtol=1e-8, atol=1e-8 * np.abs(target).max())


@pytest.mark.parametrize("kind", ["cosine", "linear_chain"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_no_denoiser_is_below_the_irreducible_loss(kind: str, prediction: str) -> None:
    """TRN-13: at least 0, finite, and below any other denoiser on the same draws, up to their scatter."""
    objective, times = parts(kind, prediction)
    few = examples()
    least = irreducible_loss(objective, few, times, 4, torch.Generator().manual_seed(0))
    assert least is not None
    assert all(0.0 <= value < float("inf") for value in least.loss + least.error)
    optimum = Optimum(objective, few.take(slice(None)).double())

    def moved(by: float) -> Any:
        def other(x_t: Tensor, t: Tensor) -> Tensor:
            best = optimum(x_t, t)
            return best + by * best.abs().mean()

        return other

    for other in (moved(0.5), moved(-0.5), lambda x_t, t: torch.zeros_like(x_t), lambda x_t, t: x_t):
        got = mean_losses(objective, other, few, times, 4, torch.Generator().manual_seed(0), dtype=torch.float64)
        assert all(low < high for low, high in zip(least.loss, got.loss, strict=True))


def test_single_example_has_irreducible_loss_0() -> None:
    """TRN-13: with one example it is 0; where it would cost too much it is None."""
    objective, times = parts("cosine", "eps")
    least = irreducible_loss(objective, examples(1), times, 3, torch.Generator())
    assert least is not None
    assert least.loss == pytest.approx([0.0] * 3, abs=1e-20)
    assert least.error == pytest.approx([0.0] * 3, abs=1e-20)
    vast = Examples(np.broadcast_to(np.float32(0), (1, 10**9)), np.zeros(10**6, dtype=np.int64), -1.0, 1.0)
    assert irreducible_loss(objective, vast, times, 3, torch.Generator()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_positions_cover_the_times(kind: str) -> None:
    """TRN-13: from the first time to the last, each index of a chain equally long."""
    _, times = parts(kind, "eps")
    position = torch.arange(4000, dtype=torch.float64) / 4000
    t = times.at(position)
    if kind.endswith("chain"):
        # Not at the ends of cells, which floats may have too low, and so in the cell before.
        t = times.at(position + 0.5 / 4000)
        assert torch.unique(t, return_counts=True)[1].tolist() == [4] * 1000
        assert (int(t.min()), int(t.max())) == (1, 1000)
    else:
        assert float(t[0]) == 1e-3
        assert float(t[-1]) == pytest.approx(0.999, abs=3e-4)


@pytest.mark.parametrize("sampler", ["importance", "second_moment", "stratified"])
def test_logged_loss_of_the_optimum_is_irreducible(sampler: str, tmp_path: Path) -> None:
    """TRN-13: the logged loss of the optimum is the irreducible one within four standard errors, however t is drawn.

    The mean over the draws, unweighted, is off by over five where the density has a slope.
    """
    noise = build.process(config.ProcessConfig())
    objective = build.objective(config.ObjectiveConfig(prediction="x_0"), noise)
    drawn = config.TimesConfig(sampler=sampler, masses=tuple(1.0 + i for i in range(16)), cells=16, history=10)  # type: ignore[arg-type]  # one of its names
    times, few, buckets = build.times(drawn, noise, torch.float64), examples(), 1
    known = few.take(slice(None)).double()
    optimum, generator = Optimum(objective, known), torch.Generator().manual_seed(0)
    least = irreducible_loss(objective, few, times, buckets, torch.Generator().manual_seed(1))
    monitor = Monitor(tmp_path, World(device=torch.device("cpu")), buckets, least, 1.0)
    plain: list[Tensor] = []
    for _ in range(10):
        t, weight = times(4096, generator=generator)
        x_0 = known[torch.randint(len(known), (len(t),), generator=generator)]
        loss = objective(optimum, x_0, torch.randn(x_0.shape, generator=generator, dtype=torch.float64), t)
        position = times.position(t)
        if isinstance(times.sampler, SecondMoment):
            times.sampler.update(position, loss)
        monitor.record(StepStats(position, loss, weight, 0.0))
        plain.append(loss)
    row = monitor.summary(10, 0.0)
    columns = [row[f"bucket_{name}"] for name in ("loss", "loss_error", "irreducible", "irreducible_error")]
    for loss_, error, low, low_error in zip(*columns, strict=True):
        assert 0.0 < error < 0.1 * loss_
        assert abs(loss_ - low) < 4.0 * hypot(error, low_error)
    if sampler != "stratified":
        assert abs(float(torch.cat(plain).mean()) - row["bucket_loss"][0]) > 5.0 * row["bucket_loss_error"][0]


def test_standard_error_is_the_scatter_over_draws() -> None:
    """TRN-13: over 40 draws the deviation is at most the reported error, and over a half of it."""
    objective, times = parts("linear", "x_0")
    drawn = [irreducible_loss(objective, examples(), times, 2, torch.Generator().manual_seed(i)) for i in range(40)]
    for bucket in range(2):
        told = np.mean([means.error[bucket] for means in drawn if means])
        # A deviation of 40 draws is off by a ninth, one in ten thousand by 45%.
        assert 0.3 * told < np.std([means.loss[bucket] for means in drawn if means]) < 1.45 * told
