"""Rules of the contract that several methods break: each method has its line, and an error on a shape its hint."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from refdiff.conformance import terminal
from refdiff.conformance.broken import First, advice, is_of_a_shape, told
from refdiff.conformance.calls import one_line
from refdiff.conformance.clauses import clauses
from refdiff.conformance.html import page
from refdiff.conformance.interface import METHODS, Claim, Linear, Process
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.markdown import markdown
from refdiff.conformance.outcome import Outcome, Result
from refdiff.conformance.report import Report, Row, assemble, described
from refdiff.conformance.stored import stored
from tests.conformance.test_report import ENVIRONMENT, SCHEMA
from validation.checks.suite import checks


class Raising:
    """A target of images, each method of which raises an exception of its own."""

    def __init__(self, events: tuple[tuple[int, ...], ...] | None = None) -> None:
        """Take the shapes of events of the claim."""
        self.claim = Claim(
            name="raising",
            version="1",
            dtype="float32",
            processes=(Linear(beta_min=0.1, beta_max=20.0),),
            capabilities=frozenset({"perturb", "loss", "guide"}),
            events=events,
        )

    def build(self, process: Process) -> Raising:
        """Return itself."""
        return self

    def perturb(self, x_0: Any, eps: Any, t: Any) -> Any:
        """Raise an error on a shape."""
        return x_0.reshape(len(t), 3, 8, 8)

    def loss(self, *_: Any) -> Any:
        """Raise another error."""
        raise TypeError("no loss today")

    def guide(self, conditional: Any, unconditional: Any, scale: float) -> Any:
        """Return a result of a wrong dtype."""
        return conditional.astype(np.float64)


def report_on(made: Any, *, only: str = "", seconds: float = 20.0) -> Report:
    """Return the report on a target by the checks of the contract, or of one of its rules."""
    judge = Judge.of(made, Settings(seconds=seconds))
    chosen = [pair for pair in checks() if pair[0].clause.startswith(only or "CON-")]
    return assemble(
        clauses().values(), judge.judge(chosen), target=described(judge.claim, judge.origin), environment=ENVIRONMENT
    )


def row_of(report: Report, clause: str = "CON-5") -> Row:
    """Return the row of a clause."""
    return next(row for row in report.rows if row.clause.id == clause)


def test_each_method_that_raises_has_one_line() -> None:
    """Unlike exceptions of two methods are two lines in the terminal, report.md, report.html and report.json."""
    report = report_on(Raising())
    lines = [line for line in terminal.problems(report) if "CON-5 fail" in line]
    assert len(lines) == 2
    data = json.loads(json.dumps(report.as_json()))
    Draft202012Validator(SCHEMA).validate(data)
    firsts = {one["method"]: one for one in next(row for row in data["clauses"] if row["id"] == "CON-5")["methods"]}
    assert set(firsts) == {"perturb", "loss"}
    shown = html.unescape(page(stored(data)))
    for method, kind, line in (("perturb", "ValueError", lines[0]), ("loss", "TypeError", lines[1])):
        assert f"{method} raised {kind}" in line
        assert firsts[method]["sentence"] in line
        for text in (markdown(report), shown):
            assert f"{method} raised {kind}" in text
    assert all("guide" not in line for line in lines)


def test_a_check_of_a_rule_finds_each_method_that_breaks_it() -> None:
    """The check of CON-5 alone, and that of CON-2, go on after the first method."""
    assert {first.method for first in row_of(report_on(Raising(), only="CON-5")).methods} == {"perturb", "loss"}
    assert [first.method for first in row_of(report_on(Raising(), only="CON-2"), "CON-2").methods] == ["guide"]


def test_one_method_has_one_line_and_the_number_of_its_other_failures() -> None:
    """Any number of failures of a method on any number of processes are one line."""
    results = [
        Result(process=f"P{i}", status="fail", failures=(f"{name} raised E{i}",), broken=("CON-5",), methods=(name,))
        for i in range(9)
        for name in ("loss", "step")
    ]
    outcome = Outcome(clause="CON-5", check="c", status="fail", reason="P0: loss raised E0", results=tuple(results))
    row = row_of(assemble(clauses().values(), [outcome], target=described(None, "m:f")))
    assert told(row.reason, row.methods) == [
        "P0: loss raised E0 (and 8 more failures of loss)",
        "P0: step raised E0 (and 8 more failures of step)",
    ]
    assert told("known: P0: step raised E0", row.methods)[0] == "known: P0: step raised E0"
    assert len(told("known: P0: step raised E0", row.methods)) == 2


def test_a_call_that_was_not_made_is_no_failure_of_its_method() -> None:
    """After a hang, and after the end of the process, other calls are told as what they are: not made."""
    sentences = ("loss did not return within 1 s, and is not called again", "step is not called: it ended")
    results = tuple(
        Result(process="P", status="fail", failures=(line,), broken=("CON-5",), methods=(line.split()[0],))
        for line in sentences
    )
    outcome = Outcome(clause="CON-5", check="c", status="fail", reason=f"P: {sentences[0]}", results=results)
    assert row_of(assemble(clauses().values(), [outcome], target=described(None, "m:f"))).methods == ()


def test_an_error_on_a_shape_has_a_hint() -> None:
    """The hint names the claim's field, unless the claim has it, and the methods that raised such an error only."""
    hint = row_of(report_on(Raising(), only="CON-5")).hint
    assert hint.startswith("perturb raised an error on a shape: the claim field `events` says which shapes")
    assert f"hint: {hint}" in "\n".join(terminal.problems(report_on(Raising(), only="CON-5")))
    assert row_of(report_on(Raising(events=((2, 2),)), only="CON-5")).hint == ""
    assert advice([First("times", "P", "times raised ValueError: wrong shape", 0)], has_events=False) == ""
    assert {"drift", "convert", "step"} < {method for methods in METHODS.values() for method in methods}


A = np.ones((2, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: A + np.ones(2),
        lambda: A @ A,
        lambda: A.reshape(4, 4),
        lambda: A[0, 0, 0],
        lambda: A.transpose(0, 2, 1),
        lambda: [c for _, c, _, _ in [A]],
        lambda: np.concatenate([A, np.ones(2)]),
        lambda: np.squeeze(A, axis=1),
    ],
    ids=["sum", "product", "reshape", "index", "transpose", "unpack", "concatenate", "squeeze"],
)
def test_errors_of_numpy_on_shapes_are_known(call: Callable[[], object]) -> None:
    """What NumPy and Python raise for a wrong rank or size is an error on a shape."""
    with pytest.raises((ValueError, IndexError)) as caught:
        call()
    assert is_of_a_shape(f"perturb raised {one_line(caught.value)}")


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (
            "RuntimeError: The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 1",
            True,
        ),
        ("RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x2 and 64x128)", True),
        ("RuntimeError: Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of [5, 2]", True),
        ("IndexError: Dimension out of range (expected to be in range of [-1, 0], but got 1)", True),
        ("TypeError: add got incompatible shapes for broadcasting: (2,), (3,).", True),
        ("ShapeError: no", True),
        ("OutOfMemoryError: CUDA out of memory, an array of shape (9,)", False),
        ("MemoryError: Unable to allocate 3 GiB for an array with shape (9,)", False),
        ("KeyError: 'reshaped'", False),
        ("ValueError: expected t in [0, 1]", False),
        ("IndexError: index 1000 is out of bounds", False),
    ],
)
def test_errors_on_shapes(error: str, is_one: bool) -> None:
    """Messages of torch and JAX on shapes are known, and errors on memory, keys and values are none."""
    assert is_of_a_shape(f"perturb raised {error}") is is_one
    assert not is_of_a_shape(f"expected perturb of shape (2,), got {error}")
