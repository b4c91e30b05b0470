"""refdiff.training.irreducible: the least loss on a finite set, by NumPy and by what nothing beats."""

from __future__ import annotations

from math import hypot
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from refdiff.parameterization import Parameterization
from refdiff.positions import SecondMoment
from refdiff.training import build, config
from refdiff.training.data import Examples
from refdiff.training.distributed import World
from refdiff.training.irreducible import Optimum, irreducible_loss, mean_losses
from refdiff.training.monitor import Monitor
from refdiff.training.pairs import Pairs
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
    optimum = Optimum(objective, few.take(slice(None)).double())
    least = mean_losses(objective, optimum, few, times, 4, torch.Generator().manual_seed(0), dtype=torch.float64)
    by_pairs = irreducible_loss(objective, few, times, 4, torch.Generator().manual_seed(0))
    assert by_pairs is not None
    assert all(0.0 <= value < float("inf") for value in least.loss + by_pairs.loss + by_pairs.error)

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


@pytest.mark.parametrize(
    ("sampler", "kind", "weight"),
    [
        ("uniform", "scaled_linear_chain", "min_snr"),
        ("stratified", "cosine", "uniform"),
        ("importance", "cosine", "uniform"),
        ("importance", "cosine_chain", "min_snr"),
        ("second_moment", "cosine", "uniform"),
        ("second_moment", "linear", "likelihood"),
        ("second_moment", "linear_chain", "inverse_snr"),
    ],
)
def test_logged_loss_of_the_optimum_is_irreducible(sampler: Any, kind: Any, weight: Any, tmp_path: Path) -> None:
    """TRN-13: the logged loss of the optimum is the irreducible one within four standard errors, however t is drawn.

    The mean over the draws, unweighted, is off by over five where the density has a slope.
    """
    noise = build.process(config.ProcessConfig(kind=kind))
    objective = build.objective(config.ObjectiveConfig(prediction="x_0", weight=weight), noise)
    drawn = config.TimesConfig(sampler=sampler, masses=tuple(1.0 + i for i in range(16)), cells=16, history=10)
    times, few, buckets = build.times(drawn, noise, torch.float64), examples(), 1
    known = few.take(slice(None)).double()
    optimum, generator = Optimum(objective, known), torch.Generator().manual_seed(0)
    least = irreducible_loss(objective, few, times, buckets, torch.Generator().manual_seed(1))
    monitor = Monitor(tmp_path, World(device=torch.device("cpu")), times, buckets, least, 1.0)
    plain: list[Tensor] = []
    for _ in range(10):
        t, weight = times(4096, generator=generator)
        x_0 = known[torch.randint(len(known), (len(t),), generator=generator)]
        loss = objective(optimum, x_0, torch.randn(x_0.shape, generator=generator, dtype=torch.float64), t)
        if isinstance(times.sampler, SecondMoment):
            times.sampler.update(times.position(t), loss)
        monitor.record(StepStats(t, loss, weight, 0.0))
        plain.append(loss)
    row = monitor.summary(10, 0.0)
    columns = [row[f"bucket_{name}"] for name in ("loss", "loss_error", "irreducible", "irreducible_error")]
    for loss_, error, low, low_error in zip(*columns, strict=True):
        assert 0.0 < error < 0.1 * loss_
        assert abs(loss_ - low) < 4.0 * hypot(error, low_error)
    if (sampler, weight) in (("importance", "uniform"), ("second_moment", "uniform")):
        assert abs(float(torch.cat(plain).mean()) - row["bucket_loss"][0]) > 5.0 * row["bucket_loss_error"][0]


ON_A_LINE = np.array([-1.0, -0.35, -0.2, 0.1, 0.9], dtype=np.float32)
"""Examples of one number, two of them near, so that the loss is rare at small t."""


def by_quadrature(objective: Any, times: Any, buckets: int) -> list[float]:
    """Return the irreducible loss of ON_A_LINE, the posterior variance summed over a grid of t and x_t in NumPy."""
    known, found = ON_A_LINE.astype(np.float64), []
    for bucket in range(buckets):
        t = times.at((bucket + (torch.arange(200, dtype=torch.float64) + 0.5) / 200) / buckets)
        alpha_bar = np.exp(objective.process.log_alpha_bar(t).double().numpy())
        means = []
        for a, s in zip(np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar), strict=True):
            x = np.linspace(-1.0 - 9.0 * s, 1.0 + 9.0 * s, 2000)
            density = np.exp(-((x[:, None] - a * known) ** 2) / (2.0 * s**2)) / (s * np.sqrt(2.0 * np.pi))
            share = density / np.maximum(density.sum(1, keepdims=True), 1e-300)
            variance = share @ known**2 - (share @ known) ** 2
            slope = {"x_0": 1.0, "eps": a / s, "v": 1.0 / s, "score": a / s**2}[objective.prediction]
            means.append(slope**2 * np.sum(density.mean(1) * variance) * (x[1] - x[0]))
        found.append(float(np.mean(means)))
    return found


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("kind", ["cosine", "linear_chain"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_irreducible_loss_is_that_by_quadrature(kind: str, prediction: str, search: bool) -> None:
    """TRN-13: within 5 standard errors in each bucket, with the search for near pairs and without."""
    objective, times = parts(kind, prediction)
    few = Examples(ON_A_LINE[:, None], np.arange(len(ON_A_LINE)), -1.0, 1.0)
    pairs = Pairs.of(objective, times, few, 3, search=search)
    for bucket, wanted in enumerate(by_quadrature(objective, times, 3)):
        loss, error = pairs.draw(bucket, 2048, torch.Generator().manual_seed(bucket))
        assert abs(loss - wanted) < 5.0 * error + 1e-3 * wanted
        assert error < 0.1 * wanted


def test_standard_error_covers_the_exact_value() -> None:
    """TRN-13: over 200 seeds 5 errors always cover it, and 2 about 95% of the time; the errors are not too large.

    Normal draws would be beyond 5 errors once in 4,000 runs of this test, and fail the binomial bound once in 10^9.
    """
    objective, times = parts("cosine", "v")
    few = Examples(ON_A_LINE[:, None], np.arange(len(ON_A_LINE)), -1.0, 1.0)
    pairs = Pairs.of(objective, times, few, 2, search=True)
    for bucket, wanted in enumerate(by_quadrature(objective, times, 2)):
        drawn = [pairs.draw(bucket, 512, torch.Generator().manual_seed(seed)) for seed in range(200)]
        off = np.array([abs(loss - wanted) / error for loss, error in drawn])
        assert off.max() < 5.0
        assert (off < 2.0).sum() >= binom.ppf(1e-9, 200, 0.954)
        assert np.std([loss for loss, _ in drawn]) > 0.3 * np.mean([error for _, error in drawn])


def test_rare_confusions_of_near_examples_are_seen() -> None:
    """TRN-13: of two examples 12 sigma apart, within 5% by quadrature; a direct draw needs some 10^9 tries."""
    noise: Any = build.process(config.ProcessConfig())
    objective = build.objective(config.ObjectiveConfig(prediction="x_0"), noise)
    times = build.times(config.TimesConfig(t_min=0.03, t_max=0.1), noise, torch.float64)
    few = Examples(ON_A_LINE[::4, None] * np.float32(1.0), np.arange(2), -1.0, 1.0)
    found = irreducible_loss(objective, few, times, 1, torch.Generator().manual_seed(0))
    assert found is not None
    x, t = np.linspace(-3.0, 3.0, 6001), times.at((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
    alpha_bar = np.exp(noise.log_alpha_bar(t).double().numpy())[:, None]
    a, s, d = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar), 1.9
    # p_1 p_2 d^2 with p = logistic(+-2 r), N_1 = N(-ad/2, s^2), N_2 = N(ad/2, s^2).
    density = (np.exp(-((x - a * d / 2) ** 2) / (2 * s**2)) + np.exp(-((x + a * d / 2) ** 2) / (2 * s**2))) / (2 * s)
    variance = d**2 / (4.0 * np.cosh(np.minimum(np.abs(a * d * x / (2.0 * s**2)), 300.0)) ** 2)
    wanted = float((density * variance).sum(1).mean() * (x[1] - x[0]) / np.sqrt(2.0 * np.pi))
    assert 0.0 < wanted < 1e-5
    assert abs(found.loss[0] - wanted) < 5.0 * found.error[0]
    assert found.error[0] < 0.1 * wanted
