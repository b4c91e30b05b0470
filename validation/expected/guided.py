"""Expected prediction of classifier-free guidance, and its tolerance (SMP-9)."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array

ROUNDINGS = 5.0
"""Error of the forms of SMP-9, in units of (|w| + |1 - w|)(|c| + |u|)."""


def guided(conditional: Array, unconditional: Array, scale: float, fmt: Format) -> Expected:
    """Return u + w (c - u), shaped as both, within 5u (|w| + |1 - w|)(|c| + |u|)."""
    c, u = (values.astype(np.longdouble) for values in (conditional, unconditional))
    w = np.longdouble(scale)
    value = np.asarray((1 - w) * u + w * c)
    size = float(abs(w) + abs(1 - w)) * (np.abs(c) + np.abs(u))
    tolerance = (ROUNDINGS * fmt.u * size + 8.0 * max(1.0, abs(scale)) * fmt.smallest).astype(np.float64)
    nearest = value.astype(np.float64)
    return Expected(nearest, tolerance, residual=(value - nearest).astype(np.float64))
