"""Points beside a verdict, which report.html draws: errors against time, errors of runs, laws of draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.comparison import Comparison, Floats
from refdiff.conformance.formats import Format
from refdiff.conformance.portable import Number, number

Kind: TypeAlias = Literal["errors", "order", "law"]
Point: TypeAlias = tuple[float, float, float]

POINTS = 64
"""Most points of one series: of more, the worst of each of as many intervals are kept."""
QUANTITIES = 6
"""Most quantities that one check records on one process: the first."""
TIMES = 4
"""Most comparisons of one quantity that are recorded: the first; a property is compared a hundred times."""
MOST = 24
"""Most series of one check on all processes: those that came closest to their bounds."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points (x, y, bound) of one quantity on one process; what they are depends on the kind.

    errors: time or index, error in ulp of the exact value, largest error that the clause allows, in ulp;
    order: number of steps, error at the end of the run, how much of it may be rounding;
    law: level, empirical minus tested distribution function, largest distance that passes.
    """

    kind: Kind
    quantity: str
    process: str
    axis: str
    """What x is: t, k, n or F."""
    points: tuple[Point, ...]
    of: int
    """How many points there were, before all but `POINTS` were left out."""
    claimed: float = 0.0
    """The order that is expected at least, before the slack of its clause; 0 for the other kinds."""

    @property
    def ratio(self) -> float:
        """Return the largest |y| over its bound; infinite for a NaN, and 0 for an order."""
        if self.kind == "order":
            return 0.0
        return max((_ratio(y, bound) for _, y, bound in self.points), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return {
            "kind": self.kind,
            "quantity": self.quantity,
            "process": self.process,
            "axis": self.axis,
            "points": [[number(x) for x in point] for point in self.points],
            "of": self.of,
            "claimed": self.claimed,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Series:
        """Return what `as_json` came from."""
        return Series(**{**data, "points": tuple(_point(*point) for point in data["points"])})


def _point(x: Number, y: Number, bound: Number) -> Point:
    return float(x), float(y), float(bound)


def _ratio(y: float, bound: float) -> float:
    if isnan(y) or isnan(bound):
        return float("inf")
    return abs(y) / bound if bound > 0.0 else float("inf") if y else 0.0


@final
@dataclass(slots=True)
class Curves:
    """Collects what one check compares on one process, at a small cost beside the comparison."""

    _rows: dict[tuple[str, str], list[tuple[Floats, int]]] = field(default_factory=dict)
    """By quantity and axis: rows (x, error, bound), (3, n), and how many there were."""
    _others: list[Series] = field(default_factory=list)

    def compared(self, quantity: str, comparison: Comparison, axis: str, at: npt.ArrayLike, form: Format) -> None:
        """Record the errors of a comparison in ulp, of each example the worst; nothing for one number, or no time."""
        n = comparison.got.shape[0] if comparison.got.ndim else 1
        if n < 2 or axis not in ("t", "k"):
            return
        rows = self._rows.get((quantity, axis), [])
        if len(rows) >= TIMES or (not rows and len(self._rows) >= QUANTITIES):
            return
        x = np.asarray(at, dtype=np.float64)
        if x.shape != (n,):
            return
        ratio = comparison.ratio.reshape(n, -1)
        pick = (np.arange(n), ratio.argmax(axis=1))
        error, value, bound = (
            array.reshape(n, -1)[pick] for array in (comparison.error, comparison.value, comparison.tolerance)
        )
        # An ulp of 0, and an error outside of the domain, say nothing.
        kept = (value != 0.0) & (bound < np.inf)
        if not kept.any():
            return
        ulp = form.ulp(value[kept])
        found = np.stack([x[kept], np.nan_to_num(error[kept] / ulp, nan=np.inf), bound[kept] / ulp])
        self._rows.setdefault((quantity, axis), rows).append((_thinned(found), found.shape[1]))

    def run(self, quantity: str, process: str, points: Sequence[Point], claimed: float) -> None:
        """Record the errors of runs with more and more steps: number of steps, error, rounding."""
        self._add("order", quantity, process, "n", points, claimed)

    def law(self, quantity: str, process: str, points: Sequence[Point]) -> None:
        """Record how far an empirical distribution function is from the tested one: level, difference, band."""
        self._add("law", quantity, process, "F", points, 0.0)

    def _add(self, kind: Kind, quantity: str, process: str, axis: str, points: Sequence[Point], claimed: float) -> None:
        if len(self._others) < QUANTITIES:
            kept = tuple(map(_rounded, points))
            self._others.append(
                Series(
                    kind=kind,
                    quantity=quantity,
                    process=process,
                    axis=axis,
                    points=kept[:POINTS],
                    of=len(kept),
                    claimed=claimed,
                )
            )

    def series(self, process: str) -> tuple[Series, ...]:
        """Return all that was recorded, the errors first."""
        found = []
        for (quantity, axis), rows in self._rows.items():
            points = _thinned(np.concatenate([row for row, _ in rows], axis=1))
            if len(np.unique(points[0])) > 2:
                kept = tuple(map(_rounded, points.T.tolist()))
                of = sum(count for _, count in rows)
                one = Series(kind="errors", quantity=quantity, process=process, axis=axis, points=kept, of=of)
                found.append(one)
        return (*found, *self._others)


def _rounded(point: Sequence[float]) -> Point:
    x, y, bound = point
    return float(f"{x:.6g}"), float(f"{y:.3g}"), float(f"{bound:.3g}")


def _thinned(rows: Floats) -> Floats:
    """Return rows in the order of x, at most POINTS: the one closest to its bound of each interval.

    Intervals are as long in the rank of x and in its logarithm: a figure has a logarithmic axis, and most times are
    near its end.
    """
    rows = rows[:, np.argsort(rows[0], kind="stable")]
    n = rows.shape[1]
    if n <= POINTS:
        return rows
    with np.errstate(all="ignore"):
        ratio = np.nan_to_num(rows[1] / rows[2], nan=0.0, posinf=np.inf)
        logs = np.log(rows[0])
    low, high = logs[np.isfinite(logs)][[0, -1]] if np.isfinite(logs).any() else (0.0, 0.0)
    length = max(float(high - low), 1e-9)
    place = np.arange(n) / n + np.nan_to_num(np.clip((logs - low) / length, 0.0, 1.0))
    edges = np.unique([0, *np.searchsorted(place, np.linspace(0.0, place[-1], POINTS + 1)[1:-1]), n])
    return rows[:, [a + int(ratio[a:b].argmax()) for a, b in itertools.pairwise(edges)]]


def bounded(found: Sequence[Series]) -> tuple[Series, ...]:
    """Return at most MOST series, in their order: those that came closest to their bounds, and all orders."""
    if len(found) <= MOST:
        return tuple(found)
    ranked = sorted(range(len(found)), key=lambda i: (found[i].kind == "errors", -found[i].ratio))
    return tuple(found[i] for i in sorted(ranked[:MOST]))
