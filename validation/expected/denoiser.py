"""Comparison of a trained denoiser with the optimal one on a mixture with known distributions, without Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ..oracles import objectives
from ..oracles.mixture import Floats, Mixture

DATA = Mixture((0.3, 0.7), (-2.0, 1.5), (0.25, 0.16))
"""Apart from its mirror image, from its standardised self and from a Gaussian."""
SHARES = 0.1 + 0.85 * (np.arange(16) + 0.5) / 16
"""Times to judge at, in units of the process; where sigma^2 is at least LEAST."""
LEAST = 0.05
LOSS, SCORE, LAW = 6e-3, 3e-2, 5e-2
"""Margins: of the mean loss, of sigma^2 E (s_hat - s)^2 at each time, and of Kolmogorov's distance."""
Predict: TypeAlias = Callable[[Floats], Floats]
"""eps_hat at points (n,) of one time."""


def best(data: Mixture, alpha: float, variance: float) -> Predict:
    """Return E[eps | x_t = x] for x_t = alpha x_0 + N(0, variance)."""
    law = data.noised(alpha, variance)
    return lambda x: -np.sqrt(variance) * law.score(x)


def loss(predict: Predict, alpha: float, variance: float) -> float:
    """Return E (eps_hat(x_t) - eps)^2 over pairs (x_0, eps)."""

    def squared(x_0: Floats, eps: Floats) -> Floats:
        x_t = alpha * x_0 + np.sqrt(variance) * eps
        return np.asarray((predict(x_t.ravel()).reshape(x_t.shape) - eps) ** 2)

    return float(objectives.over_pairs(DATA, squared, count=64))


def least(alpha: float, variance: float) -> float:
    """Return the irreducible loss."""
    return objectives.irreducible(DATA, alpha, variance)


def score_error(predict: Predict, alpha: float, variance: float) -> float:
    """Return sigma^2 E (s_hat - s)^2 over x_t, with s_hat = -eps_hat/sigma."""
    law, sigma = DATA.noised(alpha, variance), np.sqrt(variance)
    return float(variance * objectives.over_marginal(law, lambda x: (-predict(x) / sigma - law.score(x)) ** 2, 80))


def flow_distance(predicts: list[Predict], scales: list[tuple[float, float]], quantiles: int = 400) -> float:
    """Return Kolmogorov's distance from p at the last of the times, of what DDIM makes of p at the first.

    predicts: at all times but the last; scales: (alpha, sigma^2) at each, times falling. The start is the quantiles of
    the law, so the distance is that of the whole law, within 1/(2 quantiles).
    """
    first, last = (DATA.noised(*scales[i]) for i in (0, -1))
    levels = (np.arange(quantiles) + 0.5) / quantiles
    fine = np.linspace(*first.reach(1e-9), 20_001)
    x = np.interp(levels, first.cdf(fine), fine)
    for predict, (a_t, v_t), (a_s, v_s) in zip(predicts, scales, scales[1:], strict=False):
        eps_hat = predict(x)
        x = a_s * (x - np.sqrt(v_t) * eps_hat) / a_t + np.sqrt(v_s) * eps_hat
    return float(np.max(np.abs(last.cdf(np.sort(x)) - levels)))
