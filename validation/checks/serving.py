"""Calls that a target may refuse one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from refdiff.conformance.case import Case
from refdiff.conformance.guard import ContractViolation, NotClaimed
from refdiff.conformance.interface import Own, Rule, Unsupported
from refdiff.conformance.step import Step

Kind = TypeVar("Kind")


def served(case: Case, kinds: Sequence[Kind], body: Callable[[Kind], None], *, again: bool = False) -> None:
    """Run `body` on each kind, also after one that is refused, not claimed, or violates a rule.

    again: the body chooses its times, so that a kind that is refused is tried without the ends of time. Raises
    Unsupported, or NotClaimed, only if no kind was served; raises the first ContractViolation, after the last kind.
    """
    refusals: list[str] = []
    absent: list[str] = []
    broken: list[ContractViolation] = []
    for kind in kinds:
        try:
            refusals += _tried(case, kind, body, again=again)
        except Unsupported as refusal:
            refusals.append(f"{label(kind)}: {refusal}")
            absent.append(label(kind))
        except NotClaimed as lack:
            absent.append(f"{label(kind)}: {lack}")
        except ContractViolation as failure:
            broken.append(failure)
    if broken:
        raise broken[0]
    if len(absent) == len(kinds):
        raise Unsupported("; ".join(refusals)) if refusals else NotClaimed("; ".join(absent))
    # Under a law, once for each example that is refused.
    case.refusals += [refusal for refusal in refusals if refusal not in case.refusals]


def each_step(case: Case, kinds: Sequence[Rule], body: Callable[[Step], None]) -> None:
    """Run `body` on each claimed step of these kinds, as `served` does. Raises NotClaimed if the claim lists none."""
    steps = [step for step in case.claim.steps if step.kind in kinds]
    if not steps:
        raise NotClaimed(f"the claim lists no step of {' or '.join(kinds)}")
    if len(steps) > 1:
        served(case, steps, body)
    else:
        body(steps[0])


def first_step(case: Case, kind: Rule) -> Step:
    """Return the claimed step of a kind that is nearest to the default one. Raises NotClaimed if there is none."""
    steps = [step for step in case.claim.steps if step.kind == kind]
    if not steps:
        raise NotClaimed(f"the claim lists no step of {kind}")
    return min(steps, key=lambda step: (step.variance != "posterior", step.eta, step.prediction != "eps"))


def few_steps(case: Case, kinds: Sequence[Rule], body: Callable[[Step], None]) -> None:
    """Run `body` on each claimed step of a process of the library's own, and on the first of each kind of another.

    The other steps of a known process are compared with their formulas elsewhere.
    """
    if isinstance(case.process, Own):
        each_step(case, kinds, body)
        return
    claimed = [kind for kind in kinds if any(step.kind == kind for step in case.claim.steps)]
    if not claimed:
        raise NotClaimed(f"the claim lists no step of {' or '.join(kinds)}")
    served(case, [first_step(case, kind) for kind in claimed], body)


def _tried(case: Case, kind: Kind, body: Callable[[Kind], None], *, again: bool) -> list[str]:
    """Run `body` on one kind, and return what was refused on the way."""
    try:
        body(kind)
    except Unsupported as refusal:
        if not again or case.inner or case.steps:
            raise
        case.inner = True
        try:
            body(kind)
        finally:
            case.inner = False
        return [f"{label(kind)}, at the ends of time: {refusal}"]
    return []


def label(kind: object) -> str:
    """Return the name of a kind: of a pair of predictions "eps to x_0", of a pair of such pairs both."""
    if not isinstance(kind, tuple):
        return str(kind)
    return (" against " if any(isinstance(part, tuple) for part in kind) else " to ").join(map(label, kind))
