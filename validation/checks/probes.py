"""Inputs that isolate the terms of a formula: all inputs together, and each one alone with the others exactly 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from refdiff.conformance.case import Case
from refdiff.conformance.interface import Array, Times

from ..oracles.certified import Floats
from .grids import drawn_data, event_of

MOST = 2**20
"""Approximate size of one input; for large events fewer times are used."""


def probe(t: Times, s: Times, *data: Array) -> tuple[Times, Times, tuple[Array, ...]]:
    """Return times and data repeated: first together, then each of the data with zeros for the others.

    Where one term is large, its bound hides another that is wrong: alone, each has a bound of its own.
    """
    copies = 1 + len(data)
    stacked = tuple(
        np.asarray(np.concatenate([x if j in (0, i) else np.zeros_like(x) for j in range(copies)]))
        for i, x in enumerate(data, start=1)
    )
    rows = np.tile(np.arange(len(t)), copies)
    return t[rows], s[rows], stacked


def step_inputs(case: Case, s: Times, t: Times) -> tuple[Times, Times, tuple[Array, Array, Array]]:
    """Return t, s, and x_t, eps_hat and noise, together and alone; events as claimed, or of two numbers."""
    event = event_of(case, (2,))
    kept = affordable(case, len(t), event, 4)
    s, t = s[kept], t[kept]
    x_t, eps_hat, noise = (drawn_data(case, t, event, key) for key in (1, 2, 3))
    t, s, (x_t, eps_hat, noise) = probe(t, s, x_t, eps_hat, noise)
    return t, s, (x_t, eps_hat, noise)


def affordable(case: Case, count: int, event: tuple[int, ...], copies: int) -> npt.NDArray[np.intp]:
    """Return which of so many times to ask for: all, unless the events are large."""
    most = max(MOST // (int(np.prod(event)) * copies), 8)
    return np.arange(count) if count <= most else np.sort(case.rng().permutation(count)[:most])


def every(condition: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return for each example whether the condition holds for all of its elements."""
    return np.asarray(condition.reshape(len(condition), -1).all(axis=1))


def earlier(case: Case, t: Times, share: Floats | float) -> Times:
    """Return the times at that share of the way from the first that is served to each t; a chain may go to 0."""
    if case.steps:
        return np.asarray(np.floor(t * np.asarray(share)), dtype=np.int64)
    least = first_served(case)
    found = case.format.rounded(least + (t.astype(np.float64) - least) * share)
    return np.asarray(np.maximum(found, least), dtype=case.format.storage)


def first_served(case: Case) -> float:
    """Return the least time of a schedule that is served, a number of the target's format."""
    least = float(case.format.rounded(np.array([case.claim.t_min]))[0])
    return least + float(case.format.ulp(least)) if least < case.claim.t_min else least


def last_served(case: Case) -> float:
    """Return the largest time of a schedule that is served, a number of the target's format."""
    most = float(case.format.rounded(np.array([case.claim.t_max]))[0])
    return most - float(case.format.ulp(most)) if most > case.claim.t_max else most
