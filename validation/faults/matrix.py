"""The kill matrix: which clauses fail on each fault, by format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from refdiff.conformance.check import Check
from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import BARE, METHODS, Chain, Claim, Cosine, DType, Linear, NoProcess, Own, Target
from refdiff.conformance.judge import Body, Judge, Settings
from refdiff.conformance.outcome import Outcome

from ..checks.suite import checks
from .catalogue import named
from .clean.target import EVERYTHING, CleanTarget
from .fault import DTYPES, Fault

CLEAN = "clean"
"""Name of the rows of the right target."""


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
        return {"fault": self.fault, "dtype": self.dtype, "killed_by": [*self.killed_by], "passed": [*self.passed]}

    @staticmethod
    def of(entry: Mapping[str, Any]) -> Row:
        """Return a row of the record."""
        return Row(entry["fault"], entry["dtype"], tuple(entry["killed_by"]), tuple(entry["passed"]))


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
        if outcome.status in ("fail", "suite_error"):
            found.setdefault(outcome.clause, outcome.reason)
    return {clause: found[clause] for clause in clauses() if clause in found}


def row(fault: Fault, dtype: DType, seed: int = 0) -> Row:
    """Judge a fault in one format."""
    return _row(fault.name, [fault.target(dtype)], dtype, seed)


def clean_row(dtype: DType, seed: int = 0) -> Row:
    """Judge the right target in one format, with all that it has, on each kind of process."""
    return _row(CLEAN, [CleanTarget(claim) for claim in _clean_claims(dtype)], dtype, seed)


def _clean_claims(dtype: DType) -> Iterator[Claim]:
    every = frozenset(METHODS)
    yield Claim(**EVERYTHING, dtype=dtype, processes=(Linear, Cosine, Chain))
    yield Claim(**{**EVERYTHING, "capabilities": every - {"fit"}}, dtype=dtype, processes=(Own(label="sech"),))
    yield Claim(**{**EVERYTHING, "capabilities": BARE, "samplers": ()}, dtype=dtype, processes=(NoProcess(),))


def _row(name: str, targets: Sequence[Target], dtype: DType, seed: int) -> Row:
    outcomes = [outcome for target in targets for outcome in judged(target, seed=seed)]
    failed = failing(outcomes)
    passed = {outcome.clause for outcome in outcomes if outcome.status == "pass"} - set(failed)
    return Row(name, dtype, tuple(failed), tuple(clause for clause in clauses() if clause in passed))


def verdict(kind: tuple[str, DType], seed: int = 0) -> Row:
    """Judge a fault, or the right target, by its name, in one format."""
    name, dtype = kind
    return clean_row(dtype, seed) if name == CLEAN else row(named(name), dtype, seed)


def missed(faults: Sequence[Fault], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each fault of which a clause that it names does not fail."""
    found = {(one.fault, one.dtype): one for one in rows}
    for fault in faults:
        for dtype in fault.dtypes:
            one = found.get((fault.name, dtype))
            if one is None:
                yield f"{fault.name} was not judged in {dtype}"
            elif missing := sorted(fault.breaks - set(one.killed_by)):
                yield f"{fault.name} is not killed by {', '.join(missing)} in {dtype}"


def shortcomings(faults: Sequence[Fault], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each fault that is missed, each clause without a killer, and each failure of right code."""
    yield from missed(faults, rows)
    found = {(one.fault, one.dtype): one for one in rows}
    for dtype in DTYPES:
        if one := found.get((CLEAN, dtype)):
            if one.killed_by:
                yield f"the right target fails {', '.join(one.killed_by)} in {dtype}"
        else:
            yield f"the right target was not judged in {dtype}"
    for clause in without_killer(faults, rows):
        yield f"no fault that names {clause} is killed by it"


def without_killer(faults: Sequence[Fault], rows: Sequence[Row]) -> list[str]:
    """Return the clauses with a check that kill no fault by which they are named."""
    names = {(fault.name, clause) for fault in faults for clause in fault.breaks}
    killers = {clause for one in rows for clause in one.killed_by if (one.fault, clause) in names}
    checkable = {check.clause for check, _ in checks()}
    return [clause for clause in clauses() if clause in checkable - killers]
