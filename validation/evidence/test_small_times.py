"""Near t = 0, the constant C between denoising and score matching depends on the dimension of the data (LOS-11).

C(t) = E|s(x_t|x_0)|^2 - E|grad log p_t|^2 = alpha^2/sigma^4 E tr Var(x_0 | x_t).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ive

from refdiff.conformance.check import evidence

from ..oracles.mixture import TWO, Floats
from .scales import linear_scales

RATE = 0.1
"""beta(0) of the default linear schedule."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / np.sqrt(2 * np.pi)
SIGNS, GREYS = np.array([-1.0, 1.0]), np.linspace(-1.0, 1.0, 256)


def _of_points(points: Floats, t: float) -> float:
    """Return C(t) for data that are uniformly distributed on evenly spaced points, symmetric about 0."""
    alpha, variance = linear_scales(t)
    gap, z = points[1] - points[0], np.arange(-9.0, 9.0, 0.03)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    # Points more than 20 standard deviations away do not contribute.
    reach, total = int(20 * sqrt(variance) / (alpha * gap)) + 2, 0.0
    for i in range(len(points) // 2):  # the points are symmetric
        near = points[max(i - reach, 0) : i + reach + 1]
        exponent = (alpha * (points[i] - near) + sqrt(variance) * z[:, None]) ** 2 / (2 * variance)
        posterior = np.exp(exponent.min(1, keepdims=True) - exponent)
        posterior /= posterior.sum(1, keepdims=True)
        posterior_variance = (posterior * (near - posterior @ near[:, None]) ** 2).sum(1)
        total += 2 / len(points) * float(weights @ posterior_variance)
    return alpha**2 / variance**2 * total


def _integral(constant: Callable[[float], float], low: float, high: float, nodes: int = 24) -> float:
    """Return the integral of C over [low, high], by Gauss-Legendre nodes in log t."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    y = log(low) + (x + 1) / 2 * log(high / low)
    return float(sum(0.5 * log(high / low) * w * exp(y) * constant(exp(y)) for y, w in zip(y, w, strict=True)))


@evidence("LOS-11", kind="quadrature")
def test_integral_for_discrete_data_converges() -> None:
    """LOS-11: for discrete data the integral of C over [t, 1] converges as t -> 0; for a density it diverges.

    Over [1e-5, 1e-3], a density gives log(100)/beta(0) = 46, and x_0 = +-1 gives 0, of a total of 0.29. 256 grey levels
    give 32.2 there, and 0.005 over [1e-7, 1e-5], where the noise is narrow enough to separate the levels.
    """

    def signs(t: float) -> float:
        return _of_points(SIGNS, t)

    def greys(t: float) -> float:
        return _of_points(GREYS, t)

    assert _integral(signs, 1e-5, 1e-3) < 1e-12
    assert abs(_integral(signs, 1e-3, 1.0, 60) - 0.28856) < 1e-5
    assert abs(_integral(greys, 1e-5, 1e-3) - 32.1936) < 1e-3
    assert abs(_integral(greys, 1e-7, 1e-5) - 0.0052) < 1e-5
    assert log(100) / RATE > 46.0


@evidence("LOS-11", kind="quadrature")
def test_constant_by_scores_and_by_the_posterior_variance() -> None:
    """LOS-11: C = 1/sigma^2 - E|score|^2 = alpha^2/sigma^4 E Var(x_0 | x_t), for data on two points."""
    for t in (0.05, 0.2, 0.5):
        alpha, variance = linear_scales(t)
        x_t = alpha + sqrt(variance) * NODES
        # The score of the mixture N(+-alpha, variance); by symmetry, the expectation over one component is enough.
        score = (alpha * np.tanh(alpha * x_t / variance) - x_t) / variance
        by_scores = 1 / variance - float(WEIGHTS @ score**2)
        assert abs(_of_points(SIGNS, t) - by_scores) < 1e-6 / variance


@evidence("LOS-11", kind="quadrature")
@pytest.mark.parametrize("low", [1e-6, 1e-7])
def test_integral_grows_with_the_dimension_of_the_data(low: float) -> None:
    """LOS-11: for data on a line or a circle in the plane, the integral of C grows as log(1/t)/beta(0).

    That is 1 and not D = 2 times log(1/t)/beta(0), as the data have dimension 1. The line has the direction (0.6, 0.8);
    across it, x_t is noise alone.
    """

    def line(t: float) -> float:
        alpha, variance = linear_scales(t)
        law, direction = TWO.noised(alpha, variance), np.array([0.6, 0.8])
        across = np.array([-0.8, 0.6])
        total = 0.0
        for w, m, v in zip(law.weights, law.means, law.variances, strict=True):
            along = m + sqrt(v) * NODES
            # The score at the point along * direction + sigma z * across.
            plane = law.score(along)[:, None] * direction - (NODES / sqrt(variance))[:, None, None] * across
            total += w * float(WEIGHTS @ (plane**2).sum(2) @ WEIGHTS)
        return 2 / variance - total

    def circle(t: float) -> float:
        alpha, variance = linear_scales(t)

        def integrand(r: float) -> float:
            """Return the density of |x_t| = r, for data on the unit circle, times tr Var(x_0 | x_t)."""
            k = alpha * r / variance
            ratio = ive(1, k) / ive(0, k)
            return float(r / variance * exp(-((r - alpha) ** 2) / (2 * variance)) * ive(0, k) * (1 - ratio**2))

        half = 12 * sqrt(variance)
        return alpha**2 / variance**2 * float(quad(integrand, max(alpha - half, 0.0), alpha + half, epsrel=1e-10)[0])

    for constant in (line, circle):
        growth = _integral(constant, low, 10 * low, 12)
        assert abs(growth / (log(10) / RATE) - 1) < 2e-3
