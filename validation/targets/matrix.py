"""RESULTS.md, from the report.json of each target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from textwrap import fill
from typing import Any

_MARKS = {
    "pass": "✓",
    "fail": "FAIL",
    "warning": "warn",
    "known_failure": "known",
    "suite_error": "suite error",
    "unsupported": "u",
    "not_claimed": "·",
    "not_run": "?",
    "no_check": "",
}
_HEAD = """# Libraries against the specification

Written by `python -m validation.targets`, which judges every library of the extra `targets` that is installed.
[FINDINGS.md](FINDINGS.md) explains the failures and warnings, and lists what no call of the contract can show.

| mark | meaning |
|---|---|
| ✓ | pass, with the worst error in ulp where numbers are compared; `*`: in part, the target refused some calls |
| FAIL | a MUST clause fails |
| warn | a SHOULD clause fails: the formula is right, but loses digits; with its worst error in ulp |
| u | unsupported: the target refused every call |
| · | not claimed |
| ? | not run |
"""


def matrix(
    reports: Sequence[Mapping[str, Any]],
    missing: Sequence[str],
    day: date,
    unfinished: Sequence[str] = (),
    minutes: float | None = None,
    jobs: int = 1,
) -> str:
    """Return the page: one row for each target, then each chapter's clauses by target."""
    absent = f"Not installed, so not judged: {', '.join(missing)}.\n" if missing else "Every library was judged.\n"
    if reports:
        packages = reports[0]["environment"]["packages"]
        absent += (
            f"Python {reports[0]['environment']['python']}, NumPy {packages['numpy']}, torch {packages['torch']}.\n"
        )
    if minutes is not None:
        absent += f"All {len(reports)} targets took {minutes:.1f} minutes, {jobs} at a time.\n"
    if unfinished:
        absent += (
            f"\nThe runs of these targets did not come to their end, so they are left out: {', '.join(unfinished)}.\n"
        )
    said = "\n".join(
        fill(line, 150, break_on_hyphens=False) for line in f"Date: {day.isoformat()}. {absent}".splitlines()
    )
    return "\n".join([_HEAD, f"{said}\n", *_summary(reports), "", *_chapters(reports)]) + "\n"


def load(folder: Path) -> dict[str, Any] | None:
    """Return the report of a target, or None if there is none, or only that of a run that did not come to its end."""
    file = folder / "report.json"
    if not file.is_file():
        return None
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report if report["environment"]["complete"] else None


def _summary(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        "| target | version | dtype | verdict | judged | MUST failures | warnings |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        target, cover, verdict = report["target"], report["cover"], report["verdict"].replace("-", " ")
        failing = [", ".join(_ids(report, status)) or "none" for status in ("fail", "warning")]
        judged = f"{cover['judged']} of {cover['total']}"
        cells = (_label(report), target["version"], target["dtype"], verdict, judged, *failing)
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _ids(report: Mapping[str, Any], status: str) -> list[str]:
    return [clause["id"] for clause in report["clauses"] if clause["status"] == status]


def _label(report: Mapping[str, Any]) -> str:
    return str(report["target"]["origin"]).removeprefix("validation.targets.")


def _chapters(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table for each chapter, of the clauses that some target is judged by."""
    lines: list[str] = []
    by_label = [(_label(report), {clause["id"]: clause for clause in report["clauses"]}) for report in reports]
    chapters: dict[str, list[str]] = {}
    for clause in reports[0]["clauses"] if reports else ():
        if any(_judged(clauses[clause["id"]]) for _, clauses in by_label):
            chapters.setdefault(clause["chapter"], []).append(clause["id"])
    for chapter, ids in chapters.items():
        lines += [f"## {chapter}", "", "| target | " + " | ".join(ids) + " |", "|---|" + "---|" * len(ids)]
        for label, clauses in by_label:
            if any(_judged(clauses[id_]) for id_ in ids):
                lines.append(f"| {label} | " + " | ".join(_cell(clauses[id_]) for id_ in ids) + " |")
        lines.append("")
    return lines


def _judged(clause: Mapping[str, Any]) -> bool:
    return clause["status"] in ("pass", "fail", "warning", "known_failure", "suite_error")


def _cell(clause: Mapping[str, Any]) -> str:
    mark = _MARKS[clause["status"]] + ("*" if clause["in_part"] else "")
    ulps = (clause["worst"] or {}).get("ulps")
    if not _judged(clause) or not isinstance(ulps, (int, float)):
        return mark
    return f"{mark} {ulps:.2g}"
