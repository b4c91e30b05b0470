"""The kill matrix: which clauses fail on each fault, by format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from refdiff.conformance.check import Check
from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Claim, DType, Target
from refdiff.conformance.judge import Body, Judge, Settings
from refdiff.conformance.outcome import Outcome

from ..checks.suite import checks
from .fault import Fault

RECORD = Path(__file__).parents[1] / "records" / "faults.json"
FAILED = ("fail", "suite_error")


@final
@dataclass(frozen=True, slots=True)
class Row:
    """The verdict on one fault in one format."""

    fault: str
    dtype: DType
    killed_by: tuple[str, ...]
    """Clauses that fail, MUST and SHOULD, in the order of the specification."""
    passed: tuple[str, ...]
    """Clauses that pass."""

    @property
    def entry(self) -> dict[str, Any]:
        """The row as the record has it."""
        return {"fault": self.fault, "dtype": self.dtype, "killed_by": self.killed_by, "passed": self.passed}


def wanted(claim: Claim, only: Iterable[str] = ()) -> list[tuple[Check, Body]]:
    """Return the checks of a claim's capabilities, and those of the contract; only: of these clauses."""
    chosen = frozenset(only)
    return [
        (check, body)
        for check, body in checks()
        if set(check.needs) <= claim.capabilities and (not chosen or check.clause in chosen)
    ]


def judged(target: Target, only: Iterable[str] = (), seed: int = 0) -> list[Outcome]:
    """Return what the checks find in this process."""
    return Judge.of(target, Settings(seed=seed, seconds=60.0)).judge(wanted(target.claim, only))


def failing(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Return the clauses that fail, MUST and SHOULD, each with its first reason, in the order of the specification."""
    found: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.status in FAILED:
            found.setdefault(outcome.clause, outcome.reason)
    return {clause: found[clause] for clause in clauses() if clause in found}


def row(fault: Fault, dtype: DType) -> Row:
    """Judge a fault in one format."""
    outcomes = judged(fault.target(dtype))
    failed = failing(outcomes)
    passed = {outcome.clause for outcome in outcomes if outcome.status == "pass"} - set(failed)
    return Row(fault.name, dtype, tuple(failed), tuple(clause for clause in clauses() if clause in passed))


def recorded() -> list[Mapping[str, Any]]:
    """Return the rows of the committed record."""
    found: list[Mapping[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    return found
