"""Judging a variant, in the process at hand."""

from __future__ import annotations

from refdiff.conformance.check import Check
from refdiff.conformance.clauses import clauses
from refdiff.conformance.judge import Body, Judge, Settings
from refdiff.conformance.outcome import Outcome
from tests.meta.variants.variant import Variant
from validation.checks.suite import checks

SUITE_ITSELF = "the suite itself failed"
"""Text in a reason if the fault is not the target's."""


def wanted(variant: Variant) -> list[tuple[Check, Body]]:
    """Return the checks that the claim calls for: those of its capabilities, and those of the contract itself."""
    return [(check, body) for check, body in checks() if set(check.needs) <= variant.capabilities]


def judged(variant: Variant, seed: int) -> list[Outcome]:
    """Return all that the checks find."""
    return Judge.of(variant, Settings(seed=seed, seconds=60.0)).judge(wanted(variant))


def failing(outcomes: list[Outcome], level: str = "MUST") -> dict[str, str]:
    """Return the clauses of a level that fail, each with its first reason."""
    levels = {clause.id: clause.level for clause in clauses().values()}
    found: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.status == "fail" and levels[outcome.clause] == level:
            found.setdefault(outcome.clause, outcome.reason)
    return found


def passing(outcomes: list[Outcome]) -> set[str]:
    """Return the clauses that pass: a variant of which nothing was judged is none."""
    return {outcome.clause for outcome in outcomes if outcome.status == "pass"}
