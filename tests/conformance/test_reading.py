"""The page on reading a report: it explains what is printed, its lines are printed today, and reports name it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from refdiff.conformance import diagnosis, outcome, render, terminal
from refdiff.conformance import report as statuses
from refdiff.conformance.clauses import clauses
from refdiff.conformance.html import page
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.report import assemble, described
from refdiff.conformance.stored import stored
from refdiff.conformance.terminal import GUIDE, problems
from tests.conformance.reports import made
from tests.conformance.reports import outcome as outcome_of
from validation.checks.suite import checks
from validation.faults import record
from validation.faults.catalogue import named

PAGE = GUIDE.read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the tables of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


FAILURES = rows("Ten common failures")


def test_there_are_ten_failures() -> None:
    """Each has a line, a cause, a mend and a fault of its own, and fails the clause of its line by the kill matrix."""
    assert len({fault for *_, fault in FAILURES}) == len(FAILURES) == 10
    killed: dict[str, set[str]] = {}
    for row in record.read().rows:
        killed.setdefault(row.fault, set()).update(row.killed_by)
    for line, cause, mend, fault in FAILURES:
        assert line.strip("`").split()[0] in killed[fault.strip("`")]
        assert cause
        assert mend


@pytest.mark.parametrize("row", FAILURES, ids=[row[-1].strip("`") for row in FAILURES])
def test_line_of_a_common_failure_is_printed(row: list[str]) -> None:
    """The suite prints the line of the page for the fault, but for what the page leaves out."""
    line, fault = row[0].strip("`"), row[-1].strip("`")
    clause = line.split()[0]
    judge = Judge.of(named(fault).target("float32"), Settings(seconds=60.0))
    # A rule of the contract is broken in checks of other clauses too.
    asked = [pair for pair in checks() if pair[0].clause in ({clause, "MAR-5"} if "CON" in clause else {clause})]
    report = assemble(clauses().values(), judge.judge(asked), target=described(judge.claim, "", judge.members))
    wanted = ".*".join(re.escape(part.strip()) for part in line.split("..."))
    assert any(re.search(wanted, printed) for printed in problems(report)), "\n".join(problems(report))


def phrases() -> Iterator[str]:
    """Yield the words of the page's tables that stand for what is printed."""
    for heading in ("The parts of a line", "The words"):
        for first, *_ in rows(heading):
            yield from re.findall(r"`([^`]+)`", first)


def test_words_that_are_explained_are_printed() -> None:
    """Every word of the tables stands in the code that prints, or in the example of the page."""
    modules = (diagnosis, outcome, render, statuses, terminal)
    code = "".join(map(inspect.getsource, modules)).replace("_", " ")
    example = PAGE.split("```")[3]
    for phrase in phrases():
        parts = [part.strip(" ()") for part in re.split(r"\.\.\.|, as |\b[A-Z]{3}-\d+|\d+", phrase)]
        assert all(part in code or part in example for part in parts), phrase


def test_words_that_are_printed_are_explained() -> None:
    """What a stranger meets in a failing run stands in the tables of the page."""
    said = " ".join(phrases())
    for word in (
        "got",
        "expected",
        "off by",
        "bound",
        "ulp",
        "beyond their bounds",
        "more failures",
        "may follow from",
    ):
        assert word in said
    for word in ("follows from", "in part", "not claimed", "unsupported", "left out", "diagnosis", "no check"):
        assert word in said
    for word in ("its calls broke", "fails on", "not explained by", "known failure", "suite error", "incomplete"):
        assert word in said


class Reporter:
    """Stands for pytest's reporter, and keeps what it is given."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        """Keep a title."""
        self.lines.append(title)

    def write_line(self, line: str, **_: object) -> None:
        """Keep a line."""
        self.lines.append(line)


def test_reports_name_the_page_where_something_failed() -> None:
    """The terminal names the file, and the page of a report says where it is; without a failure neither does."""
    for report, is_named in (
        (made(outcome_of("ABC-1", "fail", "wrong", ratio=3.0)), True),
        (made(), False),
    ):
        terminal.write(report, reporter := Reporter(), "folder")
        assert any(str(GUIDE) in line for line in reporter.lines) is is_named
        shown = page(stored(report.as_json()))
        assert ("conformance/reading.md" in shown) is is_named
        assert ("<dt>may follow from</dt>" in shown) is is_named
