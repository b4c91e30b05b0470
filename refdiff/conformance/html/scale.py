"""Axes of a figure: from numbers to places on the page, and the ticks between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        """Return where a number is drawn; one beyond the axis, and 0 of a logarithmic one, at its end."""
        if value != value or value == inf:
            share = 1.0
        elif self.logarithmic:
            share = (
                0.0 if value <= self.low else (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
            )
        else:
            # Halved: the axis may be longer than the largest number.
            share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """Return at most so many round numbers on the axis."""
        if not self.logarithmic:
            return [self.low, self.low / 2 + self.high / 2, self.high]
        first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
        step = max(1, -(-(last - first) // (most - 1)))
        return [10.0**e for e in range(first, last + 1, step)]


def logarithmic(values: Sequence[float], start: float, end: float, least: float = 0.0) -> Scale:
    """Return a logarithmic axis around all finite numbers above 0, from the decade below to the decade above.

    least: what is below stands at the end of the axis, with 0.
    """
    kept = [max(value, least) for value in values if isfinite(value) and value > 0.0] or [1.0]
    low, high = floor(log10(min(kept)) + 1e-9), ceil(log10(max(kept)) - 1e-9)
    low = min(max(low, -300), 299)
    return Scale(10.0**low, 10.0 ** min(max(high, low + 1), 300), start, end, logarithmic=True)


def written(value: float, digits: int = 3) -> str:
    """Return a number as a tick shows it: 0.01, 100, 1e-12."""
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
