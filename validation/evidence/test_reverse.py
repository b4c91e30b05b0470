"""The reverse SDE, simulated by torchsde on a mixture whose score is known, has the marginals of the process (SDE-6).

The distribution of Euler-Maruyama's end points is computed on a grid, without Monte Carlo, and compared with the closed
form. The simulation is tested against this distribution, so discretisation bias does not enter its p-value, and a score
that is wrong by 2% is found.
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
"""The time at which paths end."""
STEPS = 60
"""Number of steps, of length 1/64 each."""

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
    why="a score multiplied by 1.02 makes the variance 3.05% too small, by 0.98 3.3% too large",
)
LAW = Design(
    name="reverse-law",
    law="law",
    catches=0.02,
    why="the distribution of the discretised paths has a distance of 0.021 from p_t",
)
PATHS = max(design.n for design in (MEAN, VARIANCE, LAW))


def _times(steps: int) -> Floats:
    return 1.0 - np.arange(steps + 1) * (1.0 - END) / steps


@cache
def discretised(steps: int = STEPS, factor: float = 1.0, points: int = 600) -> Law:
    """Return the exact distribution at END of Euler paths that start from p_1; factor multiplies the score."""
    euler_steps = walk.euler_maruyama(TWO, _times(steps), linear_rate, linear_scales, factor)
    first, last = TWO.noised(*linear_scales(1.0)), TWO.noised(*linear_scales(END))
    return walk.walked(TWO, euler_steps, first, last, points)


@lru_cache(maxsize=2)
def simulated(seed: int, factor: float = 1.0) -> Floats:
    """Return the end points of torchsde's paths, transformed to N(0, 1) if they have the distribution `discretised`."""
    start = TWO.noised(*linear_scales(1.0)).draw(PATHS, np.random.default_rng([seed, 0]))
    times = simulation.grid(0.0, 1.0 - END, STEPS)

    def score(t: float, x: Floats) -> Floats:
        return factor * TWO.noised(*linear_scales(t)).score(x)

    ends = simulation.reverse_euler(linear_rate, score, times, start, seed)
    # ndtri would amplify the error of the grid in tails below 1e-12, where about 1e-7 draws are expected.
    return np.asarray(ndtri(np.clip(discretised().cdf(ends), 1e-12, 1.0 - 1e-12)))


@evidence("SDE-6", kind="simulation")
@statistical(MEAN)
def test_simulated_ends_have_the_mean(seed: int) -> Floats:
    """SDE-6: the end points, transformed to N(0, 1) by the distribution of the discretised paths, have mean 0."""
    return simulated(seed)


@evidence("SDE-6", kind="simulation")
@statistical(VARIANCE)
def test_simulated_ends_have_the_variance(seed: int) -> Floats:
    """SDE-6: the end points, transformed to N(0, 1) by the distribution of the discretised paths, have variance 1."""
    return simulated(seed)


@evidence("SDE-6", kind="simulation")
@statistical(LAW)
def test_simulated_ends_have_the_distribution(seed: int) -> Floats:
    """SDE-6: the end points have the distribution of the discretised paths, by the Kolmogorov distance."""
    times = simulation.grid(0.0, 1.0 - END, STEPS)
    start = TWO.noised(*linear_scales(1.0)).draw(LAW.n, np.random.default_rng([seed, 2]))
    ends = simulation.reverse_euler(
        linear_rate, lambda t, x: TWO.noised(*linear_scales(t)).score(x), times, start, seed + 1
    )
    return discretised().cdf(ends)


def _variance_with(factor: float) -> float:
    """Return the variance of the normal scores of paths whose score is multiplied by `factor`, on the grid."""
    wrong = discretised(factor=factor)
    z = ndtri(np.clip(discretised().cdf(wrong.x), 1e-12, 1.0 - 1e-12))
    return float((wrong.density * z**2).sum() * (wrong.x[1] - wrong.x[0]))


@evidence("SDE-6", kind="simulation")
@pytest.mark.parametrize(("factor", "variance"), [(1.02, 0.9695), (0.98, 1.0332)])
def test_wrong_score_changes_the_variance_by_more_than_the_design_catches(factor: float, variance: float) -> None:
    """SDE-6: without Monte Carlo, a score wrong by 2% changes the variance by more than `VARIANCE.catches`."""
    assert abs(_variance_with(factor) - variance) < 5e-5
    assert abs(_variance_with(factor) - 1.0) > VARIANCE.catches


@evidence("SDE-6", kind="simulation")
@pytest.mark.parametrize("factor", [1.02, -1.0])
def test_wrong_score_is_rejected(factor: float, seed: int) -> None:
    """SDE-6: paths simulated with a wrong score fail the test; they pass with a probability of at most 1e-3, `miss`."""
    assert not VARIANCE.judge(simulated(seed, factor)).passed


@evidence("SDE-6", kind="quadrature")
def test_discretised_distribution_converges_to_the_closed_form() -> None:
    """SDE-6: the discretised distribution is 0.021, 0.0103 and 0.0051 from p_t for 60, 120 and 240 steps: order 1.

    The terms in h and h^2 give 60 steps a slope within 0.06 of 1; the grid misses at most 1e-7 of the mass.
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
def test_grid_error_is_negligible() -> None:
    """SDE-6: a grid with 1.5 times as many points changes the discretised distribution by less than 1e-6."""
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
def test_variance_under_wrong_signs(score: float, clock: float, end: Callable[[float], float]) -> None:
    """SDE-6: the reverse SDE keeps N(0, 1) over b = int beta; wrong signs give V = (4 e^3b - 1)/3, 2 e^b - 1, or 1/3.

    score, clock: signs of the score and of dt. Per unit of b the drift is clock (x/2 + score d log p/dx), so the
    variance solves V' = 2 clock (1/2 - score) V + 1. With both signs wrong, V = (1 + 2 e^-3b)/3.
    """
    coefficient, steps, b = 2.0 * clock * (0.5 - score), 20_000, 4.0
    variance = 1.0
    for _ in range(steps):  # the midpoint rule, of order 2
        middle = variance + b / steps / 2 * (coefficient * variance + 1.0)
        variance += b / steps * (coefficient * middle + 1.0)
    assert abs(variance / end(b) - 1.0) < 1e-5


@evidence("SDE-6", "SDE-7", kind="quadrature")
def test_end_of_the_cosine_schedule_is_independent_of_earlier_times() -> None:
    """SDE-6: where beta is infinite at t = 1, x_1 is independent of any earlier x_t, as alpha_1/alpha_t = 0.

    For x_0 ~ N(0, 1) the slope of E[x_t | x_t_max] is alpha_t_max/alpha_t; at t = 1/2 it is proportional to 1 - t_max.
    """
    a = np.pi / 2 * 0.008 / 1.008

    def alpha(t: float) -> float:
        return float(np.cos(a + (np.pi / 2 - a) * t) / np.cos(a))

    slopes = [alpha(1 - 2.0**-j) / alpha(0.5) for j in range(2, 30)]
    assert all(abs(fine / coarse - 0.5) < 0.04 for coarse, fine in itertools.pairwise(slopes))
    assert slopes[-1] < 1e-8
