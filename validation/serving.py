"""Calls that a target may refuse one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from refdiff.conformance.interface import Unsupported

Kind = TypeVar("Kind")


def served(kinds: Sequence[Kind], body: Callable[[Kind], None]) -> None:
    """Run `body` on each kind; Unsupported is raised only if the target serves none of them."""
    refusals = []
    for kind in kinds:
        try:
            body(kind)
        except Unsupported as refusal:
            refusals.append(f"{kind}: {refusal}")
    if len(refusals) == len(kinds):
        raise Unsupported("; ".join(refusals))
