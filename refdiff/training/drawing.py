"""Charts of a page as SVG: lines told apart by their dashes and dots, with or without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal, TypeAlias, final

Style: TypeAlias = Literal["solid", "dashed", "dotted", "dots", "crosses"]
_WIDTH, _HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 330, 8, 170
MOST = 200
"""Most points of one line."""
LARGEST = 1e290
"""What is larger is left out, and on a logarithmic axis what is below its reciprocal."""
SPAN = 1e4
"""How far a logarithmic axis reaches down from the largest value; what is smaller stands at its end."""


@final
@dataclass(frozen=True, slots=True)
class Line:
    """Points of one kind."""

    name: str
    style: Style
    points: Sequence[tuple[float, float]]
    """Those that are no numbers are left out; on a logarithmic axis, those that are not above 0, too."""


@final
@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title and its legend."""

    svg: str
    """Markup of ours: names are escaped."""
    title: str
    legend: str


def chart(title: str, lines: Sequence[Line], *, across: str, logarithmic: bool = False) -> Chart | None:
    """Return the chart of the lines that have points, or None if none has."""
    kept = [Line(line.name, line.style, _thinned(line.points, positive=logarithmic)) for line in lines]
    kept = [line for line in kept if line.points]
    if not kept:
        return None
    if logarithmic:
        kept = _raised(kept, max(y for line in kept for _, y in line.points) / SPAN)
    xs, ys = ([point[i] for line in kept for point in line.points] for i in (0, 1))
    low, high = (log10(min(ys)), log10(max(ys))) if logarithmic else (min(0.0, *ys), max(ys))
    low, high = (floor(low), ceil(high)) if logarithmic else (low, high * 1.05)
    across_from, across_to = _widened(min(xs), max(xs))
    down_from, down_to = _widened(low, high)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        y = log10(point[1]) if logarithmic else point[1]
        return (
            round(_LEFT + (_RIGHT - _LEFT) * (point[0] - across_from) / (across_to - across_from), 1),
            round(_BOTTOM - (_BOTTOM - _TOP) * (y - down_from) / (down_to - down_from), 1),
        )

    marks = "".join(_drawn(line.style, [place(point) for point in line.points]) for line in kept)
    ticks_y = _decades(down_from, down_to) if logarithmic else [down_from, (down_from + down_to) / 2, down_to]
    axes = _axes(place, [across_from, (across_from + across_to) / 2, across_to], ticks_y, (across_from, ticks_y[0]))
    label = f'<text class="x" x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 3}">{escape(across)}</text>'
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{axes}{label}{marks}</svg>'
    words = {"solid": "line", "dashed": "dashes", "dotted": "dots in a row", "dots": "dots", "crosses": "crosses"}
    return Chart(svg, title, "; ".join(f"{words[line.style]}: {line.name}" for line in kept))


def _raised(lines: Sequence[Line], least: float) -> list[Line]:
    """Return lines without values below the least."""
    return [Line(line.name, line.style, [(x, max(y, least)) for x, y in line.points]) for line in lines]


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return ends that differ."""
    return (low, high) if high > low else (low, low + max(abs(low), 1.0))


def _decades(low: float, high: float) -> list[float]:
    step = max(1, ceil((high - low) / 4))
    return [10.0**e for e in range(int(low), int(high) + 1, step)]


def _thinned(points: Sequence[tuple[float, float]], *, positive: bool) -> list[tuple[float, float]]:
    least = 1.0 / LARGEST if positive else -LARGEST
    kept = [(x, y) for x, y in points if abs(x) <= LARGEST and least <= y <= LARGEST]
    if len(kept) <= MOST:
        return kept
    return [kept[i * (len(kept) - 1) // (MOST - 1)] for i in range(MOST)]


def _axes(place: object, across: Iterable[float], up: Iterable[float], corner: tuple[float, float]) -> str:
    assert callable(place)
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>']
    for x in across:
        left, _ = place((x, corner[1]))
        parts.append(
            f'<path class="axis" d="M{left} {_BOTTOM}v4"/><text class="x" x="{left}" y="{_BOTTOM + 14}">{x:.4g}</text>'
        )
    for y in up:
        _, top = place((corner[0], y))
        parts.append(
            f'<path class="axis" d="M{_LEFT} {top}h-4"/><text class="y" x="{_LEFT - 6}" y="{top + 3}">{y:.2g}</text>'
        )
    return "".join(parts)


def _drawn(style: Style, places: Sequence[tuple[float, float]]) -> str:
    if style == "dots":
        joined = "".join(f"M{x:g} {y:g}h0" for x, y in places)
    elif style == "crosses":
        joined = "".join(f"M{x - 3:g} {y - 3:g}l6 6m-6 0l6-6" for x, y in places)
    else:
        joined = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    return f'<path class="{style}" d="{joined}"/>'
