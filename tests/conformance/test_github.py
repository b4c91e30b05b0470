"""What GitHub and CI servers show: annotations, a badge, properties of a test in JUnit's XML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from refdiff.conformance.badge import badge
from refdiff.conformance.clauses import clauses
from refdiff.conformance.github import SHOWN, commands, is_on_github
from refdiff.conformance.junit import properties
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.render import verdict
from refdiff.conformance.report import assemble
from tests.conformance.reports import TARGET, clause, made, outcome

COMMAND = re.compile(r"::(error|warning|notice) (?:file=([^,:]+),line=1,)?title=([^,:]+)::(.*)")


def test_failures_are_errors_beside_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MUST that fails is an error, a SHOULD a warning, and the verdict a notice; each is one line."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mylib_refdiff.py").write_text("")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    report = made(outcome("ABC-1", "fail", "bad"), outcome("ABC-4", "fail", "weak"), broken_evidence=["an error"])
    found = [COMMAND.fullmatch(line) for line in commands(report, tmp_path / "sub")]
    groups = [match.groups() for match in found if match is not None]
    assert groups == [
        ("error", "sub/mylib_refdiff.py", "ABC-1%3A A title", "bad"),
        ("error", "sub/mylib_refdiff.py", "refdiff", "an error"),
        ("warning", "sub/mylib_refdiff.py", "ABC-4%3A A title", "weak"),
        ("notice", None, "refdiff", verdict(report)),
    ]


@pytest.mark.parametrize(
    ("origin", "file"),
    [("$ node target.js --x", "target.js"), ("$ 'unclosed", None), ("other:Target", None), ("$ node ../out.js", None)],
)
def test_file_of_an_annotation(tmp_path: Path, origin: str, file: str | None) -> None:
    """The program that a command names, if it is below the workspace; else no file."""
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "target.js").write_text("")
    (tmp_path / "out.js").write_text("")
    report = made(outcome("ABC-1", "fail", "bad"), target={**TARGET, "origin": origin})
    match = COMMAND.fullmatch(commands(report, inside)[0])
    assert match is not None
    assert match[2] == file


def test_no_text_of_a_target_is_a_command_of_its_own() -> None:
    """Line breaks, colons and commas in names and reasons stay inside of their annotation."""
    bad = "x\n::error title=forged::y, file=z%0A::stop-commands::"
    report = assemble([clause("ABC-1", title=bad)], [outcome("ABC-1", "fail", bad)], target={**TARGET, "name": bad})
    for line in commands(report, Path()):
        assert "\n" not in line
        match = COMMAND.fullmatch(line)
        assert match is not None
        assert "%0A" not in match[3] + match[4]


def test_more_than_github_shows_are_counted() -> None:
    """Ten annotations of a kind, of which the last says how many more there are."""
    many = [clause(f"ABC-{i}") for i in range(1, SHOWN + 6)]
    report = assemble(many, [outcome(one.id, "fail", "bad") for one in many], target=TARGET)
    errors = [line for line in commands(report, Path()) if line.startswith("::error")]
    assert len(errors) == SHOWN
    assert errors[-1].endswith("::6 more errors: see report.md")


def test_on_github_is_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nothing is printed for it."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert not is_on_github()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert is_on_github()


def test_badge_says_the_verdict_and_the_cover() -> None:
    """An endpoint of shields.io: version, label, message, colour; a run that did not end is grey."""
    assert json.loads(badge(made())) == {
        "schemaVersion": 1,
        "label": "refdiff",
        "message": "conforms: 5 of 5 clauses",
        "color": "brightgreen",
    }
    failed = json.loads(badge(made(outcome("ABC-1", "fail"), outcome("ABC-2", "not_claimed"), chapters=("ABC",))))
    assert (failed["message"], failed["color"]) == ("does not conform: 4 of 5 clauses of ABC", "red")
    assert json.loads(badge(made(missing=["ABC-1: c: stopped"])))["color"] == "lightgrey"


def test_properties_of_a_check() -> None:
    """Status, clause, level, title, reason, worst comparison, and the rules that were broken on the way."""
    name = "MAR-2"
    found = properties([outcome(name, "fail", "bad\n", ratio=3.0), Outcome(clause="CON-2", check="c", status="fail")])
    assert found[:4] == [
        ("refdiff", "fail"),
        ("refdiff_clause", name),
        ("refdiff_level", "MUST"),
        ("refdiff_title", clauses()[name].title),
    ]
    assert ("refdiff_reason", "bad\\n") in found
    assert ("refdiff_also_broken", "CON-2") in found
    assert "off by 3" in dict(found)["refdiff_worst"]  # type: ignore[operator]  # a text
