"""Traceability: every clause has a check, evidence and code, or gives a reason; every check names a clause."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from refdiff.conformance import clauses as module
from refdiff.conformance.clauses import clauses, lock, spec_folder
from refdiff.conformance.plan import evidence
from refdiff.errors import ConfigError
from validation.checks.suite import checks
from validation.evidence.listing import listed


def test_evidence_is_listed() -> None:
    """spec/evidence.json is up to date: else run `python -m validation.evidence.listing > spec/evidence.json`."""
    assert (spec_folder() / "evidence.json").read_text(encoding="utf-8") == listed()


def test_clauses_are_read() -> None:
    """Each chapter has clauses of its own prefix, and each clause has a statement."""
    prefixes = {clause.chapter.split()[0]: clause.id[:3] for clause in clauses().values()}
    assert prefixes == {
        "0": "NOT",
        "1": "SCH",
        "2": "MAR",
        "3": "SDE",
        "4": "PAR",
        "5": "LOS",
        "6": "TIM",
        "7": "DIS",
        "8": "TRN",
        "9": "NET",
        "10": "SMP",
        "11": "NUM",
        "12": "CON",
    }
    assert all(len(clause.text) > 20 for clause in clauses().values())


def test_titles_are_short_and_unique() -> None:
    """A report shows a title in a column: at most six words and 44 characters, and no two clauses share one."""
    titles = [clause.title for clause in clauses().values()]
    assert [title for title in titles if not 2 <= len(title.split()) <= 6 or len(title) > 44] == []
    assert len(set(titles)) == len(titles)


def test_statement_runs_to_its_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement has formulas and paragraphs, without their fences; what follows the notes does not belong to it."""
    statement = "**SCH-1** (MUST) *Two words.* First:\n```text\na = b.\n```\n\nSecond."
    text = f"# 1 A\n\n{statement}\n\n- *Code:* `refdiff`\n\nWhy.\n"
    (tmp_path / "01-a.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "spec_folder", lambda: tmp_path)
    clause = clauses.__wrapped__()["SCH-1"]
    assert clause.title == "Two words"
    assert " ".join(clause.text.split()) == "First: a = b. Second."
    assert clause.code == ("refdiff",)


def test_title_is_mandatory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clause without a title is refused."""
    (tmp_path / "01-a.md").write_text("# 1 A\n\n**SCH-1** (MUST) A statement.\n", encoding="utf-8")
    monkeypatch.setattr(module, "spec_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match="expected a title in italics after the level of SCH-1"):
        clauses.__wrapped__()


def test_index_lists_every_clause() -> None:
    """The table of clauses in spec/README.md has each id with its level and title, in order."""
    text = (spec_folder() / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]{3}-\d+) \| (\w+) \| (.*?) \|$", text, re.M)
    assert rows == [(clause.id, clause.level, clause.title) for clause in clauses().values()]


def test_lock() -> None:
    """A changed clause fails here until its checks were looked at: then `python -m refdiff.conformance.clauses`."""
    assert (spec_folder() / "clauses.lock").read_text(encoding="utf-8") == lock()


def test_every_clause_has_a_check_or_says_why_not() -> None:
    """Each clause has either a check or a stated reason, and never both."""
    checked = {check.clause for check, _ in checks()}
    excused = {clause.id for clause in clauses().values() if clause.check_note}
    assert checked | excused == set(clauses())
    assert not checked & excused


@pytest.mark.parametrize("clause", [c.id for c in clauses().values() if c.level == "MUST"])
def test_every_must_has_evidence(clause: str) -> None:
    """Each MUST clause has at least two kinds of evidence, unless its note declares it a convention."""
    if clauses()[clause].evidence_note:
        assert clauses()[clause].evidence_note.startswith("convention")
        assert clause not in evidence()
    else:
        assert len(evidence().get(clause, ())) >= 2


def test_evidence_names_clauses() -> None:
    """Every clause that evidence names exists."""
    assert set(evidence()) <= set(clauses())


@pytest.mark.parametrize("clause", clauses())
def test_every_clause_names_its_code(clause: str) -> None:
    """Each clause names code, and each dotted name resolves to an object."""
    assert clauses()[clause].code
    for name in clauses()[clause].code:
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found: object = import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[length:]:
                found = getattr(found, attribute)
            break
        assert found is not None
