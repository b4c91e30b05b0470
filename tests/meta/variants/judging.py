"""Judge a variant in this Python process."""

from __future__ import annotations

from refdiff.conformance.check import Check
from refdiff.conformance.clauses import clauses
from refdiff.conformance.judge import Body, Judge, Settings
from refdiff.conformance.outcome import Outcome
from tests.meta.variants.variant import Variant
from validation.checks.suite import checks

SUITE_ITSELF = "the suite itself failed"
"""Text in the reason of a suite error."""


def wanted(variant: Variant) -> list[tuple[Check, Body]]:
    """Return the checks of the variant's capabilities, and those of the contract."""
    return [(check, body) for check, body in checks() if set(check.needs) <= variant.capabilities]


def judged(variant: Variant, seed: int) -> list[Outcome]:
    """Return the outcomes of these checks."""
    return Judge.of(variant, Settings(seed=seed, seconds=60.0)).judge(wanted(variant))


def failing(outcomes: list[Outcome], level: str = "MUST") -> dict[str, str]:
    """Return the clauses of one level that fail, each with its first reason."""
    levels = {clause.id: clause.level for clause in clauses().values()}
    found: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.status == "fail" and levels[outcome.clause] == level:
            found.setdefault(outcome.clause, outcome.reason)
    return found


def passing(outcomes: list[Outcome]) -> set[str]:
    """Return the clauses that pass, to ensure that a variant was judged at all."""
    return {outcome.clause for outcome in outcomes if outcome.status == "pass"}
