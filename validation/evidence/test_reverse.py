"""The reverse SDE, simulated by torchsde on a mixture whose score is known, against the exact law of its steps (SDE-6).

The law of Euler-Maruyama's last step is worked out on a grid, without Monte Carlo, and held against the closed form;
the simulation is tested against that law. No bias hides in a p-value, and a score off by 2% is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, lru_cache
from math import log2

import numpy as np
import pytest
from scipy.special import ndtri

from refdiff.conformance.check import evidence

from ..oracles import simulation, walk
from ..oracles.mixture import TWO, Floats
from ..oracles.walk import Law
from ..statistics.design import Design
from ..statistics.experiments import statistical
from .scales import linear_rate, linear_scales

END = 1.0 / 16.0
"""Where paths end."""
STEPS = 60
"""Of 1/64 each."""

MEAN = Design(
    name="reverse-mean",
    law="mean",
    catches=0.05,
    why="the score of a mixture with weights 0.26 and 0.74, for 0.3 and 0.7, moves the mean by 0.067 deviations",
)
VARIANCE = Design(
    name="reverse-variance",
    law="variance",
    catches=0.03,
    why="a score off by the factor 1.02 leaves the variance 3.05% too small, 0.98 3.3% too large",
)
LAW = Design(
    name="reverse-law",
    law="law",
    catches=0.02,
    why="p_t itself in place of the law of the steps is 0.021 off",
)
PATHS = max(design.n for design in (MEAN, VARIANCE, LAW))


def _times(steps: int) -> Floats:
    return 1.0 - np.arange(steps + 1) * (1.0 - END) / steps


@cache
def discretised(steps: int = STEPS, factor: float = 1.0, points: int = 600) -> Law:
    """Return the exact law of the end of the Euler walk, from the exact p_1."""
    walk_ = walk.euler_maruyama(TWO, _times(steps), linear_rate, linear_scales, factor)
    first, last = (TWO.noised(*linear_scales(t)) for t in (1.0, END))
    return walk.walked(TWO, walk_, first, last, points)


@lru_cache(maxsize=2)
def simulated(seed: int, factor: float = 1.0) -> Floats:
    """Return where torchsde's paths end, as standard normals if the law is that of the steps."""
    start = TWO.noised(*linear_scales(1.0)).draw(PATHS, np.random.default_rng([seed, 0]))
    times = simulation.grid(0.0, 1.0 - END, STEPS)

    def score(t: float, x: Floats) -> Floats:
        return factor * TWO.noised(*linear_scales(t)).score(x)

    ends = simulation.reverse_euler(linear_rate, score, times, start, seed)
    # Beyond 1e-12 the grid's own error would be stretched; the draws there number 1e-7.
    return np.asarray(ndtri(np.clip(discretised().cdf(ends), 1e-12, 1.0 - 1e-12)))


@evidence("SDE-6", kind="simulation")
@statistical(MEAN)
def test_simulated_ends_have_the_mean(seed: int) -> Floats:
    """SDE-6: put through the distribution function of the steps' law, the ends have mean 0 as normal scores."""
    return simulated(seed)


@evidence("SDE-6", kind="simulation")
@statistical(VARIANCE)
def test_simulated_ends_have_the_variance(seed: int) -> Floats:
    """SDE-6: and variance 1."""
    return simulated(seed)


@evidence("SDE-6", kind="simulation")
@statistical(LAW)
def test_simulated_ends_have_the_law(seed: int) -> Floats:
    """SDE-6: and Kolmogorov's distance from the law of the steps is that of independent draws."""
    times = simulation.grid(0.0, 1.0 - END, STEPS)
    start = TWO.noised(*linear_scales(1.0)).draw(LAW.n, np.random.default_rng([seed, 2]))
    ends = simulation.reverse_euler(
        linear_rate, lambda t, x: TWO.noised(*linear_scales(t)).score(x), times, start, seed + 1
    )
    return discretised().cdf(ends)


def _moved(factor: float) -> float:
    """Return the variance of the normal scores that a walk with a wrong score has, on the grid."""
    wrong = discretised(factor=factor)
    z = ndtri(np.clip(discretised().cdf(wrong.x), 1e-12, 1.0 - 1e-12))
    return float((wrong.density * z**2).sum() * (wrong.x[1] - wrong.x[0]))


@evidence("SDE-6", kind="simulation")
@pytest.mark.parametrize(("factor", "variance"), [(1.02, 0.9695), (0.98, 1.0332)])
def test_wrong_score_moves_the_variance_beyond_what_is_caught(factor: float, variance: float) -> None:
    """SDE-6: without Monte Carlo, a score off by 2% moves the variance by more than the Design catches."""
    assert abs(_moved(factor) - variance) < 5e-5
    assert abs(_moved(factor) - 1.0) > VARIANCE.catches


@evidence("SDE-6", kind="simulation")
@pytest.mark.parametrize("factor", [1.02, -1.0])
def test_wrong_score_is_caught(factor: float, seed: int) -> None:
    """SDE-6: simulated with a wrong score, the paths are refused; they pass with the chance `miss`, 1e-3, at most."""
    assert not VARIANCE.judge(simulated(seed, factor)).passed


@evidence("SDE-6", kind="quadrature")
def test_discretised_law_meets_the_closed_form() -> None:
    """SDE-6: the steps' law differs from p_t by 0.021, 0.0103 and 0.0051 for 60, 120, 240 steps: order 1 in the step.

    The slope is within 0.06 of 1, as h and h^2 terms of 60 steps make it; the grid loses 1e-7 of the mass at most.
    """
    last = TWO.noised(*linear_scales(END))
    laws = [discretised(STEPS << doubling) for doubling in range(3)]
    distances = [law.distance(last.cdf) for law in laws]
    assert all(abs(law.mass - 1.0) < 1e-7 for law in laws)
    slopes = [log2(coarse / fine) for coarse, fine in itertools.pairwise(distances)]
    assert abs(slopes[0] - 1.0) < 0.06
    assert abs(slopes[1] - 1.0) < abs(slopes[0] - 1.0)
    assert abs(distances[0] - 0.0214) < 1e-4


@evidence("SDE-6", kind="quadrature")
def test_grid_is_fine_enough() -> None:
    """SDE-6: on a grid half as wide again, the steps' law is the same to 1e-6, far less than is caught."""
    coarse, fine = discretised(), discretised(points=900)
    assert np.max(np.abs(coarse.cdf(fine.x) - fine.below)) < 1e-6


@evidence("SDE-6", kind="quadrature")
@pytest.mark.parametrize(
    ("score", "clock", "end"),
    [
        (1.0, 1.0, lambda b: 1.0), (-1.0, 1.0, lambda b: (4 * np.exp(3 * b) - 1) / 3),
        (1.0, -1.0, lambda b: 2 * np.exp(b) - 1), (-1.0, -1.0, lambda b: (1 + 2 * np.exp(-3 * b)) / 3),
    ],
    ids=["right", "score", "dt", "both"],
)  # fmt: skip
def test_wrong_signs_of_a_unit_normal(score: float, clock: float, end: Callable[[float], float]) -> None:
    """SDE-6: walked back by b = int beta, N(0, 1) stays; wrong signs give V = (4 e^3b - 1)/3, 2 e^b - 1, near 1/3.

    Per unit of b the drift is clock (x/2 + score d log p/dx), so V' = 2 clock (1/2 - score) V + 1.
    """
    pull, steps, b = 2.0 * clock * (0.5 - score), 20_000, 4.0
    variance = 1.0
    for _ in range(steps):  # the midpoint rule, of order 2
        middle = variance + b / steps / 2 * (pull * variance + 1.0)
        variance += b / steps * (pull * middle + 1.0)
    assert abs(variance / end(b) - 1.0) < 1e-5


@evidence("SDE-6", "SDE-7", kind="quadrature")
def test_start_at_the_end_of_cosine_decides_nothing() -> None:
    """SDE-6: with beta infinite at t = 1, x_1 says nothing of any x_t before it: alpha_1/alpha_t = 0.

    Of x_0 ~ N(0, 1) the slope of E[x_t | x_t_max] is alpha_t_max/alpha_t; at t = 1/2 it goes to 0 with 1 - t_max.
    """
    a = np.pi / 2 * 0.008 / 1.008

    def alpha(t: float) -> float:
        return float(np.cos(a + (np.pi / 2 - a) * t) / np.cos(a))

    slopes = [alpha(1 - 2.0**-j) / alpha(0.5) for j in range(2, 30)]
    assert all(abs(fine / coarse - 0.5) < 0.04 for coarse, fine in itertools.pairwise(slopes))
    assert slopes[-1] < 1e-8
