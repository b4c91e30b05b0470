"""Near t = 0 the constant between denoising and score matching depends on the dimension of the data (LOS-11).

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
"""beta(0) of the linear default."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / np.sqrt(2 * np.pi)
SIGNS, GREYS = np.array([-1.0, 1.0]), np.linspace(-1.0, 1.0, 256)


def _of_points(points: Floats, t: float) -> float:
    """Return C for points on the line, each as likely as any other."""
    alpha, variance = linear_scales(t)
    gap, z = points[1] - points[0], np.arange(-9.0, 9.0, 0.03)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    # What is 20 deviations off, or further, has no part.
    reach, total = int(20 * sqrt(variance) / (alpha * gap)) + 2, 0.0
    for i in range(len(points) // 2):  # the points are symmetric
        near = points[max(i - reach, 0) : i + reach + 1]
        away = (alpha * (points[i] - near) + sqrt(variance) * z[:, None]) ** 2 / (2 * variance)
        share = np.exp(away.min(1, keepdims=True) - away)
        share /= share.sum(1, keepdims=True)
        spread = (share * (near - share @ near[:, None]) ** 2).sum(1)
        total += 2 / len(points) * float(weights @ spread)
    return alpha**2 / variance**2 * total


def _over(constant: Callable[[float], float], low: float, high: float, nodes: int = 24) -> float:
    """Return the integral of C over [low, high], by Gauss-Legendre nodes in log t."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    y = log(low) + (x + 1) / 2 * log(high / low)
    return float(sum(0.5 * log(high / low) * w * exp(y) * constant(exp(y)) for y, w in zip(y, w, strict=True)))


@evidence("LOS-11", kind="quadrature")
def test_points_have_no_logarithm() -> None:
    """LOS-11: of x_0 = +-1 the integral over [1e-5, 1e-3] is 0 where a density has log(100)/beta(0) = 46; in all 0.29.

    Of 256 grey levels it is 32.2 there, and 0.005 over [1e-7, 1e-5]: levels that noise tells apart are points.
    """
    signs, greys = (lambda t, points=points: _of_points(points, t) for points in (SIGNS, GREYS))
    assert _over(signs, 1e-5, 1e-3) < 1e-12
    assert abs(_over(signs, 1e-3, 1.0, 60) - 0.28856) < 1e-5
    assert abs(_over(greys, 1e-5, 1e-3) - 32.1936) < 1e-3
    assert abs(_over(greys, 1e-7, 1e-5) - 0.0052) < 1e-5
    assert log(100) / RATE > 46.0


@evidence("LOS-11", kind="quadrature")
def test_two_forms_of_the_constant() -> None:
    """LOS-11: 1/sigma^2 - E|score|^2 is alpha^2/sigma^4 E Var(x_0 | x_t), for two points whose law has a density."""
    for t in (0.05, 0.2, 0.5):
        alpha, variance = linear_scales(t)
        x_t = alpha + sqrt(variance) * NODES
        # The score of the mixture N(+-alpha, variance); by symmetry one of its halves is enough.
        score = (alpha * np.tanh(alpha * x_t / variance) - x_t) / variance
        wanted = 1 / variance - float(WEIGHTS @ score**2)
        assert abs(_of_points(SIGNS, t) - wanted) < 1e-6 / variance


@evidence("LOS-11", kind="quadrature")
@pytest.mark.parametrize("low", [1e-6, 1e-7])
def test_a_line_and_a_circle_count_once(low: float) -> None:
    """LOS-11: in the plane, C of data on a line or a circle grows as log(1/t)/beta(0), half of D log(1/t)/beta(0).

    The line is through (3, 4) and holds a mixture: across it the noise is the whole of x_t, and tells nothing of x_0.
    """

    def line(t: float) -> float:
        alpha, variance = linear_scales(t)
        law, direction = TWO.noised(alpha, variance), np.array([0.6, 0.8])
        across = np.array([-0.8, 0.6])
        total = 0.0
        for w, m, v in zip(law.weights, law.means, law.variances, strict=True):
            along = m + sqrt(v) * NODES
            # The score in the plane, at along direction + sigma z across, whose square is a sum over both axes.
            plane = law.score(along)[:, None] * direction - (NODES / sqrt(variance))[:, None, None] * across
            total += w * float(WEIGHTS @ (plane**2).sum(2) @ WEIGHTS)
        return 2 / variance - total

    def circle(t: float) -> float:
        alpha, variance = linear_scales(t)

        def spread(r: float) -> float:
            """Return the density of |x_t| = r, for data on the unit circle, times tr Var(x_0 | x_t)."""
            k = alpha * r / variance
            ratio = ive(1, k) / ive(0, k)
            return float(r / variance * exp(-((r - alpha) ** 2) / (2 * variance)) * ive(0, k) * (1 - ratio**2))

        half = 12 * sqrt(variance)
        return alpha**2 / variance**2 * float(quad(spread, max(alpha - half, 0.0), alpha + half, epsrel=1e-10)[0])

    for constant in (line, circle):
        grown = _over(constant, low, 10 * low, 12)
        assert abs(grown / (log(10) / RATE) - 1) < 2e-3
