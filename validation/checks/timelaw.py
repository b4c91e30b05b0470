"""Distribution of the times drawn, as implied by the claim and the weights, as a distribution function (TIM-2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from refdiff.conformance.case import Case

from ..oracles.certified import Floats

REACH = 0.05
"""Fraction of the claimed times that a sampler without a declared range may omit at either end (TIM-2)."""
POINTS = 4096
"""Number of drawn times, and of other times, at which a declared density is evaluated."""


@final
@dataclass(frozen=True, slots=True)
class Range:
    """Range of the times drawn, and whether each end is declared by the target or only an outer bound."""

    low: float
    high: float
    low_declared: bool
    high_declared: bool

    @property
    def width(self) -> float:
        """Return its length."""
        return self.high - self.low


def range_of(case: Case) -> Range:
    """Return the range of a schedule's times: that of `draws`, else of the claim, if it narrows [0, 1]."""
    claim = case.claim
    low, high = claim.draws.t_min, claim.draws.t_max
    return Range(
        claim.t_min if low is None else low,
        claim.t_max if high is None else high,
        low is not None or claim.t_min > 0.0,
        high is not None or claim.t_max < 1.0,
    )


@final
@dataclass(frozen=True, slots=True)
class Drawn:
    """Times, or indices, and weights, (calls, places)."""

    times: Floats
    weights: Floats

    @property
    def finite(self) -> bool:
        """Whether no number of them is NaN or infinite."""
        return bool(np.isfinite(self.times).all() and np.isfinite(self.weights).all())

    @property
    def distinct(self) -> int:
        """Return the number of distinct times."""
        return len(np.unique(self.times))


def draw(case: Case, calls: int, places: int) -> Drawn:
    """Call with as many seeds."""
    seeds = case.rng().integers(2**31, size=calls)
    pairs = [case.built.times(places, int(seed)) for seed in seeds]
    return Drawn(*(np.stack([pair[i] for pair in pairs]).astype(np.float64) for i in (0, 1)))


@final
@dataclass(frozen=True, slots=True)
class Law:
    """A distribution function by its values at the edges of cells, linear between them."""

    edges: Floats
    below: Floats
    mass: float
    """Integral, or sum, of the density implied by the weights; expected: the length of the range, or N of a chain."""

    def cdf(self, t: Floats) -> Floats:
        """Return the distribution function at t, shaped as t."""
        return np.asarray(np.interp(t, self.edges, self.below))

    def density(self, t: Floats) -> Floats:
        """Return the density at t, in units of that of the uniform law of its range."""
        slopes = np.diff(self.below) / np.diff(self.edges)
        cell = np.clip(np.searchsorted(self.edges, t, side="right") - 1, 0, len(slopes) - 1)
        return np.asarray(slopes[cell] * (self.edges[-1] - self.edges[0]))


def law_of(case: Case, drawn: Drawn) -> Law:
    """Return the distribution that times of a schedule should have: as declared, or as implied by the weights.

    A weight w at t implies a density of 1/((b - a) w) there; between known times the density is that of the nearest.
    """
    reach, draws = range_of(case), case.claim.draws
    low = reach.low if reach.low_declared else float(drawn.times.min())
    high = reach.high if reach.high_declared else float(drawn.times.max())
    weight = float(drawn.weights.flat[0]) if draws.weights == "undo" else 1.0
    if draws.density == "uniform" and (draws.weights == "free" or (drawn.weights == weight).all()):
        mass = (high - low) / weight if weight > 0.0 else np.inf
        return Law(np.array([low, high]), np.array([0.0, 1.0]), mass)
    flat, first = np.unique(drawn.times, return_index=True)
    implied = 1.0 / drawn.weights.ravel()[first]
    edges = _cells(flat, low, high)
    mass = float((np.diff(edges) * implied).sum())
    if draws.density == "declared":
        flat, implied = _declared(case, flat, low, high)
        edges = _cells(flat, low, high)
    return _accumulated(edges, implied, mass)


def _cells(points: Floats, low: float, high: float) -> Floats:
    """Return the edges of cells that hold one point each: midpoints, and the ends."""
    edges = np.concatenate([[low], 0.5 * (points[1:] + points[:-1]), [high]])
    return np.asarray(np.maximum.accumulate(np.clip(edges, low, max(low, high))))


def _accumulated(edges: Floats, density: Floats, mass: float) -> Law:
    pieces = np.diff(edges) * density
    below = np.concatenate([[0.0], np.cumsum(pieces)])
    return Law(edges, below / below[-1], mass)


def _declared(case: Case, drawn: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """Return points of the range, some of those drawn among them, and the declared density there."""
    some = drawn[np.unique(np.linspace(0, len(drawn) - 1, POINTS).astype(int))]
    even = low + (high - low) * (np.arange(POINTS) + 0.5) / POINTS
    # A density may have its peak at either end.
    near = (high - low) * 2.0 ** -np.linspace(1.0, 24.0, POINTS // 8)
    points = np.concatenate([some, even, low + near, high - near])
    points = case.format.rounded(points[(points > low) & (points < high)])
    t = np.unique(np.clip(points, *inside(case, low, high)))
    density = case.built.density(t).astype(np.float64)
    # At an end it may be infinite, as that of the sine law is.
    kept = np.isfinite(density)
    return t[kept].astype(np.float64), density[kept]


def inside(case: Case, low: float, high: float) -> tuple[float, float]:
    """Return the ends of a range in the target's format, allowing for rounding in either direction."""
    ends = case.format.rounded(np.array([low, high])).astype(np.float64)
    return min(low, float(ends[0])), max(high, float(ends[1]))


def mass_limits(case: Case, drawn: Drawn, tolerance: float) -> tuple[float, float]:
    """Return bounds on the integral of 1/weight over the range, which is its length, as far as it is known."""
    reach = range_of(case)
    first, last = float(drawn.times.min()), float(drawn.times.max())
    low = reach.low if reach.low_declared else min(first, reach.low + REACH * reach.width)
    high = reach.high if reach.high_declared else max(last, reach.high - REACH * reach.width)
    return (high - low) * (1.0 - tolerance), reach.width * (1.0 + tolerance)


def chances(case: Case, drawn: Drawn) -> tuple[Floats, float]:
    """Return P(k) for k = 1..N, up to a constant factor, and the tolerance of their sum.

    Declared; or 1/(N w), 0 where no k was drawn. Weights of one k may differ where the cells of a density are not those
    of the chain: then E[w | k] = 1/(N P(k)), known from as many calls as drew it.
    """
    assert case.steps
    steps, draws = case.steps, case.claim.draws
    if draws.density == "declared":
        return case.built.density(np.arange(1, steps + 1)).astype(np.float64), 0.0
    if draws.weights == "free" or (drawn.weights == 1.0).all():
        return np.full(steps, 1.0 / steps), 0.0
    k = np.clip(drawn.times.ravel().astype(np.int64), 1, steps) - 1
    w = drawn.weights.ravel()
    count, first = np.bincount(k, minlength=steps), np.zeros(steps)
    first[k] = w
    # From one of them, so that equal weights leave exactly 0.
    mean = np.bincount(k, w - first[k], minlength=steps) / count
    square = np.bincount(k, (w - first[k]) ** 2, minlength=steps) / count
    found = np.where(count > 0, 1.0 / (steps * (first + mean)), 0.0)
    spread = np.sqrt(np.maximum(square - mean**2, 0.0)) / (first + mean)
    calls = np.maximum(count / drawn.times.shape[1], 1.0)
    return found, 8.0 * float(np.sqrt(np.nansum((found * spread) ** 2 / calls)))


@final
@dataclass(frozen=True, slots=True)
class Weighted:
    """Means of w f(t) in each call, (calls, functions), and those of f: 1 up to a level, beyond it, or always."""

    values: Floats
    means: Floats
    """Upper bounds, where the range of the times is not declared."""


def weighted(case: Case, drawn: Drawn, levels: int) -> Weighted:
    """Return the weighted shares of each call up to `levels` levels, beyond them, and in total.

    Free weights count as 1, and a time as its place in the declared distribution.
    """
    at, weights, low, high = _places(case, drawn)
    edges = np.arange(1, levels + 1) / (levels + 1)
    if case.steps:
        # Where one index ends and the next begins: as many as there are levels, spread over the chain.
        law = _below(case, drawn)
        edges = law[np.unique(np.clip(np.round(edges * (len(law) - 1)), 1, len(law) - 2)).astype(int)]
    within = at[:, :, None] <= edges
    up_to, beyond = ((weights[:, :, None] * some).mean(axis=1) for some in (within, ~within))
    whole = weights.mean(axis=1)[:, None]
    means = [edges / high, (1.0 - edges) / (1.0 - low), np.ones(1)]
    return Weighted(np.concatenate([up_to, beyond, whole], axis=1), np.minimum(np.concatenate(means), 1.0))


def _below(case: Case, drawn: Drawn) -> Floats:
    """Return the law of the indices of a chain, at 0..N: the declared one of free weights, or the uniform one."""
    assert case.steps
    draws, steps = case.claim.draws, case.steps
    if draws.weights == "undo" or draws.density == "uniform":
        return np.arange(steps + 1) / steps
    chance, _ = chances(case, drawn)
    return np.concatenate([[0.0], np.cumsum(chance) / chance.sum()])


def _places(case: Case, drawn: Drawn) -> tuple[Floats, Floats, float, float]:
    """Return places in [0, 1] and weights, (calls, places), and the latest start and the earliest end of the range.

    An index is in the middle of its share.
    """
    draws = case.claim.draws
    free, one = draws.weights == "free", np.ones_like(drawn.weights)
    if case.steps:
        below = _below(case, drawn)
        k = np.clip(drawn.times.astype(np.int64), 1, len(below) - 1)
        return 0.5 * (below[k - 1] + below[k]), one if free else drawn.weights, 0.0, 1.0
    if free:
        return law_of(case, drawn).cdf(drawn.times), one, 0.0, 1.0
    reach = range_of(case)
    at = (drawn.times - reach.low) / reach.width
    low = 0.0 if reach.low_declared else min(max(float(at.min()), 0.0), REACH)
    high = 1.0 if reach.high_declared else max(min(float(at.max()), 1.0), 1.0 - REACH)
    return at, drawn.weights, low, high
