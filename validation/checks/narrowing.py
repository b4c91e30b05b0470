"""Which predictions and which conversions a check asks for: those that the claim lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from refdiff.conformance.case import Case
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Parameterization
from refdiff.conformance.predictions import PREDICTIONS, Conversion, Narrow, converts, predicts

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class _Wider:
    """A claim with one more prediction."""

    predictions: tuple[Parameterization, ...]
    conversions: None = None


def predictions(case: Case, *wanted: Parameterization) -> tuple[Parameterization, ...]:
    """Return those of the predictions that the claim lists; wanted: by default all. Raises NotClaimed if none is."""
    return asked(case, wanted or PREDICTIONS, predicts)


def conversions(case: Case, wanted: Sequence[Conversion]) -> tuple[Conversion, ...]:
    """Return those of the conversions that the claim covers. Raises NotClaimed if it covers none."""
    return trips(case, wanted, lambda pair: (pair,))


def trips(
    case: Case, wanted: Sequence[Conversion], steps: Callable[[Conversion], Sequence[Conversion]]
) -> tuple[Conversion, ...]:
    """Return those of the conversions of which the claim covers all steps. Raises NotClaimed if there are none."""
    if case.claim.conversions is None:
        return asked(case, wanted, lambda claim, pair: all(converts(claim, step) for step in steps(pair)))
    lacks = {pair: [step for step in steps(pair) if not converts(case.claim, step)] for pair in wanted}
    names = dict.fromkeys(f"{source} to {to}" for steps in lacks.values() for source, to in steps)
    return _found(case, [pair for pair in wanted if not lacks[pair]], "conversion", list(names))


def asked(case: Case, wanted: Sequence[Kind], asks: Callable[[Narrow, Kind], bool]) -> tuple[Kind, ...]:
    """Return what a claim asks for, and note which predictions it lacks for the rest.

    Raises NotClaimed if it asks for nothing.
    """
    claim = case.claim
    found = [kind for kind in wanted if asks(claim, kind)]
    rest = [kind for kind in wanted if kind not in found]
    listed = claim.predictions or ()
    absent = [one for one in PREDICTIONS if one not in listed]
    lacks = [one for one in absent if any(asks(_Wider((*listed, one)), kind) for kind in rest)]
    return _found(case, found, "prediction", (lacks or absent) if rest else [])


def _found(case: Case, found: Sequence[Kind], what: str, lacks: Sequence[str]) -> tuple[Kind, ...]:
    """Return what was found, and note in the case what the claim lacks for the rest."""
    if not found:
        raise NotClaimed(f"the claim lists no {what} {' and no '.join(lacks)}")
    reasons = [f"the claim lists no {what} {lack}" for lack in lacks]
    case.unclaimed += [reason for reason in reasons if reason not in case.unclaimed]
    return tuple(found)
