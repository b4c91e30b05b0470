"""Exponential moving averages in interval arithmetic (Arb balls), by the recursion; inputs count as exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from .mixture import Floats

_BITS = 300


@contextmanager
def _precise() -> Iterator[None]:
    before, flint.ctx.prec = flint.ctx.prec, _BITS
    try:
        yield
    finally:
        flint.ctx.prec = before


def constant(decay: float, n: int) -> list[Any]:
    """Return the decay n times."""
    return [flint.arb(decay)] * n


def ratio(decay: float, n: int, offset: float) -> list[Any]:
    """Return d_k = min(d, (1 + k)/(offset + k)) for k = 1..n."""
    with _precise():
        return [flint.arb(decay).min((1 + flint.arb(k)) / (flint.arb(offset) + k)) for k in range(1, n + 1)]


def equal(n: int) -> list[Any]:
    """Return d_k = k/(k + 1) for k = 1..n."""
    with _precise():
        return [flint.arb(k) / (k + 1) for k in range(1, n + 1)]


def power(decay: float, n: int, inv_gamma: float, exponent: float, least: float, after: int) -> list[Any]:
    """Return d_k = 1 - (1 + (k - after)/inv_gamma)^-exponent, limited to [least, d], for k = 1..n; 0 up to `after`."""
    with _precise():
        risen = [1 - (1 + flint.arb(k) / flint.arb(inv_gamma)) ** -flint.arb(exponent) for k in range(1, n - after + 1)]
        return [flint.arb(0)] * min(after, n) + [flint.arb(decay).min(d.max(flint.arb(least))) for d in risen]


def averaged(decays: float | Sequence[Any], history: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Return a_k = d_k a_(k-1) + (1 - d_k) w_k with a_0 = w_0, as (nearest binary64, residual).

    decays: one for all, or d_1, d_2, ..., at least as many as history has rows after the first. history: w, of shape
    (steps, p); both results have its shape. Their sum has an error below 2^-80 of the largest weight. Raises
    ArithmeticError if the working precision does not prove this.
    """
    rows, residuals = [], []
    with _precise():
        several = constant(decays, len(history)) if isinstance(decays, float) else [flint.arb(d) for d in decays]
        largest = max(map(abs, history.astype(np.float64).ravel().tolist()), default=0.0)
        state = [flint.arb(w) for w in history[0].astype(np.float64).tolist()]
        for k, row in enumerate(history.astype(np.float64).tolist()):
            if k > 0:
                d = several[k - 1]
                state = [d * a + (1 - d) * flint.arb(w) for a, w in zip(state, row, strict=True)]
            if any(float(a.rad()) > 2.0**-80 * largest for a in state):
                raise ArithmeticError(f"{_BITS} bits are too few for {k} steps of an average")
            rows.append([float(a.mid()) for a in state])
            residuals.append([float((a - flint.arb(m)).mid()) for a, m in zip(state, rows[-1], strict=True)])
    return np.array(rows), np.array(residuals)
