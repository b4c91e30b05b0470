"""Chapter 6: do a target's times obey TIM-1, TIM-2, TIM-4, TIM-5, TIM-7 and TIM-8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from refdiff.conformance.case import Case
from refdiff.conformance.check import ANY, check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Cosine, Linear, NoProcess, Own, Times

from ..oracles.certified import Floats
from ..statistics.design import Design
from ..statistics.experiments import PROCESSES, by_design
from ..statistics.wagers import even_levels
from .laws import record_draws, record_law
from .timelaw import Drawn, Law, chances, draw, inside, law_of, mass_limits, range_of, weighted

SIZES = (1, 2, 3, 7, 49, 64, 98, 103, 1000)
"""`arange(0, 1, 1/n)` has n + 1 numbers for 49, 98 and 103."""
PLACES, MANY = 8, 256
"""Times asked for in one call: places in a batch."""
SEEDS = 128
"""Calls with a seed each, to see whether seeds matter."""
IMPOSSIBLE = 1e-12
"""Chance below which that seeds, or places, agree is no accident."""
ENDS = 32
"""First and last indices of a chain that are counted one by one; the rest is counted in twice as many groups."""

LAW = Design(
    name="times-law",
    law="shares",
    catches=0.01,
    bias=2e-3,
    places=MANY,
    why="t = u^1.05 is 0.018 off, logit-normal times with weight 1 are 0.11 off, a density used as its own weight 0.25",
    samples=PROCESSES,
)
COUNTS = Design(
    name="times-counts",
    law="shares",
    catches=0.05,
    bias=2e-3,
    places=MANY,
    why="k = 1 + round(u (N - 1)) makes both ends half as likely: 0.08 off for N = 3, 0.04 for N = 10",
    samples=4 * PROCESSES,
)
SHORT = (2, 3, 10)
"""Lengths of chains on which counts are taken too, of who claims any chain."""
SMALL = Design(
    name="times-small",
    law="shares",
    catches=0.2,
    bias=2e-3,
    places=1,
    why="weights divided by their mean over the batch are 1 in a batch of one: 0.25 off for the density 2t",
    samples=2 * PROCESSES,
)
LEVELS = 15
"""Of the times, at which weighted shares are taken."""
ORDER = Design(
    name="times-order",
    law="law",
    catches=0.3,
    bias=2e-2,
    why="strata in order put the first of 8 times into [0, 1/8), 0.87 off; in two halves, into [0, 1/2), 0.5 off",
    samples=PROCESSES,
)
REPEATS = Design(
    name="times-repeats",
    law="rare",
    catches=0.08,
    bias=0.01,
    why="of some 300 calls with one time each, one in 8 repeats another if there are 1000 times, two in 3 if 100",
    samples=PROCESSES,
)


@check("TIM-1", "times", on=ANY)
def test_range(case: Case) -> None:
    """TIM-1: n times inside the range, and n weights above 0 and finite, for every n."""
    reach, free = range_of(case), case.claim.draws.weights == "free"
    for n in SIZES:
        for seed in case.rng().integers(2**31, size=4 if n > 1 else 16):
            t, weight = case.built.times(n, int(seed))
            ends = inside(case, reach.low, reach.high)
            low, high = (1, case.steps) if case.steps else ends
            case.expect(f"times(n={n})", t, Expected(np.clip(t.astype(np.float64), low, high), 0.0), at={"t": t})
            right = ((weight > 0.0) | (free & (weight == 0.0))) & np.isfinite(weight)
            case.expect(
                f"weight > 0 of times(n={n})", weight, Expected(np.where(right, weight, np.nan), 0.0), at={"t": t}
            )


@by_design(LAW)
@check("TIM-2", "times", on=(Linear, Cosine, Own, NoProcess))
def test_weights_undo_the_density(case: Case) -> None:
    """TIM-2: the law of the times is the declared one, or what the weights imply, and the weights undo it."""
    case.once_a_kind()
    drawn = draw(case, LAW.n, MANY)
    if not _finite(case, drawn):
        return
    law = law_of(case, drawn)
    if case.claim.draws.weights == "undo":
        _undone(case, drawn, law)
    levels = even_levels()
    shares = _shares(law.cdf(drawn.times), levels)
    outcome = LAW.judge_shares(shares, levels, _coarseness(case))
    what = f"Kolmogorov distance of the law of times ({outcome.n} calls of {MANY})"
    record_law(case, what, levels, shares.mean(axis=0) - levels, outcome.high)
    case.expect(what, [outcome.statistic], Expected(0.0, outcome.high), at=_first(drawn))


@by_design(COUNTS)
@check("TIM-2", "times", on=(Chain,))
def test_indices_have_their_chances(case: Case) -> None:
    """TIM-2: every index has the chance that is declared, or that the weights imply, 1/N with weight 1."""
    assert case.steps
    steps = case.steps
    if steps > 1:
        _counted(case, f"an index of 1..{steps}")
    if case.first and Chain in case.claim.processes:
        for n in SHORT:
            other = Chain(betas=tuple(np.linspace(0.1, 0.3, n).tolist()))
            member = replace(case.member, process=other, expression=repr(other))
            _counted(replace(case, member=member, built=case.others(other)), f"an index of 1..{n}", case)
    elif steps == 1:
        raise NotClaimed("a chain of one step has one time")


def _counted(case: Case, what: str, at: Case | None = None) -> None:
    """Judge how often each index is drawn, and the law of all.

    Of each index, or group, the share X of a call has the mean P. No share of any is above R P: a bet against X/(R P),
    which is in [0, 1], of mean 1/R, sees an index that is half as likely in a chain of a thousand.
    """
    assert case.steps
    reported, steps = at or case, case.steps
    whole = at is None and case.first
    drawn = draw(case, LAW.n if whole else COUNTS.n, MANY)
    if not _finite(reported, drawn):
        return
    chance, d_chance = chances(case, drawn)
    total = float(chance.sum())
    if case.claim.draws.weights == "undo" and case.claim.draws.density == "uniform":
        # An index that no call drew is rarer than 20 in all calls, but for one chain in 10^8.
        tolerance = 2e-3 + d_chance + 20.0 * float((chance == 0.0).sum()) / drawn.times.size
        reported.expect(f"sum of 1/(N weight), {what}", [total], Expected(1.0, tolerance), at=_first(drawn))
    if not (np.isfinite(chance).all() and total > 0.0):
        reported.expect(f"chances of {what}", [np.nan], Expected(1.0, 0.0), at=_first(drawn))
        return
    if case.claim.draws.weights == "undo" and case.claim.draws.density == "declared":
        k = np.clip(drawn.times.ravel()[:MANY].astype(np.int64), 1, steps)
        undone = drawn.weights.ravel()[:MANY] * chance[k - 1] * (steps / total)
        reported.expect(
            f"weight times density, {what}", undone, Expected(1.0, 0.01), at={"t": drawn.times.ravel()[:MANY]}
        )
    chance = chance / total
    counts = np.stack([np.bincount(np.clip(k, 1, steps) - 1, minlength=steps) for k in drawn.times.astype(np.int64)])
    shares = counts / MANY
    starts = _groups(steps)
    grouped, expected = np.add.reduceat(shares, starts, axis=1), np.add.reduceat(chance, starts)
    kept = expected > 0.0
    ratio = grouped[:, kept] / expected[kept]
    largest = max(float(ratio.max()), 1.0)
    levels = np.full(int(kept.sum()), 1.0 / largest)
    outcome = COUNTS.judge_shares(ratio / largest, levels)
    worst = int(np.argmax(np.abs(ratio.mean(axis=0) - 1.0)))
    k = np.array([float(starts[np.flatnonzero(kept)[worst]] + 1)])
    name = f"chance of {what} over its own, less 1, at worst ({outcome.n} calls of {MANY})"
    reported.expect(name, [outcome.statistic * largest], Expected(0.0, outcome.high * largest), at={"t": k})
    if whole:
        below = np.cumsum(expected)[:-1]
        drawn_below = np.cumsum(grouped, axis=1)[:, :-1]
        law = LAW.judge_shares(drawn_below, below)
        name = f"Kolmogorov distance of the law of {what} ({law.n} calls of {MANY})"
        record_law(reported, name, below, drawn_below.mean(axis=0) - below, law.high)
        reported.expect(name, [law.statistic], Expected(0.0, law.high), at=_first(drawn))


def _groups(steps: int) -> npt.NDArray[np.intp]:
    """Return where groups of indices start: the first and the last alone, the rest in 64."""
    if steps <= 4 * ENDS:
        return np.arange(steps)
    middle = np.linspace(ENDS, steps - ENDS, 2 * ENDS, endpoint=False).astype(int)
    return np.unique(np.concatenate([np.arange(ENDS), middle, np.arange(steps - ENDS, steps)]))


def _undone(case: Case, drawn: Drawn, law: Law) -> None:
    """Expect the weights to be the reciprocal of a density that integrates to 1 over the range."""
    tolerance = LAW.bias + 40.0 / drawn.distinct + 4.0 * case.format.u
    low, high = mass_limits(case, drawn, tolerance)
    ends = {"t": np.array([drawn.times.min()])}
    case.expect("integral of 1/weight over the range", [law.mass], Expected(np.clip(law.mass, low, high), 0.0), at=ends)
    if case.claim.draws.density == "declared":
        t = drawn.times.ravel()[:MANY]
        product = drawn.weights.ravel()[:MANY] * law.density(t)
        case.expect("weight times declared density", product, Expected(1.0, 0.01 + 8.0 * case.format.u), at={"t": t})


def _shares(places: Floats, levels: Floats) -> Floats:
    """Return what share of each call is at most each level, (calls, levels)."""
    cell = np.searchsorted(levels, places)
    counts = np.stack([np.bincount(row, minlength=len(levels) + 1).cumsum()[:-1] for row in cell])
    return np.asarray(counts / places.shape[1])


def _finite(case: Case, drawn: Drawn) -> bool:
    if not drawn.finite:
        case.expect("times and weights", [np.nan], Expected(0.0, 0.0), at={"t": np.zeros(1)})
    return drawn.finite


def _coarseness(case: Case) -> float:
    """Return how far rounded times, or a generator with as few bits, move a distribution function."""
    return 2.0 * case.format.u if case.format.bits < 24 else 0.0


def _first(drawn: Drawn) -> dict[str, Floats]:
    return {"t": drawn.times.ravel()[:1]}


@by_design(SMALL)
@check("TIM-2", "times", on=ANY)
def test_weights_undo_the_density_of_small_batches(case: Case) -> None:
    """TIM-2: E[w f(t)] is the mean of f in calls of one time and of two: weights are of times, not of batches."""
    case.once_a_kind()
    if case.steps == 1:
        raise NotClaimed("a chain of one step has one time")
    for places in (1, 2):
        drawn = draw(case, SMALL.n, places)
        if not _finite(case, drawn):
            return
        found = weighted(case, drawn, LEVELS)
        outcome = SMALL.judge_weighted(found.values, found.means, _coarseness(case))
        what = f"excess of E[w f(t)] over the mean of f, the worst step f ({outcome.n} calls of {places})"
        case.expect(what, [outcome.statistic], Expected(0.0, outcome.high), at=_first(drawn))


@by_design(ORDER)
@check("TIM-4", "times", on=ANY)
def test_place_says_nothing(case: Case) -> None:
    """TIM-4: the first time of a batch has the law of all."""
    drawn = draw(case, ORDER.n, PLACES)
    if not _finite(case, drawn):
        return
    if case.steps:
        chance, _ = chances(case, drawn)
        below = np.concatenate([[0.0], np.cumsum(chance) / chance.sum()])
        # Spread evenly over its share, an index is a continuous number.
        k = np.clip(drawn.times[:, 0].astype(np.int64), 1, len(chance))
        places = below[k - 1] + case.rng().random(len(k)) * (below[k] - below[k - 1])
    else:
        places = law_of(case, drawn).cdf(drawn.times[:, 0])
    outcome = ORDER.judge(places)
    what = f"Kolmogorov distance of F(t) at the first place from uniform ({outcome.n} calls)"
    record_draws(case, what, places, outcome.high)
    case.expect(what, [outcome.statistic], Expected(0.0, outcome.high), at=_first(drawn))


@check("TIM-5", "times", on=ANY)
def test_seeds(case: Case) -> None:
    """TIM-5: another seed gives other times."""
    pairs = [case.built.times(1, case.seed + i) for i in range(SEEDS)]
    t = np.concatenate([pair[0] for pair in pairs])
    weight = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    for name, one, other in (
        ("and the next", t[0::2], t[1::2]),
        ("after an odd one", t[1:-1:2], t[2::2]),
        (f"and that {SEEDS // 2} further on", t[: SEEDS // 2], t[SEEDS // 2 :]),
    ):
        chance = _agreement(case, weight[: len(one)]) ** len(one)
        same = np.array_equal(one, other) and chance < IMPOSSIBLE
        case.expect(f"times agree for every seed {name}", [float(same)], Expected(0.0, 0.0), at={"t": _one(t)})


def _agreement(case: Case, weight: Floats) -> float:
    """Return a bound on the chance that two draws agree: of a chain, that of its likeliest index."""
    if not case.steps:
        return 2.0 ** (3 - case.format.bits)
    steps, draws = case.steps, case.claim.draws
    if draws.density == "declared":
        chance = case.built.density(np.arange(1, steps + 1)).astype(np.float64)
        return float(chance.max() / chance.sum()) if chance.sum() > 0.0 else 1.0
    if draws.weights == "free":
        return 1.0 / steps
    return float(np.clip(np.max(1.0 / (steps * weight)), 0.0, 1.0))


def _one(t: Times) -> Times:
    return t[:1]


@by_design(REPEATS)
@check("TIM-7", "times", on=(Linear, Cosine, Own, NoProcess))
def test_times_do_not_repeat(case: Case) -> None:
    """TIM-7: times of a schedule repeat no more often than the format makes them."""
    drawn = draw(case, REPEATS.n, 1)
    if not _finite(case, drawn):
        return
    t = drawn.times[:, 0]
    peak = float(law_of(case, drawn).density(t).max()) if _bent(case, drawn) else 1.0
    # The mean over calls of how many came before, times the chance to meet a given one.
    chance = 0.5 * len(t) * peak * 2.0 ** (2 - case.format.bits)
    if not chance <= REPEATS.bias:
        raise NotClaimed("the format has too few times, or the density too high a peak, for repeats to tell")
    _, first = np.unique(t, return_index=True)
    again = np.ones(len(t), dtype=bool)
    again[first] = False
    outcome = REPEATS.judge_rare(again)
    where = {"t": t[np.argmax(again)][None]}
    case.expect(f"share of {outcome.n} times that repeat", [outcome.statistic], Expected(0.0, outcome.high), at=where)


def _bent(case: Case, drawn: Drawn) -> bool:
    """Say whether the law is not uniform."""
    undone = case.claim.draws.weights == "undo" and not (drawn.weights == drawn.weights.ravel()[0]).all()
    return case.claim.draws.density == "declared" or undone


@check("TIM-8", "times", on=ANY)
def test_batch_has_more_than_one_time(case: Case) -> None:
    """TIM-8: not every batch is one time over and over."""
    drawn = draw(case, 16, 64)
    if case.steps == 1:
        raise NotClaimed("a chain of one step has one time")
    agree = _agreement(case, drawn.weights.ravel()) ** (16 * 63) < IMPOSSIBLE
    same = (drawn.times == drawn.times[:, :1]).all(axis=1)
    what = "all batches of 64 hold one time each"
    case.expect(what, [float(bool(same.all()) and agree)], Expected(0.0, 0.0), at=_first(drawn))
