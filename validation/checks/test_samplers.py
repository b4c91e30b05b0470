"""Chapter 10: a target's own grids of times (SMP-10), and its whole samplers (SMP-11 to SMP-13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Own, Sampler, Times

from ..expected.convergence import largest_order, rounding_of_run
from ..oracles.certified import Floats
from ..oracles.gaussian import Gaussian, Levels
from ..statistics.design import Design
from ..statistics.experiments import PROCESSES, by_design
from .losses import time_tolerance
from .probes import first_served, last_served
from .runs import (
    Run,
    drawn,
    even_times,
    falling,
    judgeable,
    level_times,
    levels_of_grids,
    own_times,
    run,
    samplers_of,
    scales_of_run,
    short_then_long,
    stretch,
)
from .serving import served

COUNTS = (1, 2, 3, 7, 10, 50, 1000)
"""Steps of the grids that are asked for; of a chain N - 1, N and those of `_uneven_counts` too, and none beyond N."""
SPREAD = Gaussian(np.array([1.0, -0.5, 0.7, 0.3]), np.array([0.09, 0.36, 1.0, 2.25]))
POINTS = Gaussian(np.array([1.0, -0.5, 6.0, -20.0]), np.zeros(4))
Z = np.array([1.0, -1.5, 0.6, 1.2])
"""Data of four examples, and how many deviations each begins from its mean; two points show a sampler that clips."""
DOUBLED = (4, 8, 16, 32, 64)
"""Steps of the runs whose errors give an order."""
HALVED = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Lengths of the steps whose errors give a local order, in units of the stretch."""
SLACK = 0.5
"""How far below the claimed order a measured one may be: terms of order 1/n^2."""

ONE = Gaussian(np.array([0.5]), np.array([0.25]))
"""Data of the runs of stochastic samplers."""
COARSE, FINE = 16, 64
"""Steps of their runs; twice as many along a library's own grid, which begins with less signal."""
FEW = 16
"""Draws of the runs that two seeds have to tell apart."""
MEAN = Design(
    name="run-mean",
    law="mean",
    catches=0.05,
    why="one noise for all rows, or x_0_hat a tenth too large, moves the mean by more than a tenth of a deviation",
    samples=4 * PROCESSES,
)
VARIANCE = Design(
    name="run-variance",
    law="variance",
    catches=0.06,
    why="the noise of each step a tenth too small, or its variance for its root, is 0.15 off or more",
    samples=4 * PROCESSES,
)


@check("SMP-10", "grid")
def test_grid(case: Case) -> None:
    """SMP-10: a grid of n steps goes from the last time to the first, and falls at every step."""
    last, first = _ends(case)
    if case.steps:
        most = case.steps - case.claim.grid.last
        counts = sorted({n for n in (*COUNTS, most - 1, most, *_uneven_counts(case.steps)) if 1 <= n <= most})
    else:
        counts = [n for n in COUNTS if n <= 2 ** (case.format.bits - 3)]

    def one(name: str) -> None:
        n = named[name]
        times, at = case.built.grid(n).astype(np.float64), {"n": [n]}
        bound = 0.0 if case.steps else 4.0 * case.format.u * first
        case.expect(f"number of steps of {name}", [len(times) - 1], Expected(n, 0.0), at=at)
        case.expect(f"steps of {name} that do not fall", [np.sum(~(np.diff(times) < 0.0))], Expected(0.0, 0.0), at=at)
        case.expect(f"first time of {name}", times[:1], Expected(first, bound), at=at)
        case.expect(f"last time of {name}", times[-1:], Expected(last, bound), at=at)

    named = {f"grid({n})": n for n in counts}
    served(case, tuple(named), one)


def _uneven_counts(steps: int) -> tuple[int, ...]:
    """Return the least and the largest n for which N, N - N/n, ... in binary64 has one more time above 0 than n."""
    found = [n for n in range(1, steps + 1) if len(np.arange(steps, 0, -steps / n)) > n]
    return (found[0], found[-1]) if found else ()


def _ends(case: Case) -> tuple[float, float]:
    """Return the last and the first time of a grid, as claimed."""
    if case.steps:
        if case.steps <= case.claim.grid.last:
            raise NotClaimed(f"the chain ends at {case.steps}, and the grids of the claim at {case.claim.grid.last}")
        return float(case.claim.grid.last), float(case.steps)
    low, high = case.claim.grid.t_min, case.claim.grid.t_max
    return (first_served(case) if low is None else low), (last_served(case) if high is None else high)


def _chosen(case: Case, *, stochastic: bool) -> list[Sampler]:
    """Return the samplers to judge. Raises NotClaimed if there is none."""
    if case.format.bits < 24:
        raise NotClaimed("a run in half precision is moved by rounding more than a step errs")
    kind = "stochastic" if stochastic else "deterministic"
    if found := [sampler for sampler in samplers_of(case) if sampler.stochastic == stochastic]:
        return found
    raise NotClaimed(f"the claim lists no {kind} sampler")


@check("SMP-11", "sample")
def test_order(case: Case) -> None:
    """SMP-11: on Gaussian data, more steps lead to the exact flow with the claimed order."""
    case.once_a_kind()
    bodies: dict[str, Callable[[], None]] = {}
    for sampler in _chosen(case, stochastic=False):
        if sampler.times == "grid":
            bodies[f"{sampler.name}, its own grid"] = partial(_order_on_grids, case, sampler)
            continue
        bodies[f"{sampler.name}, even times"] = partial(_order, case, sampler, even_times, "even times")
        bodies[f"{sampler.name}, even log-SNR"] = partial(_order, case, sampler, level_times, "even log-SNR")
    served(case, tuple(bodies), lambda name: bodies[name]())


def _order(case: Case, sampler: Sampler, grid: Callable[..., Times], along: str) -> None:
    over = stretch(case)
    runs = [falling(grid(case, over, n)) for n in DOUBLED]
    _converges(case, sampler, runs, over.levels, sampler.order, "order of convergence", f", {along}")


def _order_on_grids(case: Case, sampler: Sampler) -> None:
    """Judge the runs along a library's own grids: to sigma = 0, where the last step alone may err by order 1."""
    runs = own_times(case, DOUBLED)
    _converges(case, sampler, runs, levels_of_grids(case, runs), 1, "order of convergence")


@check("SMP-11", "sample")
def test_order_of_a_step(case: Case) -> None:
    """SMP-11: the error of one step, and of one after three short ones, falls with its length by one order more."""
    case.once_a_kind()
    bodies: dict[str, Callable[[], None]] = {}
    for sampler in _chosen(case, stochastic=False):
        if sampler.times == "grid":
            continue
        bodies[f"{sampler.name}, one step"] = partial(_one_step, case, sampler)
        bodies[f"{sampler.name}, after short steps"] = partial(_after_short_steps, case, sampler)
    if not bodies:
        raise NotClaimed("the claim lists no deterministic sampler that goes along any times")
    served(case, tuple(bodies), lambda name: bodies[name]())


def _one_step(case: Case, sampler: Sampler) -> None:
    """Judge the first step, which a multistep method takes with order 1."""
    if case.steps:
        raise NotClaimed("a chain has no times between its indices")
    over = stretch(case)
    ends = [np.array([over.first, over.first + (over.last - over.first) * length]) for length in HALVED]
    runs = [falling(case.format.rounded(times)) for times in ends]
    _converges(case, sampler, runs, over.levels, 2, "local order of one step")


def _after_short_steps(case: Case, sampler: Sampler) -> None:
    over = stretch(case)
    runs = [falling(short_then_long(case, over, length)) for length in HALVED]
    _converges(case, sampler, runs, over.levels, sampler.order + 1, "local order after short steps")


def _converges(
    case: Case, sampler: Sampler, runs: Sequence[Times], levels: Levels, order: int, what: str, along: str = ""
) -> None:
    """Compare the order that the errors of the runs agree with at most; along: which times, for the figure."""
    found = [_error(case, sampler, times, levels) for times in runs]
    most, last = largest_order([error for error, _ in found], [floor for _, floor in found])
    at = {"n": [len(runs[last]) - 1], "from t": runs[last][:1], "to t": runs[last][-1:]}
    _record(case, f"{what} of {sampler.name}{along}", runs, found, order)
    case.expect(f"{what} of {sampler.name}", [np.minimum(most, order)], Expected(order, SLACK), at=at)


def _record(case: Case, what: str, runs: Sequence[Times], found: Sequence[tuple[float, float]], order: int) -> None:
    """Record errors by number of steps; of steps of one length each, by how often it goes into the longest."""
    sizes = [len(times) - 1 for times in runs]
    if len(set(sizes)) == 1:
        sizes = [round(1.0 / length) for length in HALVED]
    points = [(float(n), error, floor) for n, (error, floor) in zip(sizes, found, strict=True)]
    case.curves.run(what, repr(case.process), points, float(order))


def _error(case: Case, sampler: Sampler, times: Times, levels: Levels) -> tuple[float, float]:
    """Return the error of a run on Gaussian data, and how much of it may be rounding; of four examples, the r.m.s."""
    alpha, sigma = (x.tolist() for x in levels(times.astype(np.float64)))
    start, end = (SPREAD.on_flow(Z, alpha[i], sigma[i]) for i in (0, -1))
    q = judgeable(case, sampler, times)
    got = run(case, sampler, SPREAD, start, times, levels)
    first = got.asked[:1] if len(got.asked) else [np.nan]
    bound = time_tolerance(case, times[:1])
    case.expect(f"time of {sampler.name}'s first call", first, Expected(times[:1], bound), at={"t": times[:1]})
    floor = got.evaluations * rounding_of_run(SPREAD, Z, q, case.format.u)[-1]
    return _mean_square(np.max(np.abs(got.x - end[:, None]), axis=1)), _mean_square(floor)


def _mean_square(x: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


@check("SMP-12", "sample")
def test_point(case: Case) -> None:
    """SMP-12: where all data is one point, an exact sampler goes along the flow, and at t = 0 it is at the point."""
    exact = [sampler for sampler in samplers_of(case) if sampler.exact]
    if not exact:
        raise NotClaimed("the claim lists no sampler that is exact on data of one point")
    bodies = {}
    for sampler in exact:
        for name, times in _ways(case, sampler).items():
            bodies[f"{sampler.name}, {name}"] = partial(_ends_at_the_point, case, sampler, times)
    served(case, tuple(bodies), lambda name: bodies[name]())


def _ways(case: Case, sampler: Sampler) -> Mapping[str, Callable[[], Times]]:
    """Return by name how to make the times of a run: a stochastic sampler is exact at the end alone."""
    if sampler.times == "grid":
        return {f"grid({n})": partial(case.built.grid, n) for n in (1, 3, 7, 10)}
    ways = {
        "one step to 0": partial(_uneven, case, (1.0,)),
        "steps to 0": partial(_uneven, case, (1.0, 0.7, 0.1, 0.03)),
    }
    if not sampler.stochastic:
        ways |= {"one step": partial(_inside, case, (0.0, 1.0)), "steps": partial(_inside, case, (0.0, 0.1, 0.5, 1.0))}
    return ways


def _inside(case: Case, shares: Sequence[float]) -> Times:
    """Return times at these shares of the stretch."""
    over = stretch(case)
    times = over.first + (over.last - over.first) * np.array(shares)
    return np.round(times).astype(np.int64) if case.steps else case.format.rounded(times)


def _uneven(case: Case, shares: Sequence[float]) -> Times:
    """Return times at these shares of the first of the stretch, and 0."""
    if isinstance(case.process, Own) or case.claim.t_min > 0.0 or case.inner:
        raise NotClaimed("the process is not known, or not claimed, at t = 0")
    if case.steps and case.claim.grid.last > 0:
        raise NotClaimed(f"the claim says that runs of a chain end at {case.claim.grid.last}")
    times = np.array([*shares, 0.0]) * stretch(case).first
    return np.round(times).astype(np.int64) if case.steps else case.format.rounded(times)


def _ends_at_the_point(case: Case, sampler: Sampler, make: Callable[[], Times]) -> None:
    times = falling(make())
    own = isinstance(case.process, Own) and sampler.times == "any"
    levels = stretch(case).levels if own else levels_of_grids(case, [times])
    alpha, sigma = (x.tolist() for x in levels(times.astype(np.float64)))
    if sampler.stochastic and sigma[-1] > 0.0:
        raise NotClaimed("a stochastic sampler is exact where no noise is left, and its grid ends before")
    q = judgeable(case, sampler, times)
    start, end = (POINTS.on_flow(Z, alpha[i], sigma[i]) for i in (0, -1))
    got = run(case, sampler, POINTS, start, times, levels)
    # Noise that a stochastic sampler draws on the way is of any size that six deviations have.
    z = Z + np.sign(Z) * 6.0 if sampler.stochastic else Z
    bound = got.evaluations * rounding_of_run(POINTS, z, q, case.format.u)[-1]
    what, at = f"x of {sampler.name} after {got.steps} steps on data of one point", {"t": np.repeat(times[-1:], 4)}
    case.expect(what, got.x, Expected(end[:, None], bound[:, None]), at=at)
    if not sampler.stochastic:
        _calls_on_the_flow(case, sampler, got, levels)


def _calls_on_the_flow(case: Case, sampler: Sampler, got: Run, levels: Levels) -> None:
    """Compare each x that the denoiser was given with that of the flow at the time that it was given."""
    if len(got.asked) == 0:
        return
    alpha, sigma = levels(got.asked.astype(np.float64))
    bounds = rounding_of_run(POINTS, Z, scales_of_run(case, sampler, got.asked), case.format.u) + 8.0 * case.format.u
    for t, a, s, x, bound in zip(got.asked, alpha.tolist(), sigma.tolist(), got.given, bounds, strict=True):
        expected = Expected(POINTS.on_flow(Z, a, s)[:, None], 2.0 * bound[:, None])
        case.expect(f"x that {sampler.name} gives to the denoiser", x, expected, at={"t": np.repeat(t, 4)})


@by_design(VARIANCE)
@check("SMP-13", "sample")
def test_variance_of_a_run(case: Case) -> None:
    """SMP-13: a stochastic sampler leads from Gaussian data at the first time to their variance at the last."""
    _judge_law(case, VARIANCE, 1.0)


@by_design(MEAN)
@check("SMP-13", "sample")
def test_mean_of_a_run(case: Case) -> None:
    """SMP-13: a stochastic sampler leads from Gaussian data at the first time to their mean at the last."""
    _judge_law(case, MEAN, 0.0)


@check("SMP-13", "sample")
def test_seeds_of_a_run(case: Case) -> None:
    """SMP-13: another seed gives a stochastic sampler other noise, from the first step on."""
    case.once_a_kind()
    chosen = {sampler.name: sampler for sampler in _chosen(case, stochastic=True)}
    z = case.rng().standard_normal(FEW)

    def twice(name: str) -> None:
        times, levels = _run_of(case, chosen[name], COARSE)
        judgeable(case, chosen[name], times)
        one, other = (drawn(case, chosen[name], ONE, z, times, levels, later=later) for later in (0, 1))
        same = np.array_equal(one, other)
        case.expect(f"runs of {name} agree for two seeds", [float(same)], Expected(0.0, 0.0), at={"t": times[-1:]})
        _first_step_is_noisy(case, chosen[name], z)

    served(case, tuple(chosen), twice)


def _first_step_is_noisy(case: Case, sampler: Sampler, z: Floats) -> None:
    """Compare what the denoiser is given last in a run of two steps: only the noise of the first differs there."""
    times, levels = _run_of(case, sampler, 2, own=2)
    judgeable(case, sampler, times)
    alpha, sigma = (float(x[0]) for x in levels(times[:1].astype(np.float64)))
    start = ONE.on_flow(z, alpha, sigma)
    one, other = (run(case, sampler, ONE, start, times, levels, later=later).given for later in (0, 1))
    if len(one) > 1:
        same, what = np.array_equal(one[-1], other[-1]), f"{sampler.name}'s first step is the same for two seeds"
        case.expect(what, [float(same)], Expected(0.0, 0.0), at={"t": times[1:2]})


def _run_of(case: Case, sampler: Sampler, n: int, own: int = 2 * COARSE) -> tuple[Times, Levels]:
    """Return the times of a run of n steps, and the scales there; of `own` steps along a library's own grid."""
    if sampler.times == "grid":
        (times,) = own_times(case, (own,))
        return times, levels_of_grids(case, [times])
    over = stretch(case)
    return falling(even_times(case, over, n)), over.levels


def _judge_law(case: Case, design: Design, limit: float) -> None:
    case.once_a_kind()
    chosen = {sampler.name: sampler for sampler in _chosen(case, stochastic=True)}

    def one(name: str) -> None:
        coarse, fine, last = _deviations(case, chosen[name], design.n)
        outcome = design.judge_limit(coarse, fine)
        what = f"{'mean square' if limit else 'mean'} of x after a run of {name}, in deviations, for many steps"
        expected = Expected(limit, outcome.high - limit)
        case.expect(f"{what} ({outcome.n} draws)", [outcome.statistic], expected, at={"t": last})

    served(case, tuple(chosen), one)


def _deviations(case: Case, sampler: Sampler, size: int) -> tuple[Floats, Floats, Times]:
    """Return x after a run of few and of many steps, minus the mean and over the deviation of the data there."""
    if sampler.times == "grid":
        runs = own_times(case, (2 * COARSE, 2 * FINE))
        levels = levels_of_grids(case, runs)
    else:
        over = stretch(case)
        runs, levels = [falling(even_times(case, over, n)) for n in (COARSE, FINE)], over.levels
    rng, found = case.rng(), []
    for times in runs:
        judgeable(case, sampler, times)
        alpha, sigma = (x.tolist() for x in levels(times.astype(np.float64)))
        x = drawn(case, sampler, ONE, rng.standard_normal(size), times, levels)
        found.append(np.asarray((x - alpha[-1] * ONE.mean) / ONE.deviation(alpha[-1], sigma[-1])))
    return found[0], found[1], runs[0][-1:]
