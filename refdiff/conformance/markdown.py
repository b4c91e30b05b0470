"""report.md: the report for a page of a pipeline, with every failure and its reproducer."""

from __future__ import annotations

import html
import re

from tabulate import tabulate

from refdiff.conformance.broken import told
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


def markdown(report: Report) -> str:
    """Return report.md."""
    parts = [f"# refdiff conformance: {_text(title(report))}", f"**{_text(verdict(report))}**"]
    if first := start(report):
        parts.append(_sentence(first))
    if changed := advice(report.target):
        parts.append(_sentence(changed))
    if report.errors:
        parts += ["## Errors", _items([plain(error) for error in report.errors])]
    if lines := report.diagnosis.lines():
        parts += ["## Diagnosis", _items([plain(line) for line in lines])]
    failed = in_order(report)
    if failed:
        parts.append("## Failures and warnings")
    for row in failed:
        parts += _detail(row)
    if report.suite_errors:
        parts += ["## Suite errors", "refdiff itself failed here: please report it.", _code(tracebacks(report), "text")]
    if report.missing:
        parts += ["## Did not run", _items(absent(report))]
    parts += ["## Clauses", table(report)]
    if lines := unjudged(report):
        parts += ["## Not judged", _items(lines)]
    if lines := refused(report):
        parts += ["## Left out", _items(lines)]
    place = report.environment
    parts.append(f"Python {place.get('python', '')} on {place.get('platform', '')}; {place.get('packages', {})}")
    return "\n\n".join(parts) + "\n"


def table(report: Report) -> str:
    """Return the clauses that were judged as a table, with the evidence for each."""
    header = ("clause", "title", "level", "result", "error / bound", "at", "ulp", "evidence")
    rows = [_cells(row) for row in report.rows if row.status in (*JUDGED, "suite_error")]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _cells(row: Row) -> tuple[str, ...]:
    kinds = ", ".join(row.evidence) or ("convention" if row.clause.evidence_note else "")
    word = f"{row.word}, in part" if row.in_part else row.word
    first = (row.clause.id, _text(row.clause.title).replace("|", "\\|"), row.clause.level, word)
    if row.worst is None:
        return (*first, "", "", "", kinds)
    at = ", ".join(f"{name}={value:.4g}" for name, value in row.worst.at.items())
    # In ulp only where the clause is about ulp: the others bound an absolute error, often of a derived value.
    is_relative = row.clause.level == "SHOULD" and row.worst.want != 0.0
    return (*first, f"{row.worst.ratio:.3g}", at, f"{row.worst.ulps:.3g}" if is_relative else "", kinds)


def _detail(row: Row) -> list[str]:
    """Return what is to be said of a clause that failed: its text, each failure by process, what passed, the call."""
    name = f": {row.clause.title}" if row.clause.title else ""
    parts = [f"### {row.clause.id} ({row.clause.level}, {row.word}){_text(name)}"]
    parts.append(f"> {' '.join(row.clause.text.split())}")
    if text := hint(row):
        parts.append(f"Hint: {text}")
    said = [plain(line) for line in told(row.reason, row.methods)]
    parts.append(_items(said) if len(said) > 1 else _text(said[0]))
    parts += [_sentence(line) for line in (where(row, most=99), why(row)) if line]
    if len(row.failures) > 1:
        # A blank line, or Markdown does not read the list inside of the tag.
        summary = f"<summary>All {len(row.failures)} failures</summary>"
        lines = _items([plain(line) for line in row.failures])
        parts.append(f"<details>{summary}\n\n{lines}\n\n</details>")
    if row.reproducer:
        parts.append("In the folder of the adapter:\n\n" + _code(row.reproducer, "python"))
    return parts


def _text(line: str) -> str:
    """Return a line that Markdown shows as it is: no tags, no images, no links of a target's making."""
    return re.sub(r"([\[\]`])", r"\\\1", html.escape(line, quote=False))


def _sentence(line: str) -> str:
    return _text(plain(f"{line[0].upper()}{line[1:]}."))


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _code(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
