"""Decorators: `@evidence` for the truth of a clause, `@check` for a verdict on a target.

Both mark a pytest function with the clauses it speaks about; the plugin, the traceability test and
`judge` read the marks. Nothing is keyed on node ids.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeAlias, TypeVar, final

import pytest

from refdiff.conformance.interface import Capability, Chain, Cosine, Linear, NoProcess, Own

P = ParamSpec("P")
R = TypeVar("R")
Kind: TypeAlias = Literal["symbolic", "certified", "quadrature", "simulation", "property", "exhaustive"]
ANY: tuple[type, ...] = (Linear, Cosine, Chain, Own, NoProcess)
"""Every kind of process, and none: for what needs no process."""


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """A test that a clause is true. No target is involved."""

    clauses: tuple[str, ...]
    kind: Kind


@final
@dataclass(frozen=True, slots=True)
class Check:
    """A test that a target obeys a clause."""

    clause: str
    needs: tuple[Capability, ...]
    """Capabilities without which the clause is not claimed."""
    on: tuple[type, ...]
    """The kinds of process that the clause speaks about."""
    compares: bool
    """Whether to have compared nothing is no pass: false for rules, which are kept or broken."""


def speaks_of(kinds: Collection[str], kind: str) -> bool:
    """Say whether a check on these kinds of process is one on a process of this kind, as `kind_of` names it.

    A check is on a chain of the library's own if it is on processes of the library's own, and on chains.
    """
    return {"Own", "Chain"} <= set(kinds) if kind == "OwnChain" else kind in kinds


def evidence(*clauses: str, kind: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a test function as evidence, of one kind, that these clauses are true."""
    return pytest.mark.refdiff_evidence(Evidence(clauses, kind))


def check(
    clause: str, *needs: Capability, on: tuple[type, ...] = (Linear, Cosine, Chain, Own), compares: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a test function `(case)` as a check of one clause, run on each process of these kinds."""
    return pytest.mark.refdiff_check(Check(clause, needs, on, compares))
