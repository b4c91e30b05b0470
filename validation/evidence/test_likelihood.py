"""The bound on the divergence of samples drawn with a wrong score, one that no forward process has (LOS-10).

The reverse SDE dx = (f - beta s_hat) dt + sqrt(beta) dW starts at N(0, 1) at t = 1, with s_hat(x) = (m - x)/S at every
t. Its solution is Gaussian, and the moments at t = 0 have a closed form. All other values are quadrature on a mixture.
"""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from refdiff.conformance.check import evidence

from ..oracles import objectives
from ..oracles.mixture import TWO, Mixture
from .scales import linear_rate, linear_scales

PRIOR = Mixture((1.0,), (0.0,), (1.0,))
TOTAL = 0.1 + 19.9 / 2
"""The integral of beta over [0, 1]."""


def _score_error(m: float, spread: float, low: float = 0.0) -> float:
    """Return half the integral of beta E|s_hat - score|^2 over [low, 1]; spread is S."""

    def rate(t: float) -> float:
        law = TWO.noised(*linear_scales(t))
        mean = objectives.over_marginal(law, lambda x: ((m - x) / spread - law.score(x)) ** 2)
        return float(0.5 * linear_rate(np.asarray(t)) * mean)

    value, error = quad(rate, low, 1.0, epsrel=1e-9, limit=200)
    assert error < 1e-6 * value
    return float(value)


def _sampled(m: float, spread: float) -> Mixture:
    """Return the distribution of the samples at t = 0; c is the rate at which their mean relaxes, per unit of beta."""
    c = 1 / spread - 0.5
    mean = m / (spread * c) * (1 - exp(-c * TOTAL))
    variance = 1 / (2 * c) + (1 - 1 / (2 * c)) * exp(-2 * c * TOTAL)
    return Mixture((1.0,), (mean,), (variance,))


@evidence("LOS-10", kind="quadrature")
@pytest.mark.parametrize(("m", "spread"), [(0.3, 0.8), (-0.5, 1.3), (1.0, 0.4)])
def test_divergence_of_a_wrong_score_is_bounded(m: float, spread: float) -> None:
    """LOS-10: KL(p_0 | p_theta) <= 1/2 int beta E|s_hat - score|^2 + KL(p_1 | prior).

    As no forward process has this score, the inequality is strict: 0.77 < 1.50 nats for m = 0.3, S = 0.8.
    """
    bound = _score_error(m, spread) + objectives.divergence(TWO.noised(*linear_scales(1.0)), PRIOR)
    sampled = _sampled(m, spread)
    divergence = objectives.divergence(TWO, sampled)
    assert divergence < bound
    end = objectives.divergence(TWO.noised(*linear_scales(1.0)), sampled.noised(*linear_scales(1.0)))
    assert divergence - end < 0.8 * _score_error(m, spread)


@evidence("LOS-10", kind="quadrature")
def test_score_of_a_process_attains_the_bound() -> None:
    """LOS-10: for s_hat = -x, the score of the process started at N(0, 1), the bound is attained, within 1e-6."""
    bound = _score_error(0.0, 1.0) + objectives.divergence(TWO.noised(*linear_scales(1.0)), PRIOR)
    assert abs(objectives.divergence(TWO, PRIOR) - bound) < 1e-6


@evidence("LOS-10", kind="quadrature")
def test_sampled_moments_solve_their_equations() -> None:
    """LOS-10: the closed form of mean and variance agrees with the moment ODEs of the reverse SDE, solved by SciPy."""
    m, spread = 0.3, 0.8

    def slope(u: float, y: list[float]) -> list[float]:
        beta = float(linear_rate(np.asarray(1.0 - u)))
        return [beta * (y[0] / 2 + (m - y[0]) / spread), beta * (y[1] - 2 * y[1] / spread + 1)]

    end = solve_ivp(slope, (0.0, 1.0), [0.0, 1.0], rtol=1e-10, atol=1e-12).y[:, -1]
    law = _sampled(m, spread)
    assert abs(end[0] - law.means[0]) < 1e-8
    assert abs(sqrt(end[1]) - sqrt(law.variances[0])) < 1e-8
