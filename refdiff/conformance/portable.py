"""Numbers as JSON carries them, and JSON that a person can read."""

from __future__ import annotations

import json
import re
from math import isfinite
from secrets import token_hex
from typing import Any, TypeAlias

Number: TypeAlias = float | str
"""JSON has no infinity and no NaN: these three travel as "inf", "-inf" and "nan"."""


def number(value: float) -> Number:
    """Return what stands for a float in JSON."""
    return value if isfinite(value) else str(value)


def dumped(data: object) -> str:
    """Return data as JSON of one value a line, but `points` on one line: a report has a hundred thousand numbers."""
    # The encoder that indents is twenty times as slow, so the points are put in afterwards, under a name that no text
    # of a target's can hold.
    token, held = token_hex(16), list[str]()
    text = json.dumps(_without_points(data, token, held), indent=1, allow_nan=False, ensure_ascii=True)
    return re.sub(f'"{token}-([0-9]+)"', lambda match: held[int(match[1])], text) + "\n"


def _without_points(data: Any, token: str, held: list[str]) -> Any:
    """Return data with a name in place of each list of points, whose JSON is added to `held`."""
    if isinstance(data, dict):
        return {name: _without_points(_held(name, value, token, held), token, held) for name, value in data.items()}
    return [_without_points(value, token, held) for value in data] if isinstance(data, list | tuple) else data


def _held(name: str, value: Any, token: str, held: list[str]) -> Any:
    if name != "points":
        return value
    held.append(json.dumps(value, allow_nan=False))
    return f"{token}-{len(held) - 1}"
