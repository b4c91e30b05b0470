"""The committed kill matrix: it is of the catalogue as it is, misses nothing, and its page says the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from validation.checks.suite import checks
from validation.faults import record
from validation.faults.catalogue import CHAPTERS, FAULTS, named
from validation.faults.fault import DTYPES
from validation.faults.matrix import CLEAN, row, shortcomings, without_killer

MATRIX = record.read()


def test_every_fault_is_killed_and_right_code_survives() -> None:
    """Each fault of the catalogue has a row in each format, in which all clauses that it names fail."""
    assert list(shortcomings(FAULTS, MATRIX.rows)) == []
    assert len(FAULTS) >= 150
    assert len(MATRIX.rows) == sum(len(fault.dtypes) for fault in FAULTS) + len(DTYPES)


def test_readme_has_the_number_of_faults() -> None:
    """README claims the faults that there are."""
    readme = (record.PAGE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"each of {len(FAULTS)} planted faults" in readme


def test_matrix_was_made_in_ten_minutes() -> None:
    """The bound is that of two jobs at a time."""
    assert MATRIX.jobs <= 2
    assert MATRIX.minutes < 10.0


def test_every_clause_with_a_check_is_passed_by_right_code_and_kills() -> None:
    """The right target passes each clause that the suite judges, in each format, and each clause kills a fault."""
    checkable = {check.clause for check, _ in checks()}
    for one in MATRIX.rows:
        if one.fault == CLEAN:
            assert set(one.passed) == checkable
    assert without_killer(FAULTS, MATRIX.rows) == []


def test_page_is_written_from_the_record() -> None:
    """MATRIX.md is what the command writes."""
    assert record.PAGE.read_text(encoding="utf-8") == record.page(CHAPTERS, MATRIX)
    assert record.RECORD.read_text(encoding="utf-8") == MATRIX.text()


def test_what_is_missing_is_said() -> None:
    """Faults missed or not judged, right code that fails, and clauses without a killer are a sentence each."""
    fault = named("schedule-variance-for-deviation")
    rows = [one for one in MATRIX.rows if one.fault in (fault.name, CLEAN)]
    mine = [one for one in rows if one.fault == fault.name]
    missed = [replace(mine[0], killed_by=("SCH-8",)), *rows[:1]]
    told = list(shortcomings([fault], missed))
    assert f"{fault.name} is not killed by MAR-2, MAR-3 in {mine[0].dtype}" in told
    assert f"{fault.name} was not judged in {mine[1].dtype}" in told
    assert any(line.startswith("the right target was not judged in") for line in told)
    assert "no fault that names TRN-1 is killed by it" in told
    wrong = [replace(one, killed_by=("MAR-1",)) if one.fault == CLEAN else one for one in rows]
    assert f"the right target fails MAR-1 in {DTYPES[0]}" in list(shortcomings([fault], wrong))


def test_changes_are_said() -> None:
    """A row that differs, is new or is gone is a line."""
    old = MATRIX.rows[2:4]
    new = [replace(old[0], killed_by=("MAR-1",)), replace(old[1], fault="another")]
    lines = list(record.changes(old, new))
    assert lines[0].startswith("another in") == lines[0].endswith("is not recorded")
    assert any("was killed by" in line and line.endswith("is killed by MAR-1") for line in lines)
    assert any(line.endswith("is not judged any more") for line in lines)
    assert list(record.changes(MATRIX.rows, MATRIX.rows)) == []


@pytest.mark.parametrize("name", ["schedule-variance-for-deviation", "ema-decay-swapped", "guide-predictions-swapped"])
def test_row_is_what_a_judgement_gives_now(name: str) -> None:
    """Judged again, a fault fails the clauses of its row."""
    fault = named(name)
    for dtype in fault.dtypes:
        (recorded,) = (one for one in MATRIX.rows if (one.fault, one.dtype) == (name, dtype))
        assert row(fault, dtype).killed_by == recorded.killed_by
