"""Figures of a report, as SVG inside of the page: told apart by shape, with or without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import exp, inf, isfinite, log
from typing import final

from refdiff.conformance.html.likeness import is_like
from refdiff.conformance.html.scale import Scale, logarithmic, written
from refdiff.conformance.html.slope import slope
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.series import Series
from refdiff.errors import plain

_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 332, 8, 160
_LEAST = 0.01
"""Errors below a hundredth of an ulp are drawn as 0."""


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its caption."""

    svg: str
    """Markup of ours, in which all that is from outside is escaped."""
    caption: str
    legend: str
    """What the marks mean."""


def figure(series: Series, check: str) -> Figure:
    """Return the figure of what a check recorded."""
    drawn = {"errors": _errors, "order": _order, "law": _law}[series.kind](series)
    return replace(drawn, legend=plain(f"{drawn.legend}; from {check}"))


def _errors(series: Series) -> Figure:
    points = series.points
    x = logarithmic([p[0] for p in points], _LEFT, _RIGHT)
    y = logarithmic([v for p in points for v in p[1:]], _BOTTOM, _TOP, least=_LEAST)
    wrong = [p for p in points if p[1] > p[2]]
    marks = [
        _line("bound", ((x(t), y(bound)) for t, _, bound in points)),
        _dots((x(t), y(error)) for t, error, bound in points if error <= bound),
        _crosses((x(t), y(error)) for t, error, _ in wrong),
    ]
    has_zero = any(p[0] == 0.0 for p in points)
    axes = _axes(x, y, series.axis, "error in ulp", "0" if has_zero else "")
    worst = max(p[1] for p in points)
    said = "an error that is no number" if worst == inf else f"an error of at most {written(worst)} ulp"
    beyond = f", {len(wrong)} of {len(points)} points beyond the bound" if wrong else ", all within the bound"
    shown = f" ({len(points)} of {series.of} values, the worst of each interval)" if series.of > len(points) else ""
    legend = "dots: error; dashes: largest error allowed" + ("; crosses: errors beyond it" if wrong else "")
    return _figure(marks, axes, f"{series.quantity} of {series.process}: {said}{beyond}{shown}", legend)


def _order(series: Series) -> Figure:
    points = series.points
    x = logarithmic([p[0] for p in points], _LEFT, _RIGHT)
    y = logarithmic([v for p in points for v in p[1:]], _BOTTOM, _TOP)
    places = [(x(n), y(error)) for n, error, _ in points]
    marks = [_line("bound", ((x(n), y(floor)) for n, _, floor in points)), _line("data", places), _dots(places)]
    if 0.0 < points[0][1] < inf and all(n > 0.0 for n, _, _ in points):
        n_0, e_0, _ = points[0]
        falls = [(n, exp(min(log(e_0) + series.claimed * (log(n_0) - log(n)), 700.0))) for n, _, _ in points if n < inf]
        marks.append(_line("claimed", ((x(n), y(error)) for n, error in falls)))
    axes = _axes(x, y, "steps", "error", ticks=sorted({p[0] for p in points}))
    caption = f"{series.quantity} on {series.process}: {slope(points)}, expected at least {written(series.claimed)}"
    legend = "dots: error of a run; dots in a row: the expected order; dashes: what rounding may add"
    return _figure(marks, axes, caption, legend)


def _law(series: Series) -> Figure:
    points = series.points
    most = max([abs(v) for p in points for v in p[1:] if isfinite(v)], default=1.0) * 1.15 or 1.0
    most = min(max(most, 1e-300), 1e300)
    x, y = Scale(0.0, 1.0, _LEFT, _RIGHT, logarithmic=False), Scale(-most, most, _BOTTOM, _TOP, logarithmic=False)
    wrong = [p for p in points if not abs(p[1]) <= p[2]]
    marks = [
        *(_line("bound", ((x(level), y(side * band)) for level, _, band in points)) for side in (-1.0, 1.0)),
        _line("zero", ((x(end), y(0.0)) for end in (0.0, 1.0))),
        _line("data", ((x(level), y(off)) for level, off, _ in points)),
        _crosses((x(level), y(off)) for level, off, _ in wrong),
    ]
    farthest = max((abs(p[1]) for p in points), default=0.0)
    band = max((p[2] for p in points), default=0.0)
    caption = (
        f"{series.quantity} on {series.process}: at most {written(farthest)} from the tested law "
        f"at the levels shown, {written(band)} passes"
    )
    legend = "line: empirical minus tested distribution function; dashes: the band that passes"
    return _figure(marks, _axes(x, y, "F", "F_n - F"), caption, legend + ("; crosses: outside of it" if wrong else ""))


def _figure(marks: Iterable[str], axes: str, caption: str, legend: str) -> Figure:
    caption = plain(caption)
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'  # the caption says what it shows
    return Figure(f"{head}{axes}{''.join(marks)}</svg>", caption, legend)


def _axes(x: Scale, y: Scale, below: str, beside: str, zero: str = "", ticks: Sequence[float] = ()) -> str:
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>']
    for value in ticks or x.ticks():
        parts.append(f'<path class="axis" d="M{x(value)} {_BOTTOM}v4"/>')
        if not (zero and x(value) == _LEFT):
            parts.append(f'<text class="x" x="{x(value)}" y="{_BOTTOM + 14}">{written(value)}</text>')
    if zero:
        parts.append(f'<text class="x" x="{_LEFT}" y="{_BOTTOM + 14}">{zero}</text>')
    for value in y.ticks():
        parts.append(f'<path class="axis" d="M{_LEFT} {y(value)}h-4"/>')
        below_it = "≤ " if y.logarithmic and value == y.low == _LEAST else ""
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{y(value) + 3}">{below_it}{written(value, 2)}</text>')
    middle = (_TOP + _BOTTOM) / 2
    parts.append(f'<text class="x" x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 3}">{escape(below)}</text>')
    parts.append(f'<text class="x" transform="rotate(-90 9 {middle})" x="9" y="{middle}">{escape(beside)}</text>')
    return "".join(parts)


def _line(name: str, places: Iterable[tuple[float, float]]) -> str:
    joined = "L".join(f"{x:g} {y:g}" for x, y in places)
    return f'<path class="{name}" d="M{joined}"/>' if joined else ""


def _dots(places: Iterable[tuple[float, float]]) -> str:
    # A line of no length with round ends is a dot, in a quarter of the characters of a circle.
    joined = "".join(f"M{x:g} {y:g}h0" for x, y in dict.fromkeys(places))
    return f'<path class="dot" d="{joined}"/>' if joined else ""


def _crosses(places: Iterable[tuple[float, float]]) -> str:
    joined = "".join(f"M{x - 3:g} {y - 3:g}l6 6m-6 0l6-6" for x, y in dict.fromkeys(places))
    return f'<path class="cross" d="{joined}"/>' if joined else ""


def chosen(outcomes: Iterable[Outcome], most: int) -> tuple[list[Figure], list[Figure]]:
    """Return at most so many figures: those of runs and laws, and of the errors closest to their bounds.

    The second list has those that look like one of the first.
    """
    found = [(one, outcome.check) for outcome in outcomes for one in outcome.series if len(one.points) > 1]
    ranked = sorted(found, key=lambda pair: (pair[0].kind == "errors", -pair[0].ratio))
    shown: list[tuple[Series, str]] = []
    alike: list[tuple[Series, str]] = []
    for pair in ranked[:most]:
        (alike if any(is_like(pair[0], other) for other, _ in shown) else shown).append(pair)
    return [figure(*pair) for pair in shown], [figure(*pair) for pair in alike]
