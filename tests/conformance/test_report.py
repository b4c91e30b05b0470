"""From outcomes to a report: statuses, verdicts, known failures, and what travels as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from refdiff.conformance import render, report, terminal
from refdiff.conformance.clauses import Clause, Level, spec_folder
from refdiff.conformance.environment import environment
from refdiff.conformance.known import KnownFailure, read
from refdiff.conformance.markdown import markdown
from refdiff.conformance.outcome import Outcome, Result, Status, Worst
from refdiff.conformance.report import Report, assemble
from refdiff.errors import ConfigError

SCHEMA = json.loads((spec_folder() / "report.schema.json").read_text(encoding="utf-8"))
ENVIRONMENT = environment(seed=0, full=False, evidence_run=False, in_process=False)


TARGET = {
    "name": "n",
    "origin": "m:f",
    "version": "1",
    "dtype": "float32",
    "processes": [],
    "capabilities": [],
    "members": [],
}


def clause(name: str, level: Level) -> Clause:
    """Return a clause of no chapter."""
    return Clause(
        id=name, level=level, chapter="1 X", title="Title", text="Text.", code=("x",), evidence_note="", check_note=""
    )


MUST, SHOULD = clause("ABC-1", "MUST"), clause("ABC-2", "SHOULD")


def made(*statuses: tuple[str, Status], **options: object) -> Report:
    """Return the report on two clauses with these outcomes."""
    outcomes = [
        Outcome(clause=name, check=f"c{i}", status=status, reason="why") for i, (name, status) in enumerate(statuses)
    ]
    return assemble([MUST, SHOULD], outcomes, target=TARGET, **options)  # type: ignore[arg-type]  # options are those of assemble


def statuses(found: Report) -> Sequence[str]:
    """Return the status of each row."""
    return [row.status for row in found.rows]


def test_a_clause_fails_if_any_check_fails() -> None:
    """Fail over pass over unsupported over not claimed over not run."""
    assert statuses(made(("ABC-1", "pass"), ("ABC-1", "fail"))) == ["fail", "not_run"]
    assert statuses(made(("ABC-1", "pass"), ("ABC-1", "unsupported"))) == ["pass", "not_run"]
    assert statuses(made(("ABC-1", "not_claimed"), ("ABC-1", "unsupported"))) == ["unsupported", "not_run"]


def test_verdict() -> None:
    """A MUST that fails is non-conforming, a SHOULD is a warning, a fault of the suite is neither."""
    assert made(("ABC-1", "pass"), ("ABC-2", "pass")).verdict == "conforming"
    assert made(("ABC-1", "pass"), ("ABC-2", "fail")).verdict == "conforming-with-warnings"
    assert made(("ABC-1", "fail"), ("ABC-2", "fail")).verdict == "non-conforming"
    assert made(("ABC-1", "pass"), ("ABC-2", "pass"), broken_evidence=["ABC-1: evidence"]).verdict == "non-conforming"
    assert made(("ABC-1", "suite_error"), ("ABC-2", "fail")).verdict == "suite-error"
    assert made(("ABC-1", "fail"), ("ABC-2", "suite_error")).verdict == "non-conforming"


def test_what_did_not_run_is_incomplete() -> None:
    """A clause without an outcome makes a run incomplete, whatever the others say; the headline says both."""
    for status in ("pass", "fail", "suite_error", "not_claimed"):
        found = made(("ABC-1", status))
        assert found.verdict == "incomplete"
        assert found.missing == ("ABC-2: no check of it was run",)
        assert "n is incomplete" in render.verdict(found)
    assert "and does NOT conform" in render.verdict(made(("ABC-1", "fail")))


def test_cover() -> None:
    """The headline says how many clauses were judged, which chapters, and how many failures are known."""
    assert render.verdict(made(("ABC-1", "pass"), ("ABC-2", "pass"))) == "n conforms: 2 of 2 clauses judged"
    partly = made(("ABC-1", "pass"), ("ABC-1", "unsupported"), ("ABC-2", "not_claimed"))
    assert render.verdict(partly) == "n conforms: 1 of 2 clauses judged, 1 judged in part, 1 not claimed"
    known = {"ABC-1": KnownFailure(reason="r", link="l")}
    listed = made(("ABC-1", "fail"), ("ABC-2", "pass"), known=known)
    assert render.verdict(listed) == "n conforms but for 1 known failure: 2 of 2 clauses judged"
    only = made(("ABC-1", "pass"), ("ABC-2", "pass"), chapters=("ABC",))
    assert render.verdict(only) == "n conforms (ABC only): 2 of 2 clauses judged"


def test_a_capability_that_is_never_served_fails() -> None:
    """CON-1: what the claim lists and every call refuses is no capability; sde is asked of what has a rate only."""

    def verdict(capability: str, served: int, kind: str = "Linear") -> str:
        method = {"perturb": "perturb", "sde": "drift"}[capability]
        outcome = Outcome(clause="ABC-1", check="c", status="pass", calls={method: (served, 3)})
        target = {**TARGET, "capabilities": [capability], "members": [{"process": "p", "kind": kind}]}
        con = clause("CON-1", "MUST")
        return assemble(
            [con, MUST], [outcome, Outcome(clause="CON-1", check="d", status="pass")], target=target
        ).verdict

    assert verdict("perturb", 0) == verdict("perturb", 0, "Chain") == verdict("sde", 0) == "non-conforming"
    assert verdict("perturb", 1) == verdict("sde", 0, "Chain") == "conforming"


def test_what_a_target_says_cannot_move_the_cursor_or_load_an_image() -> None:
    """Control characters and tags from outside are shown as text."""
    hostile = Outcome(clause="ABC-1", check="c", status="fail", reason="\x1b[2J<img src=x>\u202e![](y)")
    found = assemble([MUST], [hostile], target={**TARGET, "name": "\x1b]0;n"})
    shown = markdown(found) + "".join(terminal.problems(found)) + render.verdict(found) + render.title(found)
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "<img" not in markdown(found)
    assert "\\x1b[2J" in terminal.problems(found)[1]


def test_required() -> None:
    """Not claimed, and required by id or by chapter: fails. Another chapter's prefix does not match."""
    assert statuses(made(("ABC-1", "not_claimed"), required=["ABC"])) == ["fail", "fail"]
    assert statuses(made(("ABC-1", "not_claimed"), required=["ABC-1"])) == ["fail", "not_run"]
    assert statuses(made(("ABC-1", "pass"), ("ABC-1", "unsupported"), required=["ABC-1"])) == ["fail", "not_run"]
    assert statuses(made(("ABC-1", "not_claimed"), required=["AB"])) == ["not_claimed", "not_run"]


def test_required_should_clause_that_is_not_judged_fails() -> None:
    """A SHOULD clause that fails is a warning; one that is required and not judged is a failure."""
    report = made(("ABC-1", "pass"), ("ABC-2", "not_claimed"), required=["ABC-2"])
    assert (report.rows[1].word, report.verdict) == ("fail", "non-conforming")


def test_known_failure_does_not_excuse_a_required_clause_that_is_not_judged() -> None:
    """A clause that is listed as a known failure, and no longer claimed, fails where it is required."""
    known = {"ABC-1": KnownFailure(reason="r", link="l")}
    assert (
        made(("ABC-1", "not_claimed"), ("ABC-2", "pass"), required=["ABC-1"], known=known).verdict == "non-conforming"
    )
    assert statuses(made(("ABC-1", "fail"), required=["ABC-1"], known=known))[0] == "known_failure"


def test_known() -> None:
    """A known failure that fails is known; one that passes is an error."""
    known = {"ABC-1": KnownFailure(reason="r", link="l")}
    assert statuses(made(("ABC-1", "fail"), known=known))[0] == "known_failure"
    assert made(("ABC-1", "fail"), ("ABC-2", "pass"), known=known).verdict == "conforming-with-known-failures"
    stale = made(("ABC-1", "pass"), ("ABC-2", "pass"), known=known)
    assert stale.verdict == "non-conforming"
    assert stale.errors == ("ABC-1 is listed as a known failure, and passes: take it off the list",)


@given(
    numbers=st.lists(st.floats(), min_size=5, max_size=5),
    at=st.dictionaries(st.sampled_from("tsk"), st.floats(), min_size=1),
)
def test_json_round_trip(numbers: list[float], at: dict[str, float]) -> None:
    """An outcome sent by a worker arrives unchanged, infinities and NaN included, as strict JSON."""
    got, want, error, bound, ulps = numbers
    worst = Worst(
        quantity="q", process="p", at=at, got=got, want=want, error=error, bound=bound, ulps=ulps, span=(got, want)
    )
    result = Result(process="p", status="fail", failures=("f",), refusals=("s",), traceback="x")
    outcome = Outcome(
        clause="ABC-1", check="c", status="fail", reason="r", worst=worst, results=(result,), calls={"step": (1, 2)}
    )
    back = Outcome.from_json(json.loads(json.dumps(outcome.as_json(), allow_nan=False)))
    assert repr(back) == repr(outcome)
    assert repr(worst.ratio) == repr(back.worst.ratio if back.worst else None)


def test_ratio() -> None:
    """NaN violates every bound, equality violates none, and a bound of 0 allows 0."""

    def ratio(error: float, bound: float) -> float:
        return Worst(
            quantity="q", process="p", at={"t": 0.0}, got=0.0, want=0.0, error=error, bound=bound, ulps=0.0
        ).ratio

    inf, nan = float("inf"), float("nan")
    assert [ratio(1.0, 1.0), ratio(0.0, 0.0), ratio(1.0, inf), ratio(inf, inf)] == [1.0, 0.0, 0.0, 0.0]
    assert [ratio(1e-9, 0.0), ratio(nan, 1.0), ratio(0.0, nan), ratio(inf, 1.0)] == [inf, inf, inf, inf]


def test_written_report_meets_its_schema(tmp_path: Path) -> None:
    """report.json is valid and whole, report.md is there, and no temporary file is left."""
    found = made(("ABC-1", "fail"), ("ABC-2", "fail"), environment=ENVIRONMENT)
    report.write(found, tmp_path, markdown(found))
    Draft202012Validator(SCHEMA).validate(json.loads((tmp_path / "report.json").read_text()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_schema_refuses() -> None:
    """The schema can say no."""
    data = made(("ABC-1", "pass"), environment=ENVIRONMENT).as_json()
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(data)
    assert not validator.is_valid({**data, "verdict": "fine"})
    assert not validator.is_valid({**data, "more": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[ABC-9]\nreason='r'\nlink='l'", "expected ids of clauses in"),
        ("[ABC-1]\nreason='r'", "a reason, a link and perhaps processes, nothing else, under [ABC-1]"),
        ("[ABC-1]\nreason='r'\nlink=1", "with text under [ABC-1]"),
        ("ABC-1 = 3", "got 3"),
        ("[ABC-1]\nreason='r'\nlink='l'\nprocesses='Linear'", "processes as a list of names"),
        ("[ABC-1]\nreason='r'\nlink='l'\nprocesses=[]", "processes as a list of names"),
        ("[", "to name a TOML file"),
    ],
)
def test_known_failures_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    """One sentence for each way to be wrong."""
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path, ["ABC-1"])
    assert says in str(caught.value)


def test_known_failures_file_that_is_missing(tmp_path: Path) -> None:
    """No traceback for a path that is none."""
    with pytest.raises(ConfigError, match="to name a TOML file"):
        read(tmp_path / "none.toml", [])
