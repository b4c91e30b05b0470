"""Which failures may follow from others: the table of quantities, and what a planted fault makes of it."""

from __future__ import annotations

from graphlib import TopologicalSorter

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Chain
from refdiff.conformance.outcome import Outcome, Result
from refdiff.conformance.render import in_order, start, why
from refdiff.conformance.report import Report, assemble
from refdiff.conformance.roots import STATED, USED, Cause
from tests.conformance.test_report import TARGET
from tests.meta.targets.plain import F, Plain, chain_alpha_bar
from tests.meta.test_judge import judged
from validation.checks.suite import checks


def failing(*failed: tuple[str, str], broken: tuple[str, ...] = ()) -> Report:
    """Return the report on clauses that fail, each on one process."""
    outcomes = [
        Outcome(
            clause=clause,
            check="c",
            status="fail",
            reason="why",
            results=(Result(process=process, status="fail", failures=("why",), broken=broken),),
        )
        for clause, process in failed
    ]
    return assemble(clauses().values(), outcomes, target=TARGET)


def causes(report: Report) -> dict[str, tuple[Cause, ...]]:
    """Return the causes by clause, of those that failed."""
    return {row.clause.id: row.causes for row in report.rows if row.status == "fail"}


def test_table_names_clauses_that_are_checked() -> None:
    """Every id is that of a clause with a check, and every quantity is stated by one."""
    ids = {check.clause for check, _ in checks()}
    assert set(USED) | {clause for stating in STATED.values() for clause in stating} <= ids
    assert {quantity for used in USED.values() for quantity in used} == set(STATED)


def test_no_clause_follows_from_itself() -> None:
    """A circle would leave a failure without a root."""
    graph = {clause: {one for use in used for one in STATED[use]} - {clause} for clause, used in USED.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("target", "root"),
    [
        (Plain().with_fault(linear_log_alpha_bar=lambda p, t: -t * (F(p.beta_min) + F(p.beta_max) * t)), "SCH-3"),
        (Plain().with_fault(sigma=lambda x: -np.expm1(x)), "MAR-2"),
        (
            Plain(processes=(Chain(betas=(0.1, 0.2, 0.3)),)).with_fault(
                chain_alpha_bar=lambda p, k: chain_alpha_bar(p, np.minimum(k + 1, len(p.betas)))
            ),
            "DIS-1",
        ),
    ],
    ids=["alpha_bar", "sigma", "index"],
)
def test_root_of_one_fault_is_named_first(target: Plain, root: str) -> None:
    """One fault fails several MUST clauses: its own comes first, and the others say that they may follow from it."""
    report = judged(target)
    musts = [row for row in in_order(report) if row.word == "fail"]
    assert len(musts) > 2
    assert [row.clause.id for row in musts if not row.causes] == [root]
    assert musts[0].clause.id == root
    assert start(report).startswith(f"start with {root}: {len(musts) - 1} other failure")


def test_echo_is_a_failure() -> None:
    """What may follow from another is counted and judged as any failure."""
    report = failing(("MAR-2", "p"), ("MAR-4", "p"))
    assert causes(report) == {"MAR-2": (), "MAR-4": (Cause("MAR-2", "sigma"),)}
    assert report.verdict == "incomplete"
    assert report.does_not_conform
    assert sum(row.word == "fail" for row in report.rows) == 2
    assert why(report.rows[list(clauses()).index("MAR-4")]) == "may follow from MAR-2: it uses sigma"


def test_failure_on_another_process_has_its_own_root() -> None:
    """A cause accounts for every process on which the failure is seen, or it is none."""
    assert causes(failing(("MAR-2", "p"), ("MAR-4", "q")))["MAR-4"] == ()
    assert causes(failing(("MAR-2", "p"), ("MAR-4", "p"), ("MAR-4", "q")))["MAR-4"] == ()


def test_must_does_not_follow_from_should() -> None:
    """An accuracy warning explains another, and no wrong formula."""
    assert causes(failing(("MAR-10", "p"), ("MAR-4", "p")))["MAR-4"] == ()
    assert causes(failing(("MAR-10", "p"), ("MAR-11", "p")))["MAR-11"] != ()


def test_nearest_to_the_root() -> None:
    """Of causes that follow from one another, the first is named."""
    found = causes(failing(("SCH-3", "p"), ("MAR-2", "p"), ("MAR-4", "p"), ("MAR-10", "p")))
    assert found["MAR-4"] == (Cause("MAR-2", "sigma"),)
    assert {cause.clause for cause in found["MAR-10"]} == {"SCH-3"}


def test_broken_rule_comes_first() -> None:
    """A clause whose calls broke a rule of the contract follows from that rule."""
    report = failing(("CON-2", "p"), ("MAR-4", "p"), broken=("CON-2",))
    assert causes(report) == {"CON-2": (), "MAR-4": (Cause("CON-2", ""),)}
    assert [row.clause.id for row in in_order(report)] == ["CON-2", "MAR-4"]


def test_comparison_beside_a_broken_rule_needs_a_cause_of_its_own() -> None:
    """A rule that was broken explains the calls that broke it, and no comparison of another call."""

    def fails(clause: str, *lines: str) -> Outcome:
        result = Result(process="p", status="fail", failures=lines, broken=("CON-2",))
        return Outcome(clause=clause, check="c", status="fail", reason="why", results=(result,))

    both = assemble(clauses().values(), [fails("MAR-4", "broken", "compared")], target=TARGET)
    assert causes(both) == {"MAR-4": ()}
    # MAR-2 was not found wrong where its own call broke a rule.
    broken = [fails("MAR-2", "broken"), fails("MAR-4", "broken", "compared")]
    assert causes(assemble(clauses().values(), broken, target=TARGET))["MAR-4"] == ()
    known = [fails("MAR-2", "broken", "compared"), fails("MAR-4", "broken", "compared")]
    found = causes(assemble(clauses().values(), known, target=TARGET))["MAR-4"]
    assert set(found) == {Cause("CON-2", ""), Cause("MAR-2", "sigma")}
