"""Chapter 10: does a target guide predictions as SMP-9 states."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import ANY, check

from ..expected.guided import guided
from .grids import events_of
from .serving import served

SCALES = (-1.0, 0.0, 0.5, 1.0, 1.5, 3.0, 7.5, 30.0)
"""Guidance w: 0 is the unconditional prediction, 1 the conditional one; below 0 it leads away from the condition."""
BATCH = 5
EVENTS = ((3,), (BATCH,), (2, 3, 2))


@check("SMP-9", "guide", on=ANY)
def test_guidance(case: Case) -> None:
    """SMP-9: u + w (c - u), of each prediction alone, of both, and of equal ones, for events of any shape."""
    case.once_a_kind()
    rng, fmt = case.rng(), case.format
    drawn = float(np.round(rng.uniform(0.0, 10.0), 3))
    row = {"example": np.arange(BATCH, dtype=np.float64)}

    def one(scale: float) -> None:
        for event in events_of(case, EVENTS):
            c, u = (fmt.rounded(rng.standard_normal((BATCH, *event))) for _ in range(2))
            zero = np.zeros_like(c)
            for name, pair in {
                "both": (c, u),
                "conditional": (c, zero),
                "unconditional": (zero, u),
                "equal": (c, c),
            }.items():
                got = case.built.guide(*pair, scale)
                case.expect(f"guided, w = {scale:g}, {name}", got, guided(*pair, scale, fmt), at=row)

    served(case, (*SCALES, drawn), one)
