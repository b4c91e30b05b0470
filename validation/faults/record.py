"""The committed kill matrix: `validation/records/faults.json`, and the page MATRIX.md that is written from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

from refdiff.conformance.clauses import clauses

from .fault import DTYPES, Chapter, Fault
from .matrix import CLEAN, Row

RECORD = Path(__file__).parents[1] / "records" / "faults.json"
Rows: TypeAlias = Mapping[tuple[str, str], Row]
"""By fault and format."""
PAGE = Path(__file__).parent / "MATRIX.md"


@final
@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows, and how they came about."""

    date: str
    minutes: float
    jobs: int
    rows: tuple[Row, ...]

    def text(self) -> str:
        """Return the record, one row on each line."""
        rows = ",\n".join(f"  {json.dumps(row.entry)}" for row in self.rows)
        head = f' "date": {json.dumps(self.date)},\n "minutes": {self.minutes:.1f},\n "jobs": {self.jobs},\n'
        return f'{{\n{head} "rows": [\n{rows}\n ]\n}}\n'


def read() -> Matrix:
    """Return the record."""
    found: Mapping[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    rows = tuple(Row.of(entry) for entry in found["rows"])
    return Matrix(found["date"], float(found["minutes"]), int(found["jobs"]), rows)


def changes(before: Sequence[Row], after: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each row that differs."""
    old, new = ({(row.fault, row.dtype): row for row in rows} for rows in (before, after))
    for key in sorted({*old, *new}):
        where = f"{key[0]} in {key[1]}"
        if key not in old or key not in new:
            yield f"{where} {'is not recorded' if key not in old else 'is not judged any more'}"
        elif old[key].killed_by != new[key].killed_by:
            was, got = (", ".join(rows[key].killed_by) or "nothing" for rows in (old, new))
            yield f"{where} was killed by {was}, is killed by {got}"


def page(chapters: Sequence[Chapter], matrix: Matrix) -> str:
    """Return MATRIX.md."""
    faults = [fault for chapter in chapters for fault in chapter]
    rows: Rows = {(row.fault, row.dtype): row for row in matrix.rows}
    return "\n".join([*_head(faults, matrix, rows), *_killers(faults, matrix.rows), *_tables(chapters, rows)]) + "\n"


def _head(faults: Sequence[Fault], matrix: Matrix, rows: Rows) -> list[str]:
    kinds = [(fault, dtype) for fault in faults for dtype in fault.dtypes]
    killed = sum(fault.breaks <= set(rows[fault.name, dtype].killed_by) for fault, dtype in kinds)
    passed = {clause for dtype in DTYPES for clause in rows[CLEAN, dtype].passed}
    failed = {clause for dtype in DTYPES for clause in rows[CLEAN, dtype].killed_by}
    return [
        "# The kill matrix",
        "",
        "Written by `python -m validation.faults`, which judges each fault of this folder in float32 and in float64.",
        "A fault is a complete right target with one formula replaced by a wrong one.",
        "It is killed if every clause that it names fails.",
        "",
        f"Date: {matrix.date}.",
        f"{len(faults)} faults make {len(kinds)} targets, of which {killed} are killed.",
        f"The right target passes {len(passed)} clauses and fails {', '.join(sorted(failed)) or 'none'}.",
        f"All took {matrix.minutes:.1f} minutes, {matrix.jobs} at a time.",
        "",
    ]


def _killers(faults: Sequence[Fault], rows: Sequence[Row]) -> list[str]:
    """Return the table of clauses, with how many faults each of them kills."""
    named = {clause: {fault.name for fault in faults if clause in fault.breaks} for clause in clauses()}
    by: dict[str, set[str]] = {}
    for row in rows:
        for clause in row.killed_by:
            by.setdefault(clause, set()).add(row.fault)
    lines = [
        f"| {clause} | {len(names & by.get(clause, set()))} | {len(by[clause])} |"
        for clause, names in named.items()
        if clause in by
    ]
    head = ["## Faults killed, by clause", "", "| clause | of those that name it | of all |", "|---|---|---|"]
    return [*head, *lines, ""]


def _tables(chapters: Sequence[Chapter], rows: Rows) -> Iterator[str]:
    yield "## Faults"
    yield ""
    yield "Clauses that the fault names are bold; in the last column those that fail too, in either format."
    for chapter in chapters:
        yield from ("", f"### {chapter.topic.capitalize()}", "")
        yield from ("| fault | computes | meant | seen | killed by | also by |", "|---|---|---|---|---|---|")
        for fault in chapter:
            by = {clause for dtype in fault.dtypes for clause in rows[fault.name, dtype].killed_by}
            named = ", ".join(f"**{clause}**" for clause in clauses() if clause in fault.breaks)
            also = ", ".join(clause for clause in clauses() if clause in by - fault.breaks)
            texts = (text.replace("|", "\\|") for text in (fault.wrong, fault.meant, fault.seen))
            only = "" if fault.dtypes == DTYPES else f" ({', '.join(fault.dtypes)} only)"
            yield f"| {fault.name}{only} | {' | '.join(texts)} | {named} | {also} |"
