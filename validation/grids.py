"""Times to judge at: the ends, their neighbours, every scale, and a random sample of the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Chain, Times
from refdiff.conformance.subject import Subject


def times(subject: Subject, count: int = 96) -> Times:
    """Return times that the target's format holds, or every index of a chain, in no order.

    Continuous: 0, 1, their neighbours, the smallest numbers, powers of two down to them, and `count`
    times stratified over [0, 1] and as many over the logarithm, drawn by the seed.
    """
    if isinstance(subject.process, Chain):
        steps = np.arange(1, len(subject.process.betas) + 1, dtype=np.int64)
        return subject.rng().permutation(steps)
    fmt, rng = subject.format, subject.rng()
    lowest = fmt.smallest_exponent - fmt.bits + 1
    ends = [0.0, fmt.smallest, 2 * fmt.smallest, fmt.smallest_normal, 1.0 - fmt.u, 1.0 - 2 * fmt.u, 1.0]
    powers = 2.0 ** np.unique(np.concatenate([np.arange(-32, 0), np.linspace(lowest, -32, 24).astype(int)]))
    strata = (np.arange(count) + rng.random(count)) / count
    scales = 2.0 ** (lowest * (np.arange(count) + rng.random(count)) / count)
    near_end = 1.0 - 2.0 ** -rng.uniform(1.0, fmt.bits, size=count // 4)
    found = within_format(np.concatenate([ends, powers, strata, scales, near_end]), fmt)
    # In no order: a library that sorts its times would look right on sorted ones.
    return rng.permutation(found[(found > 0.0) & (found < 1.0)] if subject.inner else found)


def within_format(values: np.ndarray[Any, Any], fmt: Format) -> Array:
    """Return the distinct roundings of values in [0, 1], sorted."""
    return np.unique(np.clip(fmt.rounded(values), 0.0, 1.0)).astype(fmt.carrier)


def drawn_times(subject: Subject, least: int = 1, most: int = 8) -> SearchStrategy[Times]:
    """Return a strategy of (n,) times, least <= n <= most: floats of the target's format in [0, 1], or indices."""
    if isinstance(subject.process, Chain):
        one = st.integers(1, len(subject.process.betas))
        return st.lists(one, min_size=least, max_size=most).map(lambda ks: np.array(ks, dtype=np.int64))
    fmt = subject.format
    number = st.floats(
        0.0, 1.0, width=64 if fmt.name == "float64" else 32, exclude_min=subject.inner, exclude_max=subject.inner
    )
    return st.lists(number, min_size=least, max_size=most).map(lambda ts: fmt.rounded(np.array(ts)))


def event_of(subject: Subject, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one example: the first that the target claims to serve, or `default` where it serves any."""
    events = subject.claim.events
    return default if events is None else events[0]


def drawn_data(subject: Subject, t: Times, event: tuple[int, ...], key: int) -> Array:
    """Return normal data of shape (len(t), *event) in the target's format, fixed by `key`.

    Of unit scale, but for one example in four, of scale 32: a library that clips should show it.
    """
    unit = np.random.default_rng([subject.seed, key]).standard_normal((len(t), *event))
    scale = np.where(np.arange(len(t)) % 4 == 3, 32.0, 1.0).reshape(-1, *(1,) * len(event))
    return subject.format.rounded(unit * scale)
