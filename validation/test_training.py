"""Chapter 8: does a target's average of weights obey TRN-1 to TRN-3."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.interface import Array
from refdiff.conformance.subject import Subject

from .averages import movement_bound, recursion_bound
from .oracles.averages import averaged

DECAYS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
SHORT, LONG = 12, 300
"""Rows of a history: as many as a reproducer prints, and enough for a drift to show."""
MOVED = (-1.0, 0.0, 1.0, 1.0, 0.5), (1.0, 1.0, 2.0, 0.0, -2.0)
"""Weights before and after a jump."""


def _history(subject: Subject, rows: int) -> Array:
    """Return (rows, 5) weights that wander, of scales from 1/64 to 16."""
    rng = np.random.default_rng([subject.seed, rows])
    steps = rng.standard_normal((rows, 5))
    return subject.format.rounded((np.cumsum(0.3 * steps, axis=0) + steps) * 2.0 ** np.array([-6, -3, 0, 2, 4]))


def _rows(count: int) -> dict[str, Any]:
    return {"row": np.arange(count, dtype=np.float64)}


@check("TRN-1", "ema")
def test_recursion(subject: Subject) -> None:
    """TRN-1: row k is the average after the weights of row k, for decays of any memory."""
    subject.once_a_kind()
    for decay in DECAYS:
        for rows in (1, SHORT) if decay < 0.99 else (SHORT, LONG):
            history = _history(subject, rows)
            got = subject.built.ema(decay, history)
            want, residual = averaged(decay, history)
            bound = recursion_bound(decay, history, subject.format)
            subject.expect(f"average at decay {decay}", got, want, bound, at=_rows(rows), residual=residual)


@check("TRN-2", "ema")
def test_constant_weights(subject: Subject) -> None:
    """TRN-2: weights that do not change are their own average, to the bit."""
    subject.once_a_kind()
    for decay in DECAYS:
        history = np.repeat(_history(subject, SHORT)[-1:], LONG, axis=0)
        got = subject.built.ema(decay, history)
        subject.expect(f"average of constants at decay {decay}", got, history, 0.0, at=_rows(LONG))


@check("TRN-3", "ema")
def test_average_moves(subject: Subject) -> None:
    """TRN-3: after a jump the average goes its share of the way, in any dtype."""
    subject.once_a_kind()
    start, end = (np.array(values) for values in MOVED)
    for decay, steps in ((0.99, 100), (0.999, 500), (0.9999, 1000)):
        history = subject.format.rounded(np.concatenate([start[None], np.repeat(end[None], steps, axis=0)]))
        got = subject.built.ema(decay, history)[-1]
        kept = decay**steps
        bound = movement_bound(decay, steps, start, end, subject.format)
        what = f"average {steps} steps after a jump at decay {decay}"
        subject.expect(what, got, kept * start + (1.0 - kept) * end, bound, at={"start": start, "end": end})
