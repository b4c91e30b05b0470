"""Which figures look alike, so that a page shows one of them and folds the others."""

from __future__ import annotations

from refdiff.conformance.series import Series

_SIZES, _ENDS = 30.0, 30.0
"""Factors within which the worst errors by their bounds, and the ends of the times that fail, count as the same."""


def is_like(one: Series, other: Series) -> bool:
    """Say whether two figures of errors show the same: all within the bounds, or beyond them at the same times."""
    if (one.kind, one.axis, other.kind) != ("errors", other.axis, "errors"):
        return False
    wrong, wrong_too = _beyond(one), _beyond(other)
    if not wrong or not wrong_too:
        return wrong == wrong_too
    ends = zip((wrong[0], wrong[-1]), (wrong_too[0], wrong_too[-1]), strict=True)
    return _near(one.ratio, other.ratio, _SIZES) and all(_near(a, b, _ENDS) for a, b in ends)


def _beyond(series: Series) -> list[float]:
    """Return the times, or indices, at which an error is not within its bound."""
    return [x for x, error, bound in series.points if not error <= bound]


def _near(a: float, b: float, factor: float) -> bool:
    return a == b or (min(a, b) > 0.0 and max(a, b) <= factor * min(a, b))
