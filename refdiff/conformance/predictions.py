"""What a claim says of predictions: which `loss` is asked for, and between which `convert` is (chapters 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, TypeVar, get_args

from refdiff.conformance.step import Parameterization
from refdiff.errors import ConfigError

Kind = TypeVar("Kind")
Conversion: TypeAlias = tuple[Parameterization, Parameterization]
"""From what, and to what."""
PREDICTIONS: tuple[Parameterization, ...] = get_args(Parameterization)
PARTS: tuple[Parameterization, Parameterization] = ("x_0", "eps")
"""What x_t consists of."""
_NAMES = ", ".join(PREDICTIONS)


class Narrow(Protocol):
    """What `converts` reads of a claim."""

    @property
    def predictions(self) -> tuple[Parameterization, ...] | None:
        """The predictions that it lists."""

    @property
    def conversions(self) -> tuple[Conversion, ...] | None:
        """The conversions that it lists."""


def predicts(claim: Narrow, prediction: Parameterization) -> bool:
    """Return whether `loss` is asked for a prediction."""
    return claim.predictions is None or prediction in claim.predictions


def converts(claim: Narrow, pair: Conversion) -> bool:
    """Return whether `convert` is asked for a pair: if none are listed, from what is predicted, to that or a part."""
    if claim.conversions is not None:
        return pair in claim.conversions
    return predicts(claim, pair[0]) and (pair[1] in PARTS or predicts(claim, pair[1]))


def checked_predictions(claimed: Iterable[Any] | None) -> tuple[Parameterization, ...] | None:
    """Return the predictions of a claim. Raises ConfigError for what is none, for one twice, and for an empty list."""
    return None if claimed is None else _listed("predictions", f"among {_NAMES}", PREDICTIONS, tuple(claimed))


def checked_conversions(claimed: Iterable[Any] | None) -> tuple[Conversion, ...] | None:
    """Return the conversions of a claim. Raises ConfigError for what is none, for one twice, and for an empty list."""
    if claimed is None:
        return None
    found = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in claimed)
    pairs = tuple((source, to) for source in PREDICTIONS for to in PREDICTIONS if source != to)
    return _listed("conversions", f"as pairs of two of {_NAMES}", pairs, found)


def _listed(what: str, are: str, allowed: tuple[Kind, ...], found: tuple[Any, ...]) -> tuple[Kind, ...]:
    """Return what a claim lists, of what it may list, each once."""
    if wrong := [one for one in found if one not in allowed]:
        raise ConfigError(f"expected {what} {are}, got {wrong[0]!r} (CON-1)")
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"expected {what} as at least one, each once, or None, got {found} (CON-1)")
    return found
