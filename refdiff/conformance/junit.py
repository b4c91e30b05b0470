"""Properties of a check in JUnit's XML: what CI servers show beside a test, in place of the outcome as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.outcome import Outcome
from refdiff.errors import plain


def properties(outcomes: Sequence[Outcome]) -> list[tuple[str, object]]:
    """Return the properties of one check: its own outcome is the first, then the rules that it saw broken.

    The name `refdiff` stays, with the status: by it the terminal knows a check.
    """
    own, *others = outcomes
    clause = clauses().get(own.clause)
    found: list[tuple[str, object]] = [("refdiff", own.status), ("refdiff_clause", own.clause)]
    if clause is not None:
        found += [("refdiff_level", clause.level), ("refdiff_title", clause.title)]
    if own.reason:
        found.append(("refdiff_reason", plain(own.reason)))
    if own.worst is not None:
        found.append(("refdiff_worst", plain(own.worst.sentence())))
    return [*found, *(("refdiff_also_broken", other.clause) for other in others)]


def shorten(report: pytest.TestReport) -> None:
    """Put the properties in place of an outcome as JSON, which has been read."""
    outcomes = json.loads(str(dict(report.user_properties)["refdiff"]))
    kept = [one for one in report.user_properties if one[0] not in ("refdiff", "refdiff_check")]
    report.user_properties = [*kept, *properties([Outcome.from_json(one) for one in outcomes])]
