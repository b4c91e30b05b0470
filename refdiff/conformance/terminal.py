"""The report in the terminal: a table of what was judged, folded lists of the rest, each failure once, the verdict."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from math import inf, isnan
from pathlib import Path
from typing import Any

import pytest
from tabulate import tabulate

from refdiff.conformance.broken import AGAIN, told
from refdiff.conformance.outcome import Worst
from refdiff.conformance.render import (
    absent,
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
from refdiff.conformance.versions import advice
from refdiff.errors import plain

GUIDE = Path(__file__).with_name("reading.md")
"""The page that explains what is printed."""
_WIDTH = 100
"""Columns: the lines are the same in every terminal, and in the log of a pipeline, which has none."""
_TITLE = 34
"""Characters of a title in the table."""
_SHOWN = 20
"""Lines of one kind that the terminal prints; report.md has them all."""
_JUDGED = (*JUDGED, "suite_error")
"""Statuses of a row of the table."""
_MORE = re.compile(r" \(and \d+ more failures?(?: of \w+)?\)$")


def table(report: Report) -> str:
    """Return the clauses that were judged as a table."""
    header = ["clause", "title", "level", "result", "worst error", "at"]
    rows = [_cells(row) for row in report.rows if row.status in _JUDGED]
    if not any(cells[1] for cells in rows):
        header, rows = [header[0], *header[2:]], [[cells[0], *cells[2:]] for cells in rows]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _cells(row: Row) -> list[str]:
    word = f"{row.word}, in part" if row.in_part else row.word
    name = textwrap.shorten(row.clause.title, _TITLE, placeholder=" ...")
    cells = [row.clause.id, plain(name), row.clause.level, word]
    if row.worst is None:
        return [*cells, "", ""]
    at = ", ".join(f"{name}={value:.4g}" for name, value in row.worst.at.items())
    return [*cells, _size(row.worst), at]


def _size(worst: Worst) -> str:
    """Return the error as a multiple of its bound."""
    if isnan(worst.got):
        return "NaN"
    return f"{worst.ratio:.3g} x bound" if worst.ratio < inf else f"{worst.error:.3g}, bound {worst.bound:.3g}"


def folded(report: Report) -> list[str]:
    """Return what was not judged and what was left out, one paragraph for each reason."""
    left_out = [f"left out: {line}" for line in refused(report)]
    if len(left_out) > _SHOWN:
        left_out = [*left_out[:_SHOWN], f"left out: {len(left_out) - _SHOWN} more reasons, listed in report.md"]
    return [
        textwrap.fill(line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in (*unjudged(report), *left_out)
    ]


def problems(report: Report) -> list[str]:
    """Return one line for each clause that fails, and what to know of it below; each error; each missing check."""
    name = report.target["name"]
    lines: list[str] = []
    shown: set[str] = set()
    for row in in_order(report):
        if (heading := _heading(row)) not in lines:
            lines.append(heading)
        reason = _reason(row, shown)
        said = told(reason, row.methods)
        shown |= {_MORE.sub("", line) for line in said}
        lines += [f"{name}: {row.clause.id} {row.word}: {line}" for line in said]
        lines += [f"    {line}" for line in _notes(row, is_told=reason != row.reason)]
    lines += [f"{name}: error: {error}" for error in report.errors]
    lines += [f"{name}: incomplete: {line}" for line in absent(report)]
    return [plain(line) for line in lines]


def _heading(row: Row) -> str:
    words = "failures" if row.word == "fail" else f"{row.word}s"
    return f"{words} that may follow from others:" if row.causes else f"{words}:"


def _reason(row: Row, shown: set[str]) -> str:
    """Return the reason, unless it is the sentence of a rule of the contract that was printed before."""
    rules = [cause.clause for cause in row.causes if not cause.uses]
    sentence = _MORE.sub("", row.reason)
    for rule in rules:
        reported = sentence.removesuffix(f" ({rule})").removesuffix(AGAIN)
        if reported != sentence and reported in shown:
            return f"its calls broke {rule}, as reported above"
    shown.add(sentence)
    return row.reason


def _notes(row: Row, *, is_told: bool) -> Iterator[str]:
    """Yield what a reader needs beside a failure. is_told: whether its line says already what it follows from."""
    if row.clause.title:
        yield f"clause: {row.clause.title}"
    if (processes := where(row)) and not is_told:
        yield processes
    if (causes := why(row)) and not is_told:
        yield causes
    if text := hint(row):
        yield f"hint: {text}"


def write(report: Report, reporter: Any, folder: str) -> None:
    """Print the report: table, what was not judged, failures, verdict."""
    reporter.section(f"refdiff: {title(report)}")
    if any(row.status in _JUDGED for row in report.rows):
        reporter.write_line(table(report))
        reporter.write_line("")
    for line in folded(report):
        reporter.write_line(line)
    if report.suite_errors:
        reporter.write_line("suite errors: refdiff itself failed, please report it", red=True)
        reporter.write_line(tracebacks(report))
    found = problems(report)
    if found:
        reporter.write_line("")
    for line in found:
        is_note = line.startswith("    ")
        is_warning = " warning:" in line
        reporter.write_line(line, red=not (is_note or is_warning), yellow=is_warning and not is_note)
    for line in report.diagnosis.lines():
        reporter.write_line(plain(f"diagnosis: {line}"))
    reporter.write_line("")
    reporter.write_line(verdict(report), bold=True)
    if first := start(report):
        reporter.write_line(first)
    if changed := advice(report.target):
        reporter.write_line(changed)
    reporter.write_line(f"every failure, with a reproducer: {folder}/report.md; for programs: {folder}/report.json")
    if found:
        reporter.write_line(f"what these words mean, and ten common failures: {GUIDE}")


def say_once(config: pytest.Config) -> None:
    """Keep pytest from printing the failures of checks too, before and after the report, if nothing else failed.

    JUnit and other plugins have read them by now.
    """
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    failed = reporter.stats.get("failed", []) if reporter else []
    if not failed or reporter.stats.get("error") or config.option.tbstyle != "auto":
        return
    if all("refdiff" in dict(report.user_properties) for report in failed):
        config.option.tbstyle = "no"
        reporter.reportchars = reporter.reportchars.replace("f", "")
