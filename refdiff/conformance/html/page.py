"""The page of a report: what its template shows, in the order in which it shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refdiff.conformance.broken import told
from refdiff.conformance.diagnosis import Diagnosis
from refdiff.conformance.html.claims import advice
from refdiff.conformance.html.figures import chosen
from refdiff.conformance.html.template import filled
from refdiff.conformance.render import (
    absent,
    after,
    hint,
    in_order,
    refused,
    start,
    title,
    tracebacks,
    unjudged,
    verdict,
    where,
    why,
)
from refdiff.conformance.report import JUDGED, Report, Row
from refdiff.conformance.stored import Stored

FIGURES, TOTAL = 6, 320
"""Most figures of one clause, and of the page, which stays below 2 MB; report.json has the points of all."""
MARKS: Mapping[str, str] = {
    "pass": "✓",
    "fail": "✗",
    "warning": "!",
    "known failure": "~",
    "suite error": "?",
    "unsupported": "–",
    "not claimed": "–",
    "not run": "–",
    "no check": "–",
}
"""By status: the sign before its word, so that no colour is needed."""
VERDICTS: Mapping[str, str] = {
    "conforming": "✓",
    "conforming-with-known-failures": "✓",
    "conforming-with-warnings": "!",
    "non-conforming": "✗",
    "suite-error": "?",
    "incomplete": "?",
}
_IDLE = ("not_claimed", "unsupported", "not_run")
"""Statuses of a process on which nothing was judged."""


def page(found: Stored) -> str:
    """Return report.html. Raises ConfigError where Jinja2 is not installed."""
    report = found.report
    failed = in_order(report)
    passed = [row for row in report.rows if row.status == "pass"]
    most = min(FIGURES, TOTAL // max(1, len(failed) + len(passed)))
    return filled(
        "report.html.j2",
        title=title(report),
        mark=VERDICTS[report.verdict],
        kind=report.verdict,
        verdict=verdict(report),
        cover=_cover(report),
        start=start(report),
        diagnosis=_diagnosed(found),
        errors=report.errors,
        missing=absent(report),
        failed=[_row(found, row, most) for row in failed],
        passed=[_row(found, row, most) for row in passed],
        unjudged=unjudged(report),
        refused=refused(report),
        advice=advice(report),
        traces=tracebacks(report),
        target=report.target,
        environment={"seed": 0, "full": False, "python": "", "platform": "", "packages": {}, **report.environment},
        version=found.data["refdiff"]["version"],
    )


def _cover(report: Report) -> list[dict[str, Any]]:
    """Return the parts of the bar above the table: word, sign, number, share in percent."""
    words = [row.word for row in report.rows if row.selected and row.status != "no_check"]
    parts = [(word, words.count(word)) for word in MARKS]
    return [
        {"word": word, "mark": MARKS[word], "count": count, "share": round(100.0 * count / len(words), 2)}
        for word, count in parts
        if count
    ]


def _row(found: Stored, row: Row, most: int) -> dict[str, Any]:
    """Return what the template shows of a clause that was judged."""
    figures, alike = chosen(row.outcomes, most)
    total = sum(len(outcome.series) for outcome in row.outcomes)
    results = [(outcome.check, result) for outcome in row.outcomes for result in outcome.results]
    return {
        "id": row.clause.id,
        "title": row.clause.title or row.clause.id,
        "level": row.clause.level,
        "chapter": row.clause.chapter,
        "text": row.clause.text,
        "word": f"{row.word}, in part" if row.in_part else row.word,
        "kind": row.word.replace(" ", "-"),
        "mark": MARKS[row.word],
        "is_failed": row.status != "pass",
        "reasons": [line for line in told(row.reason, row.methods) if line],
        "hint": hint(row) if row.status != "pass" else "",
        "where": where(row, most=99),
        "why": why(row),
        "after": after(row),
        "causes": list(dict.fromkeys(cause.clause for cause in row.causes)),
        "diagnosis": _diagnosis(found, row),
        "worst": row.worst,
        "size": _size(row),
        "failures": row.failures,
        "reproducer": row.reproducer,
        "evidence": row.evidence,
        "results": [pair for pair in results if pair[1].status not in _IDLE],
        "idle": sum(result.status in _IDLE for _, result in results),
        "figures": figures,
        "alike": alike,
        "left": total - len(figures) - len(alike),
    }


def _size(row: Row) -> str:
    """Return the worst error as a multiple of its bound."""
    if row.worst is None or row.status not in JUDGED:
        return ""
    ratio = row.worst.ratio
    return "beyond any bound" if ratio == float("inf") else f"{ratio:.3g} × bound"


def _diagnosed(found: Stored) -> list[str]:
    """Return which known faults the failures look like; a report of an older version has none."""
    data = found.data.get("diagnosis")
    return Diagnosis.from_json(data).lines() if data else []


def _diagnosis(found: Stored, row: Row) -> list[str]:
    """Return what the failure looks like, as the report says it of the clause or of its checks."""
    data = found.of(row.clause.id)
    lines = [line for part in (data, *data["checks"]) for line in part.get("diagnosis") or ()]
    return list(dict.fromkeys(str(line) for line in lines))
