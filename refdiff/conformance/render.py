"""A report for a person: the table in the terminal, and report.md."""

from __future__ import annotations

from tabulate import tabulate

from refdiff.conformance.report import Report, Row

_TITLES = {"conforming": "conforms", "weak": "conforms, and is weak in places", "non-conforming": "does NOT conform"}


def title(report: Report) -> str:
    """Return one line: who was judged, and how."""
    target, seed = report.target, report.environment.get("seed", 0)
    return f"{target['name']} {target['version']} ({target['dtype'] or 'not loaded'}), seed {seed}"


def verdict(report: Report) -> str:
    """Return one line: what the run says."""
    counts = ", ".join(f"{count} {word}" for word, count in report.counts().items())
    partly = "" if report.complete else " (judged in part)"
    return f"{report.target['name']} {_TITLES[report.verdict]}{partly}: {counts}"


def table(report: Report, form: str = "simple") -> str:
    """Return the clauses as a table, in a format of tabulate."""
    header = ("clause", "level", "verdict", "error/bound", "at", "ulp", "standing")
    return tabulate([_cells(row) for row in report.rows], header, tablefmt=form, disable_numparse=True)


def problems(report: Report) -> list[str]:
    """Return one line for each clause that failed, is known to fail or is weak, then each error."""
    name = report.target["name"]
    lines = [
        f"{name}: {row.clause.id} {row.word}: {row.reason}" for row in report.rows if row.status in ("fail", "known")
    ]
    return lines + [f"{name}: error: {error}" for error in report.errors]


def markdown(report: Report) -> str:
    """Return report.md."""
    parts = [f"# refdiff conformance: {title(report)}", f"**{verdict(report)}**", table(report, "github")]
    if found := problems(report):
        parts += ["## What is wrong, and what is weak", "\n".join(f"- {line}" for line in found)]
    for row in report.rows:
        if row.status in ("fail", "known"):
            parts += [f"### {row.clause.id} ({row.clause.level})", f"> {' '.join(row.clause.text.split())}", row.reason]
            if row.reproducer:
                parts.append(f"In the folder of the adapter:\n\n```python\n{row.reproducer}\n```")
    if unjudged := [row for row in report.rows if row.status in ("unsupported", "not_claimed", "not_run", "no_check")]:
        parts += ["## Not judged", "\n".join(f"- {row.clause.id} {row.word}: {row.reason}" for row in unjudged)]
    skipped = dict.fromkeys(f"{o.clause}: {line}" for row in report.rows for o in row.outcomes for line in o.skipped)
    if skipped:
        parts += ["## Not served", "\n".join(f"- {line}" for line in skipped)]
    where = report.environment
    parts.append(f"Python {where.get('python', '')} on {where.get('platform', '')}; {where.get('packages', {})}")
    return "\n\n".join(parts) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    kinds = ", ".join(row.standing) or ("convention" if row.clause.standing_note else "")
    if row.worst is None:
        return (row.clause.id, row.clause.level, row.word, "", "", "", kinds)
    at = ", ".join(f"{name}={value:.4g}" for name, value in row.worst.at.items())
    # In ulp only where the clause is about ulp: the others bound an absolute error, often of a derived value.
    ulps = f"{row.worst.ulps:.3g}" if row.clause.level == "SHOULD" else ""
    return (row.clause.id, row.clause.level, row.word, f"{row.worst.ratio:.3g}", at, ulps, kinds)
