"""Exponential moving averages in interval arithmetic (Arb balls), by the recursion; inputs count as exact."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from .mixture import Floats

_BITS = 300


def averaged(decay: float, history: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Return a_k = d a_(k-1) + (1 - d) w_k with a_0 = w_0, as (nearest binary64, residual).

    history: w, of shape (steps, p); both results have its shape. Their sum has an error below 2^-80 of the largest
    weight. Raises ArithmeticError if the working precision does not prove this.
    """
    rows, residuals = [], []
    before = flint.ctx.prec
    flint.ctx.prec = _BITS
    try:
        d = flint.arb(decay)
        largest = max(map(abs, history.astype(np.float64).ravel().tolist()), default=0.0)
        state = [flint.arb(w) for w in history[0].astype(np.float64).tolist()]
        for k, row in enumerate(history.astype(np.float64).tolist()):
            if k > 0:
                state = [d * a + (1 - d) * flint.arb(w) for a, w in zip(state, row, strict=True)]
            if any(float(a.rad()) > 2.0**-80 * largest for a in state):
                raise ArithmeticError(f"{_BITS} bits are too few for {k} steps of an average")
            rows.append([float(a.mid()) for a in state])
            residuals.append([float((a - flint.arb(m)).mid()) for a, m in zip(state, rows[-1], strict=True)])
    finally:
        flint.ctx.prec = before
    return np.array(rows), np.array(residuals)
