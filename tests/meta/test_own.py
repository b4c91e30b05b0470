"""A right process with constants of the library's own (`Own`) passes the clauses that check properties."""

from __future__ import annotations

from tests.meta.targets.own import Sigmoid
from tests.meta.test_judge import failing, judged


def test_right_own_process_passes() -> None:
    """A right process passes the clauses that check properties."""
    report = judged(Sigmoid())
    assert failing(report, "MUST") == set()
    passed = {row.clause.id for row in report.rows if row.status == "pass"}
    assert passed >= {"SCH-1", "SCH-3", "SCH-6", "SCH-7", "SCH-8", "MAR-3", "MAR-4", "MAR-5", "MAR-8", "PAR-5", "PAR-6"}
