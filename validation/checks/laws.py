"""What the figures of the report show of a law check: an empirical distribution function minus the tested one."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.series import POINTS

from ..statistics.design import Floats


def record_law(case: Case, what: str, levels: Floats, differences: Floats, high: float) -> None:
    """Record the differences of two distribution functions at some levels, and the distance that passes."""
    order = np.argsort(levels)[np.linspace(0, len(levels) - 1, min(POINTS, len(levels))).astype(int)]
    points = [(float(levels[i]), float(differences[i]), high) for i in order]
    case.curves.law(what, repr(case.process), points)


def record_draws(case: Case, what: str, places: Floats, high: float) -> None:
    """Record the same for draws that are uniform if the law is right, (n,)."""
    levels = np.linspace(0.0, 1.0, POINTS + 2)[1:-1]
    below = np.searchsorted(np.sort(places), levels, side="right") / len(places)
    record_law(case, what, levels, below - levels, high)
