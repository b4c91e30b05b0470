"""Tolerances of the moving average of weights (TRN-1, TRN-3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np

from refdiff.conformance.averaging import DecayRule, Equal, Power, Ratio
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array

from ..oracles import averages as oracle
from ..oracles.certified import Floats

ROUNDINGS = 7.0
"""Error of one step, in units of the largest weight so far (TRN-1)."""


def decays(rule: DecayRule | None, decay: float, n: int) -> list[Any]:
    """Return d_1, ..., d_n of a rule as Arb balls; without a rule, the decay."""
    match rule:
        case None:
            return oracle.constant(decay, n)
        case Ratio():
            return oracle.ratio(decay, n, rule.offset)
        case Power():
            return oracle.power(decay, n, rule.inv_gamma, rule.power, rule.least, rule.after)
        case Equal():
            return oracle.equal(n)
        case _:
            assert_never(rule)


def decay_roundings(rule: DecayRule | None) -> float:
    """Return the error of a decay that a target computes by a rule, in units of u.

    A quotient rounds twice with its argument; of a power the argument rounds twice, which it multiplies by its
    exponent, and itself within 2u; then 1 less it rounds.
    """
    if rule is None:
        return 0.0
    return 2.0 * rule.power + 3.0 if isinstance(rule, Power) else 2.0


def recursion_bound(kept: float | Sequence[Any], history: Array, fmt: Format, roundings: float = 0.0) -> Floats:
    """Return TRN-1's bound, shaped as history: (7 + 2c) u n_k times the largest weight up to row k.

    n_k = d_k n_(k-1) + 1, n_0 = 0. kept: the decay, or d_1, d_2, ...; roundings: c, the error of a decay in units of
    u, which weighs a difference of at most twice the largest weight. The judge asks for d to the bit, and a target may
    round it: 7 allows for that.
    """
    d = [kept] * len(history) if isinstance(kept, float) else [float(one) for one in kept]
    steps = np.zeros((len(history), 1))
    for k in range(1, len(history)):
        steps[k] = d[k - 1] * steps[k - 1] + 1.0
    largest = np.maximum.accumulate(np.abs(history.astype(np.float64)), axis=0)
    bound = (ROUNDINGS + 2.0 * roundings) * fmt.u * steps * largest
    row = np.arange(len(history))[:, None]
    return np.asarray(np.where(row == 0, 0.0, bound + (row + 1) * fmt.smallest))


def movement_bound(kept: float, start: Floats, end: Floats, fmt: Format) -> Floats:
    """Return TRN-3's bound where a share of the start is kept: a tenth of the way gone, and one rounding."""
    way = (1.0 - kept) * np.abs(end - start)
    return np.asarray(0.1 * way + fmt.u * np.maximum(np.abs(start), np.abs(end)))
