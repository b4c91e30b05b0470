"""Calls that a target may refuse one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from refdiff.conformance.interface import Unsupported
from refdiff.conformance.subject import Subject

Kind = TypeVar("Kind")


def served(subject: Subject, kinds: Sequence[Kind], body: Callable[[Kind], None]) -> None:
    """Run `body` on each kind, and note what is refused; Unsupported is raised only if all are."""
    refusals = []
    for kind in kinds:
        try:
            body(kind)
        except Unsupported as refusal:
            what = " to ".join(kind) if isinstance(kind, tuple) else str(kind)
            refusals.append(f"{what}: {refusal}")
    if len(refusals) == len(kinds):
        raise Unsupported("; ".join(refusals))
    # Under a law, once for each example that is refused.
    subject.refusals += [refusal for refusal in refusals if refusal not in subject.refusals]
