"""From outcomes to a report: statuses, verdicts, known failures, and what travels as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from refdiff.conformance import render, report
from refdiff.conformance.clauses import Clause, Level, spec_folder
from refdiff.conformance.known import KnownFailure, read
from refdiff.conformance.outcome import Outcome, Status, Worst
from refdiff.conformance.report import Report, assemble
from refdiff.errors import ConfigError

SCHEMA = json.loads((spec_folder() / "report.schema.json").read_text(encoding="utf-8"))
ENVIRONMENT = report.environment(seed=0, full=False, standing_run=False)


TARGET = {"name": "n", "origin": "m:f", "version": "1", "dtype": "float32", "processes": [], "capabilities": []}


def clause(name: str, level: Level) -> Clause:
    """Return a clause of no chapter."""
    return Clause(id=name, level=level, chapter="1 X", text="Text.", code=("x",), standing_note="", check_note="")


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
    """A MUST that fails is non-conforming, a SHOULD is weak, an error is non-conforming."""
    assert made(("ABC-1", "pass"), ("ABC-2", "pass")).verdict == "conforming"
    assert made(("ABC-1", "pass"), ("ABC-2", "fail")).verdict == "weak"
    assert made(("ABC-1", "fail"), ("ABC-2", "fail")).verdict == "non-conforming"
    assert made(("ABC-1", "pass"), broken_standing=["ABC-1: evidence"]).verdict == "non-conforming"


def test_required() -> None:
    """Not claimed, and required by id or by chapter: fails. Another chapter's prefix does not match."""
    assert statuses(made(("ABC-1", "not_claimed"), required=["ABC"])) == ["fail", "not_run"]
    assert statuses(made(("ABC-1", "not_claimed"), required=["ABC-1"])) == ["fail", "not_run"]
    assert made(("ABC-1", "not_claimed"), required=["AB"]).errors


def test_known() -> None:
    """A known failure that fails is known; one that passes is an error."""
    known = {"ABC-1": KnownFailure(reason="r", link="l")}
    assert statuses(made(("ABC-1", "fail"), known=known))[0] == "known"
    assert made(("ABC-1", "fail"), known=known).verdict == "conforming"
    stale = made(("ABC-1", "pass"), known=known)
    assert stale.verdict == "non-conforming"
    assert stale.errors == ("ABC-1 is listed as a known failure, and passes: take it off the list",)


@given(
    numbers=st.lists(st.floats(), min_size=5, max_size=5),
    at=st.dictionaries(st.sampled_from("tsk"), st.floats(), min_size=1),
)
def test_json_round_trip(numbers: list[float], at: dict[str, float]) -> None:
    """What a worker sends is what arrives, infinities and NaN included, and strict JSON carries it."""
    got, want, error, bound, ulps = numbers
    worst = Worst(
        quantity="q", process="p", at=at, got=got, want=want, error=error, bound=bound, ulps=ulps, span=(got, want)
    )
    outcome = Outcome(clause="ABC-1", check="c", status="fail", reason="r", worst=worst, skipped=("s",))
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
    report.write(found, tmp_path, render.markdown(found))
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
        ("[ABC-9]\nreason='r'\nlink='l'", "wants ids of clauses, got 'ABC-9'"),
        ("[ABC-1]\nreason='r'", "exactly a reason and a link under [ABC-1]"),
        ("[ABC-1]\nreason='r'\nlink=1", "that say something under [ABC-1]"),
        ("ABC-1 = 3", "exactly a reason and a link under [ABC-1], got 3"),
        ("[", "wants a TOML file"),
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
    with pytest.raises(ConfigError, match="wants a TOML file"):
        read(tmp_path / "none.toml", [])
