"""A claim that lists predictions or conversions: these are judged whole, and the report names the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from refdiff.conformance.clauses import clauses, spec_folder
from refdiff.conformance.compare.changes import compared, text
from refdiff.conformance.environment import environment
from refdiff.conformance.html.claims import advice
from refdiff.conformance.html.page import page
from refdiff.conformance.interface import Capability, Chain, Claim, Linear, Parameterization, Unsupported
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.portable import dumped
from refdiff.conformance.render import unjudged
from refdiff.conformance.report import Report, assemble, described
from refdiff.conformance.stored import stored
from validation.checks.suite import checks
from validation.faults.catalogue import named
from validation.faults.clean.target import EVERYTHING, Clean, CleanTarget

pytestmark = pytest.mark.usefixtures("unhooked")
"""These tests are about the suite, so they run refdiff without runtime type checks, which is several times faster."""

PREDICTIONS = get_args(Parameterization)
PROCESSES = (Linear(beta_min=0.1, beta_max=20.0), Chain(betas=(0.05, 0.1, 0.2, 0.4)))
LOSSES = {"eps": "LOS-1 LOS-2 LOS-3 LOS-4 LOS-6", **dict.fromkeys(("x_0", "v", "score"), "LOS-1 LOS-2 LOS-3 LOS-4")}
PAIRS = {
    "eps": ([("eps", "x_0")], "PAR-1 PAR-6 PAR-8"),
    "x_0": ([("x_0", "eps")], "PAR-2 PAR-6 PAR-8"),
    "v": ([("v", "x_0"), ("v", "eps")], "PAR-3 PAR-6 PAR-7 PAR-8"),
    "score": ([("score", "x_0"), ("score", "eps")], "PAR-4 PAR-6 PAR-7 PAR-8"),
}
"""By the one prediction: what a library converts it to, and the clauses that are judged by that."""


def only(served: Callable[[str, tuple[Any, ...]], bool]) -> dict[str, Callable[..., Any]]:
    """Return `loss` and `convert` of a library that serves some calls, which tell its predictions."""

    def loss(self: Clean, *arguments: Any) -> Any:
        if not served("loss", arguments):
            raise Unsupported("another prediction")
        return Clean.loss(self, *arguments)

    def convert(self: Clean, *arguments: Any) -> Any:
        if not served("convert", arguments):
            raise Unsupported("another conversion")
        return Clean.convert(self, *arguments)

    return {"loss": loss, "convert": convert}


def claim(*capabilities: Capability, **narrow: Any) -> Claim:
    """Return a claim of losses of one weight, or what else is told."""
    fields = {**EVERYTHING, "weights": ("uniform",), "processes": PROCESSES, "dtype": "float32", **narrow}
    del fields["samplers"]
    return Claim(**{**fields, "capabilities": frozenset({"perturb", *capabilities})})


def judged(claim: Claim, replaced: Mapping[str, Callable[..., Any]], *prefixes: str, required: str = "") -> Report:
    """Return the report on a target, with the clauses of these prefixes judged."""
    judge = Judge.of(CleanTarget(claim, replaced), Settings(seed=3))
    found = judge.judge((c, b) for c, b in checks() if c.clause.startswith(prefixes))
    rows = [clause for clause in clauses().values() if clause.id.startswith(prefixes)]
    target = described(claim, "t", judge.members)
    where = environment(seed=3, full=False, evidence_run=False, in_process=True)
    return assemble(rows, found, target=target, environment=where, required=required.split())


def verdicts(report: Report) -> dict[str, str]:
    """Return by clause what the report says, parts included."""
    return {row.clause.id: f"{row.word}, in part" if row.in_part else row.word for row in report.rows}


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_one_prediction_is_judged_whole(prediction: Parameterization) -> None:
    """LOS-1 is required of a library with one prediction, and passes whole; what has no such prediction is not claimed.

    The report names the predictions that the claim lacks, and the clauses of which a part is not claimed so.
    """
    served = only(lambda _, arguments: arguments[1] == prediction)
    report = judged(claim("loss", predictions=(prediction,)), served, "LOS", "NOT", "CON", required="LOS-1")
    found = verdicts(report)
    assert {word for clause, word in found.items() if word not in ("no check", "not claimed")} == {"pass"}
    assert {clause for clause, word in found.items() if word == "pass"} >= {*LOSSES[prediction].split(), "NOT-2"}
    assert found["LOS-5"] == "not claimed"
    assert report.verdict == "conforming"
    assert report.target["predictions"] == [prediction]
    lines = [line for line in unjudged(report) if line.startswith("a part not claimed")]
    lacks = [line.removeprefix("a part not claimed, as the claim lists no prediction ").split(": ") for line in lines]
    assert [name for name, _ in lacks] == [one for one in PREDICTIONS if one != prediction]
    assert all("LOS-1" in where for _, where in lacks)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_one_prediction_is_judged_in_part_of_a_wide_claim(prediction: str) -> None:
    """Without the field the library is asked for all, and LOS-1 cannot be required."""
    served = only(lambda _, arguments: arguments[1] == prediction)
    assert verdicts(judged(claim("loss"), served, "LOS-1"))["LOS-1"] == "pass, in part"
    (row, *_) = judged(claim("loss"), served, "LOS-1", required="LOS-1").rows
    assert row.reason.startswith("required, but judged in part: ")


def test_file_and_page_show_what_is_not_claimed() -> None:
    """The file has what the claim lists and lacks, the page says how to claim it, and a comparison names both."""
    schema = json.loads((spec_folder() / "report.schema.json").read_text(encoding="utf-8"))
    wide, narrow = (judged(claim("loss", **more), {}, "LOS-3") for more in ({}, {"predictions": ("eps", "x_0")}))
    old, new = (json.loads(dumped(report.as_json())) for report in (wide, narrow))
    Draft202012Validator(schema).validate(new)
    back = stored(new)
    assert unjudged(back.report) == unjudged(narrow) != unjudged(wide)
    entries = {one.lacks: (one.how, one.clauses) for one in advice(back.report)}
    how = "add v to predictions, if the library has it"
    assert entries["the claim lists no prediction v"] == (how, "more of LOS-3")
    assert how in page(back)
    assert "<dt>predictions</dt><dd>eps, x_0</dd>" in page(back)
    assert "differs: predictions: all -> eps, x_0" in text(compared(stored(old), back))


def test_claimed_prediction_that_is_refused_is_told() -> None:
    """A claim of two predictions, of which one is refused, is judged in part; a claim of that one alone, not at all."""
    served = only(lambda _, arguments: arguments[1] == "eps")
    assert verdicts(judged(claim("loss", predictions=("eps", "v")), served, "LOS-1"))["LOS-1"] == "pass, in part"
    report = judged(claim("loss", predictions=("v",)), served, "LOS-1", "CON-1")
    assert verdicts(report)["LOS-1"] == "unsupported"
    assert "all" in next(row.reason for row in report.rows if row.clause.id == "CON-1")


@pytest.mark.parametrize(
    ("fault", "prediction"),
    [
        ("loss-data-for-noise", "eps"),
        ("loss-noise-scaled", "eps"),
        ("loss-v-negated", "v"),
        ("loss-score-by-variance", "score"),
    ],
)
def test_fault_in_the_claimed_prediction_is_found(fault: str, prediction: Parameterization) -> None:
    """A wrong objective fails LOS-1 under a claim of its prediction, and passes under a claim of another."""
    wrong = {named(fault).formula: named(fault).by}
    assert verdicts(judged(claim("loss", predictions=(prediction,)), wrong, "LOS-1"))["LOS-1"] == "fail"
    assert verdicts(judged(claim("loss", predictions=("x_0",)), wrong, "LOS-1"))["LOS-1"] == "pass"


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_conversions_of_one_prediction_are_judged_whole(prediction: Parameterization) -> None:
    """A library that converts its prediction to x_0 and eps is judged whole on that, and on nothing else."""
    pairs, expected = PAIRS[prediction]
    served = only(lambda _, arguments: arguments[3:] in pairs)
    report = judged(claim("convert", predictions=(prediction,)), served, "PAR", "NOT", "CON")
    found = verdicts(report)
    assert {word for word in found.values() if word not in ("no check", "not claimed")} == {"pass"}
    passed = {clause for clause, word in found.items() if word == "pass"}
    assert {clause for clause in passed if clause.startswith("PAR")} == set(expected.split())
    assert "NOT-2" in passed


def test_listed_conversions_are_judged_whole() -> None:
    """Conversions that the claim lists are asked for, whatever its predictions are, and no others."""
    pairs = (("eps", "score"), ("x_0", "eps"), ("eps", "x_0"))
    served = only(lambda method, arguments: arguments[1] == "v" if method == "loss" else arguments[3:] in pairs)
    narrow = claim("loss", "convert", predictions=("v",), conversions=pairs)
    report = judged(narrow, served, "PAR", "LOS-1", "CON")
    found = verdicts(report)
    assert {word for word in found.values() if word not in ("no check", "not claimed")} == {"pass"}
    assert {clause for clause in found if found[clause] == "pass"} >= {"PAR-1", "PAR-2", "PAR-4", "PAR-5", "PAR-6"}
    assert found["PAR-3"] == found["PAR-7"] == "not claimed"
    assert "PAR-3" in next(line for line in unjudged(report) if "no conversion v to x_0" in line)
    assert report.target["conversions"] == ["eps to score", "x_0 to eps", "eps to x_0"]


def test_fault_in_a_claimed_conversion_is_found() -> None:
    """A wrong conversion fails its clause under a claim of its source, and is not asked for under another."""
    wrong = {"x_0_from_v": lambda self, v, x, a, s: a * x + s * v}
    assert verdicts(judged(claim("convert", predictions=("v",)), wrong, "PAR-3"))["PAR-3"] == "fail"
    assert verdicts(judged(claim("convert", predictions=("eps",)), wrong, "PAR-3"))["PAR-3"] == "not claimed"
