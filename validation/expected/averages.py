"""Tolerances of the moving average of weights (TRN-1, TRN-3)."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array

from ..oracles.certified import Floats

ROUNDINGS = 7.0
"""Error of one step, in units of the largest weight so far (TRN-1)."""


def recursion_bound(decay: float, history: Array, fmt: Format) -> Floats:
    """Return TRN-1's bound, shaped as history: 7u (1 + d + ... + d^(k-1)) times the largest weight up to row k."""
    k = np.arange(len(history))[:, None]
    steps = k if decay == 1.0 else (1.0 - decay**k) / (1.0 - decay)
    largest = np.maximum.accumulate(np.abs(history.astype(np.float64)), axis=0)
    # The judge asks for d to the bit, and a target may round it.
    return np.asarray(np.where(k == 0, 0.0, ROUNDINGS * fmt.u * steps * largest + (k + 1) * fmt.smallest))


def movement_bound(decay: float, steps: int, start: Floats, end: Floats, fmt: Format) -> Floats:
    """Return TRN-3's bound after so many steps from start to end: a tenth of the way gone, and one rounding."""
    way = (1.0 - decay**steps) * np.abs(end - start)
    return np.asarray(0.1 * way + fmt.u * np.maximum(np.abs(start), np.abs(end)))
