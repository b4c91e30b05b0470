"""Statistical tests that can be made again: under pytest with one seed, by `validation.tools.calibrate` with many."""

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
"""As many processes may a claim list before the checks on it spend more than their share."""
_DESIGNS: dict[str, Design] = {}
EXPERIMENTS: list[Experiment] = []
"""Of the evidence tests that were imported, in order."""
CHECKS: list[Callable[..., None]] = []
"""Checks on targets that judge by designs."""


def statistical(design: Design, **cases: Sequence[Any]) -> Callable[[Callable[..., Floats]], Callable[..., None]]:
    """Make a pytest test from a function of the cases and `seed` that returns a sample; it fails if the design rejects.

    The design tests one sample for every combination of the cases, and must have that many `samples`.
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
            said = f"{design.name}: {outcome.statistic:.5g} is outside {limits} (n = {outcome.n}, p = {outcome.p:.2g})"
            assert outcome.passed, f"{said}; {design.why}"

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
    if design.name in _DESIGNS:
        raise ValueError(f"expected one use of each line in SHARES, got two of {design.name!r}")
    _DESIGNS[design.name] = design
