"""Statistical tests that can be repeated: pytest runs them with one seed, `validation.tools.calibrate` with many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import product
from math import prod
from typing import Any, final

import pytest

from .design import Design, Floats


@final
@dataclass(frozen=True, slots=True)
class Experiment:
    """A function that draws a sample for a seed, and the design that tests it."""

    name: str
    design: Design
    draw: Callable[[int], Floats]


PROCESSES = 16
"""Largest number of processes in a claim for which the checks stay within their allocation of the budget."""
_DESIGNS: dict[str, Design] = {}
EXPERIMENTS: list[Experiment] = []
"""Experiments of the evidence modules imported so far, in order."""
CHECKS: list[Callable[..., None]] = []
"""Checks of targets that use a design."""


def statistical(design: Design, **cases: Sequence[Any]) -> Callable[[Callable[..., Floats]], Callable[..., None]]:
    """Turn a function of the cases and `seed` that returns a sample into a pytest test by this design.

    The design tests one sample for every combination of the cases, so its `samples` must be their number.
    """
    combinations = prod(len(choices) for choices in cases.values())
    if combinations != design.samples:
        raise ValueError(f"expected {design.samples} combinations of cases for {design.name}, got {combinations}")
    _register(design)

    def decorate(draw: Callable[..., Floats]) -> Callable[..., None]:
        @wraps(draw)
        def test(**arguments: Any) -> None:
            outcome = design.judge(draw(**arguments))
            limits = f"[{outcome.low:.5g}, {outcome.high:.5g}]"
            found = f"{design.name}: {outcome.statistic:.5g} is outside {limits} (n = {outcome.n}, p = {outcome.p:.2g})"
            assert outcome.passed, f"{found}; {design.why}"

        for number, values in enumerate(product(*cases.values())):
            bound = dict(zip(cases, values, strict=True))
            label = f"{draw.__name__}[{number}]" if cases else draw.__name__
            EXPERIMENTS.append(Experiment(label, design, _with_seed(draw, bound)))
        marked: Callable[..., None] = test
        for name, choices in cases.items():
            marked = pytest.mark.parametrize(name, list(choices))(marked)
        return marked

    return decorate


def _with_seed(draw: Callable[..., Floats], bound: dict[str, Any]) -> Callable[[int], Floats]:
    return lambda seed: draw(**bound, seed=seed)


def by_design(design: Design) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a check of a target as one that uses this design, so that calibration includes it."""
    _register(design)

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS.append(check)
        return check

    return decorate


def _register(design: Design) -> None:
    """Register a design. Raises ValueError if its name is in use already."""
    if design.name in _DESIGNS:
        raise ValueError(f"expected one use of each allocation in SHARES, got two of {design.name!r}")
    _DESIGNS[design.name] = design
