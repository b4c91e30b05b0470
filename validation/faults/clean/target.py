"""The right target: what it claims, and what it builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final, get_args

from refdiff.conformance.interface import METHODS, Claim, MinSNR, Process, Weighting
from refdiff.conformance.step import Parameterization, Rule, Step

from .draws import Draws
from .losses import Losses
from .runs import SAMPLERS, Runs

_OPTIONS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "ddpm": ({}, {"variance": "beta"}),
    "ddim": ({}, {"eta": 0.5}, {"eta": 1.0}),
}
EVERYTHING: Mapping[str, Any] = {
    "name": "clean",
    "version": "1",
    "contract": 2,
    "capabilities": frozenset(METHODS),
    "weights": (*get_args(Weighting), MinSNR),
    "steps": tuple(
        Step(kind=kind, prediction=prediction, **more)
        for kind in get_args(Rule)
        for prediction in get_args(Parameterization)
        for more in _OPTIONS.get(kind, ({},))
    ),
    "samplers": SAMPLERS,
}
"""Fields of a claim of all that the right target has."""


class Clean(Losses, Runs, Draws):
    """What the right target builds for a process."""


@final
@dataclass(frozen=True)
class CleanTarget:
    """The right target, with some of its formulas replaced."""

    claim: Claim
    replaced: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Methods of `Clean`, by name, and what stands in their place."""

    def __post_init__(self) -> None:
        """Raise ValueError for a formula that the right target does not have."""
        if unknown := [name for name in self.replaced if not hasattr(Clean, name)]:
            raise ValueError(f"expected formulas of the right target, got {unknown[0]!r}")

    def build(self, process: Process) -> Clean:
        """Return the formulas of a process."""
        built: Clean = type("Built", (Clean,), dict(self.replaced))(process, self.claim)
        return built
