"""Error propagation: tolerance of a formula whose inputs have tolerances, with derivatives by a complex step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format

from ..oracles.certified import Floats
from .tiers import JUDGE_U

Ingredients: TypeAlias = Mapping[str, tuple[Floats, Floats]]
"""Exact value and tolerance of each input, by name."""
Terms: TypeAlias = Callable[[Mapping[str, Any]], tuple[Any, ...]]
"""Maps values by name to the terms of a sum."""

_STEP = 1e-30


def propagated(terms: Terms, known: Ingredients, fmt: Format, roundings: float) -> Expected:
    """Return the sum of the terms, within 8/7 sum |d/dq| dq + roundings u sum |term| (chapter 11).

    8/7 covers division by an input with relative tolerance of at most 1/8; the caller restricts to that domain.
    """
    values = {name: value for name, (value, _) in known.items()}
    with np.errstate(all="ignore"):
        pieces = terms(values)
        size = np.asarray(sum(np.abs(piece) for piece in pieces))
        moved: Any = 0.0
        for name, (value, uncertainty) in known.items():
            stepped = {**values, name: value + _STEP * 1j}
            moved = moved + np.abs(np.imag(sum(terms(stepped)))) / _STEP * uncertainty
        bound = 8.0 / 7.0 * moved + (roundings * fmt.u + JUDGE_U) * size + 4.0 * fmt.smallest
        return Expected(np.asarray(sum(pieces)), np.asarray(bound))
