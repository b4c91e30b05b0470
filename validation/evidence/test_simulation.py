"""Paths of the SDE, simulated by torchsde, converge to the closed form, weakly and strongly (MAR-1, MAR-2, MAR-6).

The simulation is tested against the exact distribution of the discretised paths, and that distribution is compared with
the closed form without Monte Carlo. So discretisation bias does not enter a p-value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2, pi, sqrt
from typing import final

import numpy as np
import pytest
from scipy.stats import norm

from refdiff.conformance.check import evidence

from ..oracles import certified, simulation
from ..oracles.simulation import Floats, Law
from ..statistics.design import Design
from ..statistics.experiments import statistical
from .exact import COSINE, LINEAR

X_0 = 3.0
ROUNDING = 2.0**-34
"""Rounding error: 2^-52 in each of 2^14 steps, times 3 * 5/3 * 9/7 * 17/15 < 8 for the extrapolation."""


@final
@dataclass(frozen=True, slots=True)
class Run:
    """A simulation of a process on a dyadic grid, over times at which beta is bounded."""

    process: certified.Process
    rate: Callable[[Floats], Floats]
    end: float
    """The time at which paths end, away from t = 0.31, where the variance error of Euler changes sign for LINEAR."""
    steps: int

    def times(self, steps: int | None = None, start: float = 0.0) -> Floats:
        """Return the grid from `start` to the end, with `steps` steps if given."""
        return simulation.grid(start, self.end, steps or self.steps)


def _linear(t: Floats) -> Floats:
    return 0.1 + t * 19.9


def _cosine(t: Floats) -> Floats:
    rate: Floats = pi / 1.008 * np.tan(pi / 2 * (t + 0.008) / 1.008)
    return rate


RUNS = (Run(LINEAR, _linear, 0.5, 16), Run(COSINE, _cosine, 15 / 16, 60))
PATH_RUNS = (*RUNS, *(replace(run, steps=2 * run.steps) for run in RUNS))
"""Runs with the given step and with half of it, which measure the order of convergence on paths."""

EULER_MEAN = Design(
    name="euler-mean",
    law="mean",
    catches=0.05,
    why="beta taken at a step's end in place of its start moves the mean by 0.13 (linear) and 0.07 (cosine) deviations",
    samples=len(RUNS),
)
EULER_VARIANCE = Design(
    name="euler-variance",
    law="variance",
    catches=0.05,
    why="the closed form's variance in place of the discretised one's: they differ by 6% (linear) and 8% (cosine)",
    samples=len(RUNS),
)
EULER_LAW = Design(
    name="euler-law",
    law="law",
    catches=0.1,
    why="increments of +-sqrt(h), as in weak schemes, are 0.12 (linear) and 0.26 (cosine) from a Gaussian in 4 steps",
    samples=len(RUNS),
)
PATH_MEAN = Design(
    name="path-mean",
    law="mean",
    catches=0.05,
    why="Euler's bias, if left out of the error's mean, is 0.16 (linear) and 0.06 (cosine) of its deviation",
    samples=len(PATH_RUNS),
)
PATH_VARIANCE = Design(
    name="path-variance",
    law="variance",
    catches=0.1,
    why="an exact path computed from W on the grid alone halves (linear) or quarters (cosine) the error's variance",
    samples=len(PATH_RUNS),
)
PATHS = max(design.n for design in (EULER_MEAN, EULER_VARIANCE, PATH_MEAN, PATH_VARIANCE))


@lru_cache(maxsize=4)
def ends(run: Run, seed: int) -> tuple[Floats, Floats]:
    """Return the end points of torchsde's Euler paths, and of the exact solutions for the same Brownian motions."""
    times = run.times()
    exact = simulation.steps(run.rate, times)
    increments, noise = simulation.draw(exact, times, PATHS, seed)
    return simulation.euler(run.rate, times, X_0, increments), simulation.exact_path(exact, X_0, noise)


def standardised(sample: Floats, mean: float, variance: float) -> Floats:
    """Return (sample - mean)/sqrt(variance), which is N(0, 1) if the sample is N(mean, variance)."""
    return (sample - mean) / sqrt(variance)


def _standardised_ends(run: Run, seed: int) -> Floats:
    law = simulation.euler_law(run.rate, run.times())
    return standardised(ends(run, seed)[0], law.scale * X_0, law.variance)


@evidence("MAR-1", "SDE-5", kind="simulation")
@statistical(EULER_MEAN, run=RUNS)
def test_simulated_ends_have_the_discretised_mean(run: Run, seed: int) -> Floats:
    """MAR-1: the end points of torchsde's Euler paths have the mean a x_0 of the affine recursion."""
    return _standardised_ends(run, seed)


@evidence("MAR-2", "SDE-5", kind="simulation")
@statistical(EULER_VARIANCE, run=RUNS)
def test_simulated_ends_have_the_discretised_variance(run: Run, seed: int) -> Floats:
    """MAR-2: the end points of torchsde's Euler paths have the variance v of the affine recursion."""
    return _standardised_ends(run, seed)


@evidence("MAR-1", "MAR-2", "SDE-5", kind="simulation")
@statistical(EULER_LAW, run=RUNS)
def test_simulated_ends_are_gaussian(run: Run, seed: int) -> Floats:
    """MAR-2: after 4 steps on torchsde's own Brownian motion, x ~ N(a x_0, v), by the Kolmogorov distance."""
    times = run.times(4)
    law = simulation.euler_law(run.rate, times)
    z = standardised(simulation.euler_own(run.rate, times, X_0, EULER_LAW.n, seed), law.scale * X_0, law.variance)
    uniform: Floats = norm.cdf(z)
    return uniform


def _extrapolated(run: Run, start: float) -> tuple[Law, Law]:
    """Return the distribution of Euler's end point extrapolated to step 0, and an error estimate of its fields.

    By Richardson extrapolation over six grids; the estimate is the sum of the last two changes in the table.
    """
    rows = []
    for doubling in range(6):
        steps = round((run.end - start) * 512) << doubling
        law = simulation.euler_law(run.rate, run.times(steps, start))
        rows.append(np.array([law.scale, law.variance]))
    previous = rows
    for order in range(1, 5):
        previous = rows
        rows = [(2**order * fine - coarse) / (2**order - 1) for coarse, fine in itertools.pairwise(rows)]
    error = np.abs(rows[-1] - previous[-1]) + np.abs(rows[-1] - rows[-2])
    return Law(*map(float, rows[-1])), Law(*map(float, error))


@evidence("MAR-1", "MAR-2", kind="simulation")
@pytest.mark.parametrize("run", RUNS)
def test_discretised_moments_converge_to_the_closed_form(run: Run) -> None:
    """MAR-2: without Monte Carlo, a and v extrapolated to step 0 are alpha and sigma^2, within the error estimate."""
    law, error = _extrapolated(run, 0.0)
    assert max(error.scale, error.variance) < 1e-8
    assert abs(law.scale - certified.at(run.process, "alpha", run.end).value) <= error.scale + ROUNDING
    assert abs(law.variance - certified.at(run.process, "variance", run.end).value) <= error.variance + ROUNDING


@evidence("MAR-6", kind="simulation")
@pytest.mark.parametrize("run", RUNS)
def test_discretised_moments_from_an_inner_time_converge_to_the_transition(run: Run) -> None:
    """MAR-6: from x_s, a and v extrapolated to step 0 are alpha_t/alpha_s and 1 - alpha_bar_t/alpha_bar_s."""
    start = 0.25
    law, error = _extrapolated(run, start)
    scale = certified.at(run.process, "alpha", run.end).value / certified.at(run.process, "alpha", start).value
    assert max(error.scale, error.variance) < 1e-8
    assert abs(law.scale - scale) <= error.scale + ROUNDING
    assert abs(law.variance - (1 - scale**2)) <= error.variance + ROUNDING


@evidence("MAR-2", "SDE-5", kind="simulation")
@pytest.mark.parametrize("run", [Run(LINEAR, _linear, 1.0, 512), Run(COSINE, _cosine, 15 / 16, 240)])
def test_variance_has_weak_order_one(run: Run) -> None:
    """MAR-2: halving the step halves the error of Euler's variance, by recursion: the slope is within 0.02 of 1."""
    exact = certified.at(run.process, "variance", run.end).value
    errors = [simulation.euler_law(run.rate, run.times(run.steps * k)).variance - exact for k in (1, 2, 4)]
    for coarse, fine in itertools.pairwise(errors):
        assert abs(log2(coarse / fine) - 1) <= 0.02


@evidence("MAR-1", "MAR-2", kind="simulation")
@pytest.mark.parametrize("run", RUNS)
def test_exact_steps_compose_to_the_closed_form(run: Run) -> None:
    """MAR-2: alpha'/alpha and Var(I) of each step, by quadrature, compose to alpha and sigma^2 at the end.

    `simulation.steps` ensures an error below 1e-11 for quad_vec in each step, and below 2e-13 for the rate's integral.
    """
    law = simulation.exact_law(simulation.steps(run.rate, run.times()))
    assert abs(law.scale - certified.at(run.process, "alpha", run.end).value) <= run.steps * 1e-12
    assert abs(law.variance - certified.at(run.process, "variance", run.end).value) <= run.steps * 1e-11


def _standardised_errors(run: Run, seed: int) -> Floats:
    euler, solution = ends(run, seed)
    times = run.times()
    law = simulation.error_law(run.rate, times, simulation.steps(run.rate, times), X_0)
    return standardised(euler - solution, law.scale, law.variance)


@evidence("MAR-1", "MAR-2", kind="simulation")
@statistical(PATH_MEAN, run=PATH_RUNS)
def test_paths_differ_by_the_mean_of_the_error(run: Run, seed: int) -> Floats:
    """MAR-2: the error of Euler's end point, on the same Brownian motion, has the mean of the recursion."""
    return _standardised_errors(run, seed)


@evidence("MAR-1", "MAR-2", kind="simulation")
@statistical(PATH_VARIANCE, run=PATH_RUNS)
def test_paths_differ_by_the_variance_of_the_error(run: Run, seed: int) -> Floats:
    """MAR-2: the error of Euler's end point, on the same Brownian motion, has the variance of the recursion."""
    return _standardised_errors(run, seed)


@evidence("MAR-1", "MAR-2", kind="simulation")
@pytest.mark.parametrize("run", RUNS)
def test_paths_converge_with_strong_order_one(run: Run) -> None:
    """MAR-2: halving the step halves the exact root mean square error of paths, as the noise is additive (erratum E11).

    Noise that depends on x would give Euler the strong order 1/2.
    """
    errors = []
    for doubling in (4, 5, 6):
        times = run.times(run.steps << doubling)
        law = simulation.error_law(run.rate, times, simulation.steps(run.rate, times), X_0)
        errors.append(sqrt(law.scale**2 + law.variance))
    for coarse, fine in itertools.pairwise(errors):
        assert abs(log2(coarse / fine) - 1) <= 0.02


@evidence("MAR-1", "MAR-2", "SDE-5", kind="simulation")
@pytest.mark.parametrize("run", RUNS)
def test_order_on_simulated_paths(run: Run, seed: int) -> None:
    """MAR-2: the standard deviation of the error over paths has a slope in the step whose interval has 1, not 1/2.

    Each variance is inside the acceptance interval of PATH_VARIANCE, +-3% for these 63,000 paths, so the slope is
    within 0.05 of that of the recursion, 1.016 or 0.993. The test adds no false alarms to those of PATH_VARIANCE.
    """
    slopes, width = [], 0.0
    for steps in (run.steps, 2 * run.steps):
        at = replace(run, steps=steps)
        law = simulation.error_law(at.rate, at.times(), simulation.steps(at.rate, at.times()), X_0)
        outcome = PATH_VARIANCE.judge(_standardised_errors(at, seed))
        slopes.append(log2(law.variance * outcome.statistic) / 2)
        width += max(abs(log2(outcome.low)), log2(outcome.high)) / 2
    measured = slopes[0] - slopes[1]
    assert width < 0.05
    assert abs(measured - 1.0) <= width + 0.016
    assert abs(measured - 0.5) > width
