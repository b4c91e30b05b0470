"""A report for a person: the table in the terminal, and report.md."""

from __future__ import annotations

import html
import re

from tabulate import tabulate

from refdiff.conformance.report import Report, Row

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor or change colours or text direction; messages of a target may contain them."""
_SHOWN = 20
"""Lines of one kind that the terminal prints; report.md has them all."""


def plain(text: str) -> str:
    """Return text on one line, its control characters written out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def title(report: Report) -> str:
    """Return one line: who was judged, and how."""
    target, seed = report.target, report.environment.get("seed", 0)
    return plain(f"{target['name']} {target['version']} ({target['dtype'] or 'not loaded'}), seed {seed}")


def verdict(report: Report) -> str:
    """Return one line: what the run says, and of how many clauses."""
    only = f" ({', '.join(report.chapters)} only)" if report.chapters else ""
    return plain(f"{report.target['name']} {_said(report)}{only}: {_cover(report)}")


def _said(report: Report) -> str:
    known = sum(row.status == "known_failure" for row in report.rows)
    if report.verdict == "incomplete":
        count = len(report.missing)
        so_far = " and does NOT conform" if report.does_not_conform else ""
        return f"is incomplete{so_far}: {count} check{'s' if count > 1 else ''} did not run to the end"
    if report.verdict == "non-conforming":
        return "does NOT conform"
    if report.verdict == "suite-error":
        return "is not judged, for a suite error: refdiff itself failed, please report it"
    but = f" but for {known} known failure{'s' if known > 1 else ''}" if known else ""
    return f"conforms{but}" + (", with warnings" if report.verdict == "conforming-with-warnings" else "")


def _cover(report: Report) -> str:
    cover = report.cover()
    warnings = sum(row.word == "warning" for row in report.rows)
    failed = sum(row.status == "fail" for row in report.rows) - warnings
    counts = [
        (cover["in_part"], "judged in part"),
        (failed, "failed"),
        (warnings, "warning" if warnings == 1 else "warnings"),
        (cover["not_claimed"], "not claimed"),
        (cover["unsupported"], "unsupported"),
        (cover["not_run"], "not run"),
        (cover["suite_error"], "not judged for suite errors"),
    ]
    more = "".join(f", {count} {word}" for count, word in counts if count)
    return f"{cover['judged']} of {cover['total']} clauses judged{more}"


def table(report: Report, form: str = "simple") -> str:
    """Return the clauses as a table, in a format of tabulate."""
    header = ("clause", "level", "verdict", "error/bound", "at", "ulp", "evidence")
    return tabulate([_cells(row) for row in report.rows], header, tablefmt=form, disable_numparse=True)


def problems(report: Report) -> list[str]:
    """Return one line for each clause that fails, each error and each check that is missing."""
    name = report.target["name"]
    lines = [
        f"{name}: {row.clause.id} {row.word}: {row.reason}"
        for row in report.rows
        if row.status in ("fail", "known_failure", "suite_error")
    ]
    lines += [f"{name}: error: {error}" for error in report.errors]
    lines += [f"{name}: incomplete: {line}" for line in report.missing[:_SHOWN]]
    if len(report.missing) > _SHOWN:
        lines.append(f"{name}: incomplete: {len(report.missing) - _SHOWN} more checks, listed in report.json")
    return [plain(line) for line in lines]


def tracebacks(report: Report) -> str:
    """Return the tracebacks of the suite's own failures: to be reported to refdiff, not to the target's authors."""
    return "\n".join("\n".join(map(plain, trace.splitlines())) for trace in report.suite_errors)


def markdown(report: Report) -> str:
    """Return report.md."""
    parts = [f"# refdiff conformance: {_text(title(report))}", f"**{_text(verdict(report))}**", table(report, "github")]
    if found := problems(report):
        parts += ["## Failures and warnings", _items(found)]
    for row in report.rows:
        if row.status in ("fail", "known_failure", "suite_error"):
            parts += _detail(row)
    if report.suite_errors:
        parts += ["## Suite errors", "refdiff itself failed here: please report it.", _code(tracebacks(report), "text")]
    if report.missing:
        parts += ["## Did not run", _items([plain(line) for line in report.missing])]
    unjudged = [row for row in report.rows if row.status in ("unsupported", "not_claimed", "not_run", "no_check")]
    if unjudged:
        parts += ["## Not judged", _items([plain(f"{row.clause.id} {row.word}: {row.reason}") for row in unjudged])]
    skipped: dict[str, list[str]] = {}
    for row in report.rows:
        for line in dict.fromkeys(line for outcome in row.outcomes for line in outcome.skipped):
            skipped.setdefault(line, []).append(row.clause.id)
    if skipped:
        lines = [f"{', '.join(dict.fromkeys(ids))}: {line}" for line, ids in skipped.items()]
        parts += ["## Not served", _items([plain(line) for line in lines])]
    where = report.environment
    parts.append(f"Python {where.get('python', '')} on {where.get('platform', '')}; {where.get('packages', {})}")
    return "\n\n".join(parts) + "\n"


def _detail(row: Row) -> list[str]:
    """Return what is to be said of a clause that failed: its text, each failure by process, what passed, the call."""
    parts = [f"### {row.clause.id} ({row.clause.level})", f"> {' '.join(row.clause.text.split())}"]
    parts.append(_text(plain(row.reason)))
    failures = [
        plain(f"{outcome.check}, {result.process}: {line}")
        for outcome in row.outcomes
        for result in outcome.results
        for line in result.failures
    ]
    if len(failures) > 1:
        parts.append(_items(failures))
    passed = dict.fromkeys(r.process for o in row.outcomes for r in o.results if r.status == "pass")
    failed = {r.process for o in row.outcomes for r in o.results if r.status == "fail"}
    if right := [process for process in passed if process not in failed]:
        parts.append(_text(plain(f"Not seen on {', '.join(right)}.")))
    if row.reproducer:
        parts.append("In the folder of the adapter:\n\n" + _code(row.reproducer, "python"))
    return parts


def _text(line: str) -> str:
    """Return a line that Markdown shows as it is: no tags, no images, no links of a target's making."""
    return re.sub(r"([\[\]`])", r"\\\1", html.escape(line, quote=False))


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _code(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _cells(row: Row) -> tuple[str, ...]:
    kinds = ", ".join(row.evidence) or ("convention" if row.clause.evidence_note else "")
    word = f"{row.word}, in part" if row.in_part else row.word
    if row.worst is None:
        return (row.clause.id, row.clause.level, word, "", "", "", kinds)
    at = ", ".join(f"{name}={value:.4g}" for name, value in row.worst.at.items())
    # In ulp only where the clause is about ulp: the others bound an absolute error, often of a derived value.
    ulps = f"{row.worst.ulps:.3g}" if row.clause.level == "SHOULD" else ""
    return (row.clause.id, row.clause.level, word, f"{row.worst.ratio:.3g}", at, ulps, kinds)
