"""Wrong targets fail the clauses that they break, and right targets pass."""

from __future__ import annotations

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Chain, Cosine, Linear, Target
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.report import Report, assemble, described
from tests.meta.targets.plain import F, Plain, chain_alpha_bar
from validation.checks.suite import checks

LINEAR = Plain()
COSINE = Plain(processes=(Cosine(s=0.008),))
CHAIN = Plain(processes=(Chain.linear(1000, beta_start=1e-4, beta_end=0.02),))


def judged(target: Target | str, seed: int = 0) -> Report:
    """Return the report on a target, judged in this Python process."""
    judge = Judge.of(target, Settings(seed=seed))
    outcomes = judge.judge(checks())
    return assemble(clauses().values(), outcomes, target=described(judge.claim, judge.origin))


def failing(report: Report, level: str) -> set[str]:
    """Return the ids of the clauses of one level that fail."""
    return {row.clause.id for row in report.rows if row.status == "fail" and row.clause.level == level}


WRONG = {
    "variance for standard deviation": (LINEAR.with_fault(sigma=lambda x: -np.expm1(x)), {"MAR-2"}),
    "square root dropped": (LINEAR.with_fault(alpha=np.exp), {"MAR-1"}),
    "off by one in k, past the end of the table": (
        CHAIN.with_fault(chain_alpha_bar=lambda p, k: chain_alpha_bar(p, k + 1)),
        {"DIS-1"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_target_is_reported(name: str) -> None:
    """A wrong formula fails the MUST clauses that it breaks, and the report has the place and the size of the error."""
    target, expected = WRONG[name]
    report = judged(target)
    assert report.verdict == "non-conforming"
    assert expected <= failing(report, "MUST")
    for row in report.rows:
        if row.clause.id in expected:
            assert row.worst is not None
            assert row.worst.at
            assert row.worst.error > row.worst.bound
            assert row.worst.sentence() in row.reason or "IndexError" in row.reason


@pytest.mark.parametrize("right", [LINEAR, COSINE, CHAIN], ids=["linear", "cosine", "chain"])
def test_right_target_conforms(right: Plain) -> None:
    """A right implementation in float32 fails no MUST clause."""
    report = judged(right)
    assert failing(report, "MUST") == set()
    assert {row.clause.id for row in report.rows if row.status == "pass"} >= {"MAR-1", "MAR-2", "MAR-4", "PAR-4"}


def test_cancellation_is_an_accuracy_warning() -> None:
    """sqrt(1 - exp(.)) in float32 is right but cancels: it fails SHOULD clauses, and no MUST clause."""
    report = judged(LINEAR.with_fault(sigma=lambda x: np.sqrt(F(1) - np.exp(x))))
    assert report.verdict == "conforming-with-warnings"
    assert failing(report, "MUST") == set()
    assert {"MAR-10", "MAR-11", "PAR-8"} <= failing(report, "SHOULD")
    worst = next(row.worst for row in report.rows if row.clause.id == "MAR-10")
    assert worst is not None
    assert worst.quantity == "sigma"
    assert worst.ulps > 1e4


def test_one_process_judges_many_targets() -> None:
    """Two judges in one Python process give the verdicts that each gives alone."""
    right, wrong = judged(LINEAR), judged(WRONG["square root dropped"][0])
    assert (right.verdict, wrong.verdict) == (judged(LINEAR).verdict, "non-conforming")


def test_seed_changes_the_draws_and_not_the_verdict() -> None:
    """For a claimed type of process, the seed draws the parameters; the verdict is the same for each seed."""
    reports = [judged(Plain(processes=(Linear,)), seed) for seed in (1, 2)]
    drawn = {repr(row.worst.process) for report in reports for row in report.rows if row.worst}
    assert len(drawn) > 4
    assert all(failing(report, "MUST") == set() for report in reports)
