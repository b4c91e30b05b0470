"""Properties, without certified values, find the faults in a process with constants of the library's own (`Own`)."""

from __future__ import annotations

import pytest

from tests.meta.targets.own import Sigmoid
from tests.meta.test_judge import failing, judged

FAULTS = {
    "stale": "SCH-8",
    "rate": "SCH-3",
    "rising": "SCH-6",
    "not variance preserving": "MAR-3",
    "noise permuted": "MAR-5",
    "broadcast by luck": "MAR-5",
    "clipped": "PAR-6",
    "variance exploding": "MAR-8",
}


def test_right_own_process_passes() -> None:
    """A right process passes the clauses that check properties."""
    report = judged(Sigmoid())
    assert failing(report, "MUST") == set()
    passed = {row.clause.id for row in report.rows if row.status == "pass"}
    assert passed >= {"SCH-1", "SCH-3", "SCH-6", "SCH-7", "SCH-8", "MAR-3", "MAR-4", "MAR-5", "MAR-8", "PAR-5", "PAR-6"}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_breaks_a_property(fault: str) -> None:
    """Each fault fails the clause whose property it breaks."""
    assert FAULTS[fault] in failing(judged(Sigmoid(fault)), "MUST")
