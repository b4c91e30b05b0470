"""Reports for tests of what is made of one: pages, comparisons, annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refdiff.conformance.clauses import Clause, Level
from refdiff.conformance.environment import environment
from refdiff.conformance.outcome import Outcome, Result, Status, Worst
from refdiff.conformance.report import Report, assemble
from refdiff.conformance.series import Kind, Series

PROCESS = "Linear(beta_min=0.1, beta_max=20.0)"
TARGET: dict[str, Any] = {
    "name": "mylib",
    "origin": "mylib_refdiff:Target",
    "version": "1.0",
    "dtype": "float32",
    "processes": [PROCESS],
    "capabilities": ["schedule"],
    "members": [{"process": PROCESS, "kind": "Linear"}],
    "contract": 1,
    "steps": [],
}


def clause(name: str, level: Level = "MUST", title: str = "A title") -> Clause:
    """Return a clause of no chapter."""
    return Clause(
        id=name,
        level=level,
        chapter="1 X",
        title=title,
        text="Text.",
        code=(),
        evidence_note="",
        check_note="",
        hint="h",
    )


CLAUSES = tuple(clause(f"ABC-{i}", "SHOULD" if i == 4 else "MUST") for i in range(1, 6))


def worst(ratio: float, reproducer: str = "print(1)") -> Worst:
    """Return a comparison whose error is so many times its bound."""
    at = {"t": 0.25}
    return Worst(
        quantity="sigma",
        process=PROCESS,
        at=at,
        got=1.0,
        want=1.5,
        error=ratio,
        bound=1.0,
        ulps=8.0,
        beyond=3,
        of=9,
        span=(0.1, 0.5),
        reproducer=reproducer,
    )


def series(kind: Kind = "errors", size: int = 5, bound: float = 4.0) -> Series:
    """Return a series whose y is 1, 2, 3, ..., or of an order 2."""
    points = [(0.1 * i, float(i), bound) for i in range(1, size + 1)]
    if kind == "order":
        points = [(2.0**i, 3.0 * 4.0**-i, 1e-9) for i in range(1, size + 1)]
    if kind == "law":
        points = [(i / (size + 1), 0.01 * (-1) ** i, 0.02) for i in range(1, size + 1)]
    axis = {"errors": "t", "order": "n", "law": "F"}[kind]
    return Series(
        kind=kind, quantity=f"a {kind}", process=PROCESS, axis=axis, points=tuple(points), of=size, claimed=2.0
    )


def outcome(name: str, status: Status, reason: str = "", ratio: float = 0.0, drawn: Sequence[Series] = ()) -> Outcome:
    """Return the outcome of one check on one process."""
    failures = (reason or "failed",) if status == "fail" else ()
    judged = status in ("pass", "fail")
    return Outcome(
        clause=name,
        check="test_it",
        status=status,
        reason=reason,
        worst=worst(ratio) if ratio else None,
        results=(Result(process=PROCESS, status=status, failures=failures),) if judged else (),
        series=tuple(drawn),
    )


def made(*outcomes: Outcome, target: dict[str, Any] | None = None, **options: Any) -> Report:
    """Return the report on five clauses with these outcomes; those without one pass."""
    there = {one.clause for one in outcomes}
    others = [outcome(one.id, "pass") for one in CLAUSES if one.id not in there]
    where = environment(seed=0, full=False, evidence_run=False, in_process=False)
    return assemble(CLAUSES, [*outcomes, *others], target=target or TARGET, environment=where, **options)
