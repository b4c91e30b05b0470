"""Times and event shapes at which checks evaluate a target: ends of the range, their neighbours, random times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from refdiff.conformance.case import Case
from refdiff.conformance.formats import Format
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, NoProcess, Own, Times

from ..expected.tiers import exact
from ..oracles.certified import Floats

LARGEST = 2**21
"""Largest size of one array of data; for large events fewer times are used."""


def span(case: Case) -> tuple[float, float]:
    """Return the smallest and largest time to evaluate: numbers of the format in [t_min, t_max] of the claim.

    If the target refuses the ends, their neighbours inside. Raises NotClaimed if the format has no such time.
    """
    fmt, claim = case.format, case.claim
    low, high = float(fmt.rounded(claim.t_min)), float(fmt.rounded(claim.t_max))
    low, high = low if low >= claim.t_min else _above(low, fmt), high if high <= claim.t_max else _below(high, fmt)
    if case.inner:
        low, high = _above(low, fmt), _below(high, fmt)
    if low > high:
        raise NotClaimed(f"{fmt.name} has no number between the claimed t_min={claim.t_min} and t_max={claim.t_max}")
    return low, high


def serves(case: Case, t: float) -> bool:
    """Return whether the target accepts this time of a continuous process."""
    low, high = span(case)
    return low <= t <= high


def _above(x: float, fmt: Format) -> float:
    return x + float(fmt.ulp(x))


def _below(x: float, fmt: Format) -> float:
    # Below a power of two the spacing of numbers is half of that above.
    near = x - float(fmt.ulp(x)) / 2.0
    return near if float(fmt.rounded(near)) == near else x - float(fmt.ulp(x))


def times(case: Case, count: int = 96, event: tuple[int, ...] = ()) -> Times:
    """Return times that the target's format holds, or every index of a chain, in no order.

    Continuous: both ends of the claimed range, their neighbours, the smallest numbers, powers of two down to them,
    and `count` times stratified over the range and as many over its logarithm, drawn by the seed. Of a large
    event some of them, the ends included.
    """
    rng = case.rng()
    if case.steps:
        steps = case.steps
        return _few(rng.permutation(np.arange(1, steps + 1, dtype=np.int64)), (1, steps), event)
    fmt, (low, high) = case.format, span(case)
    lowest = fmt.smallest_exponent - fmt.bits + 1
    start, width = np.log2(max(low, fmt.smallest)), high - low
    ends = [low, _above(low, fmt), _above(_above(low, fmt), fmt), fmt.smallest_normal, high]
    ends += [_below(high, fmt), _below(_below(high, fmt), fmt)]
    powers = 2.0 ** np.unique(np.concatenate([np.arange(-32, 0), np.linspace(lowest, -32, 24).astype(int)]))
    strata = low + width * (np.arange(count) + rng.random(count)) / count
    scales = 2.0 ** (np.log2(high) + (start - np.log2(high)) * (np.arange(count) + rng.random(count)) / count)
    near_end = high - width * 2.0 ** -rng.uniform(1.0, fmt.bits, size=count // 4)
    found = within_format(np.concatenate([ends, powers, strata, scales, near_end]), fmt, low, high)
    # Shuffled, since a library that sorts its times would be right on sorted ones.
    return _few(rng.permutation(found), (low, high), event)


def _few(t: Times, ends: tuple[float, float], event: tuple[int, ...]) -> Times:
    """Return the times that fit into one array for this event shape, the ends first."""
    most = max(4, LARGEST // max(1, int(np.prod(event))))
    if len(t) <= most:
        return t
    at_end = (t == ends[0]) | (t == ends[1])
    return np.concatenate([t[at_end], t[~at_end]])[:most]


def within_format(values: np.ndarray[Any, Any], fmt: Format, low: float = 0.0, high: float = 1.0) -> Array:
    """Return the distinct roundings of those values that lie in [low, high], and of those beside it none, sorted."""
    rounded = np.unique(fmt.rounded(np.clip(values, 0.0, 1.0)))
    return rounded[(rounded >= low) & (rounded <= high)].astype(fmt.storage)


def at_shares(case: Case, shares: Sequence[float] | Floats) -> Times:
    """Return times at these shares of the claimed range, in [0, 1], rounded to the format."""
    low, high = span(case)
    wide = low + np.asarray(shares, dtype=np.float64) * (high - low)
    return np.clip(case.format.rounded(wide), low, high).astype(case.format.storage)


def middle(case: Case, shares: Sequence[float] | Floats) -> Times:
    """Return times, or indices, at these shares of the stretch where alpha_bar falls from 0.9 to 0.1.

    If alpha_bar does not fall so far, or faster than the format resolves, the nearest times are used; for a library's
    own process, times over its whole claimed range.
    """
    share = np.asarray(shares, dtype=np.float64)
    if isinstance(case.process, Chain):
        k = np.arange(1, len(case.process.betas) + 1)
        falls = exact(case.process, "alpha_bar", k).value
        first, last = (int(np.argmax(falls <= x)) if (falls <= x).any() else len(k) - 1 for x in (0.9, 0.1))
        found = np.asarray(1 + np.floor(first + share * (last + 1 - first)), dtype=np.int64)
        return found.clip(1, case.process.last_signal)
    if isinstance(case.process, (Own, NoProcess)):
        if case.steps:
            return np.asarray(1 + np.floor(share * case.steps), dtype=np.int64).clip(1, case.steps)
        return at_shares(case, share)
    fmt, (low, high), process = case.format, span(case), case.process
    exponents = (np.log2(max(low, fmt.smallest)), np.log2(high))
    start, end = (
        _reaching(lambda t: -float(exact(process, "alpha_bar", t).value[0]), -x, exponents) for x in (0.9, 0.1)
    )
    if not low <= start < end:
        start, end = max(low, high / 2.0), high
    return np.clip(fmt.rounded(start + share * (end - start)), low, high).astype(fmt.storage)


def dyadic_nodes(case: Case, intervals: int = 64) -> Floats:
    """Return i h, the nodes of equal intervals: as far as 1/2 apart, in the claimed range, each exact in the format.

    Raises NotClaimed if the range has no room for them.
    """
    low, high = span(case)
    for exponent in range(int(np.log2(2 * intervals)), 64):
        h = 2.0**-exponent
        first = int(np.ceil(low / h))
        last = first + intervals
        if last > 2**case.format.bits:
            break
        if last * h <= high:
            return np.asarray(np.arange(first, last + 1) * h, dtype=np.float64)
    raise NotClaimed(f"the claimed range has no {intervals} equal intervals that {case.format.name} holds")


def edges(case: Case) -> Times:
    """Return the times at which log alpha_bar passes the smallest normal numbers of the format, eight an octave.

    They show code that flushes small numbers to 0, for any seed. Empty for a chain, whose indices are all checked, and
    for a process without known values.
    """
    if isinstance(case.process, (Chain, Own)):
        return times(case)[:0]
    fmt, (low, high) = case.format, span(case)
    wanted = 2.0 ** (fmt.smallest_exponent + np.arange(33) / 8.0)
    process, exponents = case.process, (np.log2(max(low, fmt.smallest)), np.log2(high))
    found = [_reaching(lambda t: -float(exact(process, "log_alpha_bar", t).value[0]), x, exponents) for x in wanted]
    return within_format(np.array(found), fmt, low, high)


def _reaching(decay: Callable[[Floats], float], wanted: float, exponents: tuple[float, float]) -> float:
    """Return the time at which a decay reaches `wanted`, to a thousandth of an octave."""
    low, high = exponents
    while high - low > 1e-3:
        middle = (low + high) / 2.0
        low, high = (low, middle) if decay(np.array([2.0**middle])) >= wanted else (middle, high)
    return float(2.0**high)


def drawn_times(case: Case, least: int = 1, most: int = 8) -> SearchStrategy[Times]:
    """Return a strategy of (n,) times, least <= n <= most: floats of the format in the claimed range, or indices."""
    if case.steps:
        one = st.integers(1, case.steps)
        return st.lists(one, min_size=least, max_size=most).map(lambda ks: np.array(ks, dtype=np.int64))
    fmt, (low, high) = case.format, span(case)
    number = st.floats(low, high, width=64 if fmt.name == "float64" else 32)
    return st.lists(number, min_size=least, max_size=most).map(lambda ts: fmt.rounded(np.array(ts)))


def event_of(case: Case, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of event to ask for: the default if the target serves it, else the first that it claims."""
    return events_of(case, (default,))[0]


def events_of(case: Case, defaults: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return the defaults that the target serves, or, if it serves none of them, the shapes that it claims."""
    claimed = case.claim.events
    if claimed is None:
        return tuple(defaults)
    return tuple(event for event in defaults if event in claimed) or claimed


def drawn_events(case: Case, default: SearchStrategy[tuple[int, ...]]) -> SearchStrategy[tuple[int, ...]]:
    """Return a strategy of shapes of events: those that are claimed, or the default."""
    return default if case.claim.events is None else st.sampled_from(case.claim.events)


def drawn_data(case: Case, t: Times, event: tuple[int, ...], key: int) -> Array:
    """Return normal data of shape (len(t), *event) in the target's format, fixed by `key`.

    The scale is 1, and 32 for one example in four, to detect a library that clips.
    """
    return case.format.rounded(_drawn(case.seed, key, (len(t), *event)))


@lru_cache(maxsize=8)
def _drawn(seed: int, key: int, shape: tuple[int, ...]) -> Floats:
    """Return what is to be rounded, which nobody may write to: one draw serves the pairs of predictions in turn."""
    unit = np.random.default_rng([seed, key]).standard_normal(shape)
    unit[3::4] *= 32.0
    unit.flags.writeable = False
    return unit
