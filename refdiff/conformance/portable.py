"""Numbers as JSON carries them."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TypeAlias

Number: TypeAlias = float | str
"""JSON has no infinity and no NaN: these three travel as "inf", "-inf" and "nan"."""
_ONE = r'(?:-?[0-9][0-9.eE+-]*|"(?:-?inf|nan)")'
_NUMBERS = re.compile(rf"\[\n *{_ONE}(?:,\n *{_ONE})*\n *\]")


def number(value: float) -> Number:
    """Return what stands for a float in JSON."""
    return value if isfinite(value) else str(value)


def dumped(data: object) -> str:
    """Return data as JSON of one value a line, but a list of numbers on one line: a series has hundreds."""
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=True)
    # A string holds no line break as such, so this is never inside of one.
    return _NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"
