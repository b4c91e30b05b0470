"""Two reports compared: in which group a clause comes, what differs beside, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refdiff.conformance.compare import __main__ as command
from refdiff.conformance.compare import compared
from refdiff.conformance.compare.changes import Changes, text
from refdiff.conformance.html.template import filled
from refdiff.conformance.known import KnownFailure
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.report import Report
from refdiff.conformance.stored import stored
from tests.conformance.reports import TARGET, made, outcome

KNOWN = {"ABC-1": KnownFailure(reason="r", link="l")}
PASS, FAIL, UNCLAIMED = (outcome("ABC-1", status, "why") for status in ("pass", "fail", "not_claimed"))


def of(old: Report, new: Report) -> Changes:
    """Compare two reports as they are after a journey through JSON."""
    before, after = (stored(json.loads(json.dumps(one.as_json()))) for one in (old, new))
    return compared(before, after)


def groups(found: Changes) -> dict[str, list[str]]:
    """Return the clauses of each group that has some."""
    return {heading: [one.clause for one in group] for _, heading, group in found.groups if group}


@pytest.mark.parametrize(
    ("old", "new", "group"),
    [
        (PASS, FAIL, "Worse"),
        (FAIL, PASS, "Better"),
        (UNCLAIMED, PASS, "Newly judged"),
        (UNCLAIMED, FAIL, "Newly judged"),
        (PASS, UNCLAIMED, "No longer judged"),
        (FAIL, UNCLAIMED, "No longer judged"),
        (outcome("ABC-4", "pass"), outcome("ABC-4", "fail", "why"), "Worse"),
    ],
)
def test_group_of_a_clause(old: Outcome, new: Outcome, group: str) -> None:
    """Each change has one group, and what did not change has none; a report is no different from itself."""
    assert groups(of(made(old), made(new))) == {group: [new.clause]}
    assert groups(of(made(old), made(old))) == {}
    assert not of(made(new), made(new)).is_worse


def test_a_failure_on_more_processes_is_worse() -> None:
    """And one on fewer is better, though the clause fails in both."""
    two = Outcome(**{**{n: getattr(FAIL, n) for n in FAIL.__slots__}, "results": (*FAIL.results, other_process())})
    assert groups(of(made(FAIL), made(two))) == {"Worse": ["ABC-1"]}
    assert groups(of(made(two), made(FAIL))) == {"Better": ["ABC-1"]}


def other_process() -> Any:
    """Return a failure on another process."""
    (result,) = FAIL.results
    return type(result)(process="Cosine(s=0.008)", status="fail", failures=("f",))


def test_a_failure_that_is_listed_is_no_better() -> None:
    """A list of known failures mends nothing; taking a clause off it makes the verdict worse."""
    known = made(FAIL, known=KNOWN)
    assert groups(of(made(FAIL), known)) == {"Listed otherwise as a known failure": ["ABC-1"]}
    assert not of(made(FAIL), known).is_worse
    back = of(known, made(FAIL))
    assert groups(back) == {"Listed otherwise as a known failure": ["ABC-1"]}
    assert back.is_worse
    assert "the verdict is worse" in text(back)


def test_an_error_that_moved_is_told() -> None:
    """A clause that passes in both with twice the error is listed, and is not worse."""
    small, large = (outcome("ABC-1", "pass", ratio=ratio) for ratio in (0.1, 0.5))
    found = of(made(small), made(large))
    assert groups(found) == {"Passes as before, with another error": ["ABC-1"]}
    assert "0.1 of the bound -> 0.5 of the bound" in text(found)
    assert not found.is_worse
    assert groups(of(made(small), made(outcome("ABC-1", "pass", ratio=0.19)))) == {}


def test_what_was_judged_otherwise_is_told() -> None:
    """Another target, version, dtype, seed or package explains a difference."""
    other = {**TARGET, "name": "theirlib", "version": "2.0", "dtype": "float64"}
    found = of(made(), made(target=other))
    assert {name for name, _, _ in found.settings} == {"name", "version", "dtype"}
    assert "differs: version: 1.0 -> 2.0" in text(found)
    assert of(made(), made()).settings == ()


def test_a_run_that_did_not_end_is_worse() -> None:
    """The verdict of the run counts beside its clauses."""
    assert of(made(), made(missing=["ABC-1: c: stopped"])).is_worse
    assert not of(made(missing=["ABC-1: c: stopped"]), made()).is_worse


def test_page_shows_every_change_as_text() -> None:
    """Worse first; what comes from outside is no markup."""
    bad = "<script>alert(1)</script>"
    new = made(outcome("ABC-1", "fail", bad), outcome("ABC-2", "not_claimed", bad), target={**TARGET, "name": bad})
    shown = filled("compare.html.j2", changes=of(made(), new))
    assert "<script" not in shown
    assert shown.index("Worse (1)") < shown.index("No longer judged (1)")
    assert "Something got worse" in shown
    assert "No clause changed." in filled("compare.html.j2", changes=of(made(), made()))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process."""
    monkeypatch.setattr(sys, "argv", ["compare", *arguments])
    return command.main()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """0 if nothing got worse, 1 if something did, 2 with one sentence for a file that is no report."""
    old, new, none = (str(tmp_path / name) for name in ("old.json", "new.json", "none.json"))
    Path(old).write_text(json.dumps(made(PASS).as_json()))
    Path(new).write_text(json.dumps(made(FAIL).as_json()))
    assert run(monkeypatch, new, old) == 0
    assert "✓ ABC-1 (A title): fail on" in capsys.readouterr().out
    assert run(monkeypatch, old, new, "--html", str(tmp_path / "changes.html")) == 1
    assert "1 worse, 0 better" in capsys.readouterr().out
    assert "ABC-1" in (tmp_path / "changes.html").read_text(encoding="utf-8")
    assert run(monkeypatch, old, none) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_says_what_the_exit_status_means() -> None:
    """By the module's own command."""
    command = [sys.executable, "-m", "refdiff.conformance.compare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "exit status is 1 if a clause got worse" in " ".join(done.stdout.split())
