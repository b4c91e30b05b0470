"""A report read back from report.json, so that pages and comparisons are made without judging again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast, final

from refdiff.conformance.clauses import Clause
from refdiff.conformance.outcome import Outcome, Worst
from refdiff.conformance.report import SCHEMA_VERSION, Report, Row, RowStatus
from refdiff.conformance.roots import Cause
from refdiff.errors import ConfigError

_OUTCOME = {one.name for one in fields(Outcome)}


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """What report.json holds, and the report that it came from."""

    data: Mapping[str, Any]
    report: Report

    def of(self, clause: str) -> Mapping[str, Any]:
        """Return what the file holds of one clause."""
        return next(row for row in self.data["clauses"] if row["id"] == clause)


def read(path: Path) -> Stored:
    """Return the report in a file. Raises ConfigError, in one sentence, for a file that holds none."""
    need = "expected a report.json of refdiff"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{need}, got {path} ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict) or "schema_version" not in data:
        raise ConfigError(f"{need}, got {path}, which names no schema_version")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ConfigError(f"{need} with schema_version {SCHEMA_VERSION}, got {data['schema_version']!r} in {path}")
    try:
        return stored(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{need}, got {path}, which does not meet report.schema.json ({reason})") from None


def stored(data: Mapping[str, Any]) -> Stored:
    """Return the report that `Report.as_json` gave these data of."""
    report = Report(
        target=data["target"],
        environment=data["environment"],
        rows=tuple(_row(row, data["chapters"]) for row in data["clauses"]),
        errors=tuple(data["errors"]),
        missing=tuple(data["missing"]),
        suite_errors=tuple(data["suite_errors"]),
        chapters=tuple(data["chapters"]),
    )
    return Stored(data, report)


def _row(data: Mapping[str, Any], chapters: list[str]) -> Row:
    warned = data["status"] == "warning"
    return Row(
        clause=Clause(
            id=data["id"],
            level=data["level"],
            chapter=data["chapter"],
            title=data["title"],
            text=data["text"],
            hint=data["hint"],
            code=(),
            evidence_note="",
            check_note=data["reason"] if data["status"] == "no_check" else "",
        ),
        status=cast("RowStatus", "fail" if warned else data["status"]),
        reason=data["reason"],
        hint=data["hint"],
        evidence=tuple(data["evidence"]),
        worst=Worst.from_json(data["worst"]) if data["worst"] else None,
        reproducer=data["reproducer"],
        outcomes=tuple(_outcome(one) for one in data["checks"]),
        selected=not chapters or data["id"].partition("-")[0] in chapters,
        causes=tuple(Cause(**cause) for cause in data["may_follow_from"]),
        # A SHOULD that fails is a warning, unless it was required and not judged.
        unmet=data["status"] == "fail" and data["level"] == "SHOULD",
    )


def _outcome(data: Mapping[str, Any]) -> Outcome:
    return Outcome.from_json({name: value for name, value in data.items() if name in _OUTCOME})
