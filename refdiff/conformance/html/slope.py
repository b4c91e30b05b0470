"""The order of convergence that errors show, with what rounding leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log

from refdiff.conformance.series import Point

_HIDDEN = 8.0
"""A slope is taken where an error is so many times what rounding may be of it."""


def interval(points: Sequence[Point]) -> tuple[float, float, float] | None:
    """Return the slope at the last two errors that rounding does not hide, and its ends if they are off by rounding.

    None where an error is no number, or rounding may be the whole of all but one.
    """
    points = sorted(points)
    if not all(isfinite(error) and 0.0 <= floor < inf for _, error, floor in points):
        return None
    clear = [i for i in range(1, len(points)) if points[i][1] >= _HIDDEN * points[i][2] and points[i][1] > 0.0]
    if not clear:
        return None
    (n, error, floor), (m, less, under) = points[clear[-1] - 1], points[clear[-1]]
    if not (inf > m > n > 0.0 and error > 0.0):
        return None
    halves = log(m) - log(n)
    low = (log(error - floor) - log(less + under)) / halves if error > floor else -inf
    return (log(error) - log(less)) / halves, low, (log(error + floor) - log(less - under)) / halves


def slope(points: Sequence[Point]) -> str:
    """Say it: order 2.03 (2.01 to 2.05 for what rounding may add)."""
    found = interval(points)
    if found is None:
        return "no order can be measured, as the errors are rounding, or no numbers"
    middle, low, high = found
    return f"measured order {middle:.3g} ({low:.3g} to {high:.3g} for what rounding may add)"
