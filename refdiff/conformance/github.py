"""Annotations of a run in GitHub Actions: each failure and warning beside the adapter, and the verdict.

GitHub shows ten errors and ten warnings of a step; the step summary, which `report.write` appends to, has all.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from refdiff.conformance.render import absent, counted, in_order, verdict
from refdiff.conformance.report import Report, Row
from refdiff.errors import plain

SHOWN = 10
"""Errors, and warnings, that GitHub shows of one step."""


def is_on_github() -> bool:
    """Say whether this is a step of a workflow."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def commands(report: Report, folder: Path) -> list[str]:
    """Return the annotations, as lines to print: errors, warnings, the verdict. folder: where the run was started."""
    file = _adapter(report, folder)
    rows = in_order(report)
    errors = [_row("error", row, file) for row in rows if row.word in ("fail", "suite error")]
    errors += [_line("error", file, "refdiff", text) for text in (*report.errors, *absent(report))]
    warnings = [_row("warning", row, file) for row in rows if row.word == "warning"]
    return [*_shown(errors, "error"), *_shown(warnings, "warning"), _line("notice", "", "refdiff", verdict(report))]


def _shown(lines: list[str], level: str) -> list[str]:
    """Return at most as many lines as GitHub shows, the last of which says how many there are more."""
    if len(lines) <= SHOWN:
        return lines
    more = counted(len(lines) - SHOWN + 1, f"more {level}")
    return [*lines[: SHOWN - 1], _line(level, "", "refdiff", f"{more}: see report.md")]


def _row(level: str, row: Row, file: str) -> str:
    title = f"{row.clause.id}: {row.clause.title}" if row.clause.title else row.clause.id
    return _line(level, file, title, row.reason)


def _line(level: str, file: str, title: str, text: str) -> str:
    """Return a command of the workflow's runner; nothing in it can end the line, or begin another property."""
    place = f"file={_escaped(file)},line=1," if file else ""
    return f"::{level} {place}title={_escaped(title)}::{plain(text).replace('%', '%25')}"


def _escaped(value: str) -> str:
    return plain(value).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")


def _adapter(report: Report, folder: Path) -> str:
    """Return the adapter's file below the workspace, or nothing: the module, or a word of the command, names it."""
    origin = str(report.target["origin"])
    module, _, factory = origin.partition(":")
    if origin.startswith("$"):
        try:
            names = shlex.split(origin[1:])
        except ValueError:
            names = []
    else:
        names = [f"{module.replace('.', '/')}.py"] if factory else []
    root = Path(os.environ.get("GITHUB_WORKSPACE") or folder).resolve()
    for name in names:
        path = (folder / name).resolve()
        if path.is_file() and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return ""
