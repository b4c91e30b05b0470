"""Chapter 6: do a target's times obey TIM-1, TIM-2, TIM-4 and TIM-5."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.interface import Chain, Times
from refdiff.conformance.subject import Subject

from .experiments import PROCESSES, by_design
from .oracles.certified import Floats
from .statistics import Design

SIZES = (1, 2, 3, 7, 49, 64, 98, 103, 1000)
"""`arange(0, 1, 1/n)` has n + 1 numbers for 49, 98 and 103."""
PLACES = 8
"""Times asked for in one call: places in a batch."""
REACH = 0.05
"""How much of time a sampler may leave out at either end (TIM-2)."""

LAW = Design(
    name="times-law",
    law="law",
    catches=0.1,
    bias=2e-3,
    why="logit-normal times with weight 1 are 0.11 off, t = u^2 and a density 2t used as its own weight 0.25",
    samples=PROCESSES,
)
ORDER = Design(
    name="times-order",
    law="law",
    catches=0.3,
    bias=2e-3,
    why="strata in order put the first of 8 times into [0, 1/8), 0.87 off; in two halves, into [0, 1/2), 0.5 off",
    samples=PROCESSES,
)


@final
@dataclass(frozen=True, slots=True)
class Drawn:
    """Times in [0, 1] (of a chain, k/N, spread evenly over its step) and weights, (calls, PLACES)."""

    times: Floats
    weights: Floats
    shares: Floats
    """F(t) of each: the distribution function that the weights imply."""
    mass: float
    """What the implied density sums to."""
    first: float
    last: float


def _drawn(subject: Subject, calls: int) -> Drawn:
    """Call with as many seeds, and work out what the weights say of the law.

    A weight w at t says that the density there is 1/((b - a) w). Between the times drawn it is interpolated; with n
    of them on [a, b] the mass beyond the outermost, and within a gap, exceeds 20/n with probability n exp(-20).
    """
    rng = subject.rng()
    pairs = [subject.built.times(PLACES, int(seed)) for seed in rng.integers(2**31, size=calls)]
    t, w = (np.stack([pair[i] for pair in pairs]).astype(np.float64) for i in (0, 1))
    if isinstance(subject.process, Chain):
        steps = len(subject.process.betas)
        t = (t - rng.random(t.shape)) / steps
    order = np.argsort(t, axis=None)
    flat, density = t.ravel()[order], 1.0 / w.ravel()[order]
    # Midpoints between neighbours: the density is that of the nearest time drawn.
    edges = np.concatenate([flat[:1], 0.5 * (flat[1:] + flat[:-1]), flat[-1:]])
    mass = np.diff(edges) * density
    below = np.concatenate([[0.0], np.cumsum(mass)[:-1]]) + density * (flat - edges[:-1])
    width = flat[-1] - flat[0]
    shares = np.empty(t.size)
    shares[order] = below / mass.sum() if mass.sum() > 0.0 else np.nan
    return Drawn(t, w, shares.reshape(t.shape), float(mass.sum() / width) if width > 0 else np.nan, flat[0], flat[-1])


@check("TIM-1", "times")
def test_range(subject: Subject) -> None:
    """TIM-1: n times inside the process, and n weights above 0 and finite, for every n."""
    for n in SIZES:
        for seed in subject.rng().integers(2**31, size=4 if n > 1 else 16):
            t, weight = subject.built.times(n, int(seed))
            low, high = (1, len(subject.process.betas)) if isinstance(subject.process, Chain) else (0.0, 1.0)
            subject.expect(f"times(n={n})", t, np.clip(t.astype(np.float64), low, high), 0.0, at={"t": t})
            right = (weight > 0.0) & np.isfinite(weight)
            subject.expect(f"weight > 0 of times(n={n})", weight, np.where(right, weight, np.nan), 0.0, at={"t": t})


@by_design(LAW)
@check("TIM-2", "times")
def test_weights_undo_the_density(subject: Subject) -> None:
    """TIM-2: the law of the times is the one that the weights imply, and reaches over the whole of the process."""
    drawn = _drawn(subject, LAW.n)
    ends = {"t": np.array([drawn.first, drawn.last])}
    wanted = np.array([min(drawn.first, REACH), max(drawn.last, 1.0 - REACH)])
    subject.expect("first and last time, in units of the range", [drawn.first, drawn.last], wanted, 0.0, at=ends)
    # 40/n is twice the mass that is left out at each end, but for one time in 10^8.
    limit = LAW.bias + 40.0 / drawn.times.size
    subject.expect("mean of 1/weight over the range", [drawn.mass], 1.0, limit, at={"t": ends["t"][:1]})
    # One place of each call, at random: times of one call need not be independent.
    place = subject.rng().integers(PLACES, size=len(drawn.times))
    _uniform(subject, LAW, "F(t)", drawn.shares[np.arange(len(place)), place], drawn)


@by_design(ORDER)
@check("TIM-4", "times")
def test_place_says_nothing(subject: Subject) -> None:
    """TIM-4: the first time of a batch has the law of all."""
    drawn = _drawn(subject, ORDER.n)
    _uniform(subject, ORDER, "F(t) at the first place", drawn.shares[:, 0], drawn)


def _uniform(subject: Subject, design: Design, name: str, sample: Floats, drawn: Drawn) -> None:
    outcome = design.judge(sample)
    what = f"Kolmogorov distance of {name} from uniform ({outcome.n} calls)"
    subject.expect(what, [outcome.statistic], 0.0, outcome.high, at={"t": np.array([drawn.first])})


@check("TIM-5", "times")
def test_seeds(subject: Subject) -> None:
    """TIM-5: another seed gives other times."""
    steps = len(subject.process.betas) if isinstance(subject.process, Chain) else 2
    drawn = [subject.built.times(64, seed)[0] for seed in range(subject.seed, subject.seed + 4)]
    for (i, one), (j, other) in combinations(enumerate(drawn), 2):
        same = np.array([np.array_equal(one, other) and steps > 1], dtype=np.float64)
        subject.expect(f"seeds {i} and {j} agree in all 64 times", same, 0.0, 0.0, at={"t": _first(one)})


def _first(t: Times) -> Times:
    return t[:1]
