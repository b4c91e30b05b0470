"""refdiff.training.floor: the least loss on a finite set, by NumPy and by what nothing beats."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from refdiff.parameterization import Parameterization
from refdiff.training import build, config
from refdiff.training.data import Examples
from refdiff.training.floor import Optimum, at, floor, losses

KINDS = ("linear", "cosine", "linear_chain", "scaled_linear_chain", "cosine_chain")
PREDICTIONS = get_args(Parameterization)


def parts(kind: Any, prediction: Any) -> tuple[Any, Any]:
    """Return objective and times."""
    noise = build.process(config.Process(kind=kind))
    return build.objective(config.Goal(prediction=prediction), noise), build.times(config.Times(), noise, torch.float64)


def examples(n: int = 7) -> Examples:
    """Return a few examples of 5 numbers."""
    raw = np.random.default_rng(0).uniform(-1.0, 1.0, (n, 5)).astype(np.float32)
    return Examples(raw, np.arange(n), -1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_optimum_is_the_mean_of_the_posterior(kind: str, prediction: str) -> None:
    """TRN-13: E[target | x_t], its weights summed one by one in NumPy from alpha and sigma; exact, not x_0_hat's."""
    objective, times = parts(kind, prediction)
    known = examples().take(slice(None)).double()
    t = at(times, torch.tensor([0.01, 0.3, 0.7, 0.95], dtype=torch.float64))
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
def test_nothing_is_below_the_floor(kind: str, prediction: str) -> None:
    """TRN-13: at least 0, finite, and below any other denoiser on the same draws, up to their scatter."""
    objective, times = parts(kind, prediction)
    few = examples()
    least = floor(objective, few, times, 4, torch.Generator().manual_seed(0))
    assert least is not None
    assert all(0.0 <= loss < float("inf") for loss in least)
    optimum = Optimum(objective, few.take(slice(None)).double())

    def moved(by: float) -> Any:
        def other(x_t: Tensor, t: Tensor) -> Tensor:
            best = optimum(x_t, t)
            return best + by * best.abs().mean()

        return other

    for other in (moved(0.5), moved(-0.5), lambda x_t, t: torch.zeros_like(x_t), lambda x_t, t: x_t):
        got = losses(objective, other, few, times, 4, torch.Generator().manual_seed(0), dtype=torch.float64)
        assert all(low < high for low, high in zip(least, got, strict=True))


def test_one_example_is_known_by_heart() -> None:
    """TRN-13: with one example the floor is 0; where it would cost too much there is none."""
    objective, times = parts("cosine", "eps")
    least = floor(objective, examples(1), times, 3, torch.Generator())
    assert least == pytest.approx([0.0] * 3, abs=1e-20)
    vast = Examples(np.broadcast_to(np.float32(0), (1, 10**9)), np.zeros(10**6, dtype=np.int64), -1.0, 1.0)
    assert floor(objective, vast, times, 3, torch.Generator()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_positions_cover_the_times(kind: str) -> None:
    """TRN-13: from the first time to the last, each index of a chain equally long."""
    _, times = parts(kind, "eps")
    t = at(times, torch.arange(4000, dtype=torch.float64) / 4000)
    if kind.endswith("chain"):
        assert torch.unique(t, return_counts=True)[1].tolist() == [4] * 1000
        assert (int(t.min()), int(t.max())) == (1, 1000)
    else:
        assert float(t[0]) == 1e-3
        assert float(t[-1]) == pytest.approx(0.999, abs=3e-4)
