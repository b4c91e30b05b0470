"""Regression tests of the suite: faults that an earlier version of a check did not find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.case import Case
from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.guard import Built
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Linear,
    Own,
    Parameterization,
    Process,
    Times,
    Unsupported,
)
from refdiff.conformance.judge import Judge
from refdiff.conformance.loading import Member
from refdiff.conformance.reference import Reference, target
from tests.meta.test_judge import failing, judged
from validation.checks.suite import checks

pytestmark = pytest.mark.usefixtures("unhooked")
"""These tests are about the suite, so they run refdiff without runtime type checks, which is several times faster."""

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)


@dataclass(frozen=True)
class Altered:
    """A target: refdiff with a claim of one process, and with one method replaced."""

    process: Process
    method: str
    by: Callable[..., Any]
    capability: Capability
    right: Reference

    @property
    def claim(self) -> Claim:
        """Claim the capability of the replaced method, and `perturb`."""
        return Claim(
            name="altered",
            version="1",
            dtype="float32",
            processes=(self.process,),
            capabilities=frozenset({self.capability, "perturb"}),
        )

    def build(self, process: Process) -> object:
        """Return refdiff's object with the method replaced; `by` gets the original object as its first argument."""
        right = self.right.build(process)
        methods = {name: getattr(right, name) for name in ("coefficients", "perturb", "convert", "posterior")}
        methods[self.method] = lambda *arguments: self.by(right, *arguments)
        return type("Built", (), {name: staticmethod(method) for name, method in methods.items()})()


def altered(process: Process, method: str, by: Callable[..., Any], capability: Capability) -> Altered:
    """Return refdiff with one method replaced by a faulty one."""
    return Altered(process, method, by, capability, target())


def beta_for_the_posterior_variance(right: Any, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """Return beta_k, DDPM's other choice for adjacent steps, in place of the variance of the posterior."""
    mean, variance = right.posterior(x_t, x_0, t, s)
    adjacent = s == t - 1
    return mean, np.where(adjacent, np.array(DDPM.betas)[t - 1], variance).astype(np.float32)


def adjacent_only(right: Any, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """Refuse all but adjacent steps, and return the wrong variance for those."""
    if (s != t - 1).any():
        raise Unsupported("adjacent steps only")
    return beta_for_the_posterior_variance(right, x_t, x_0, t, s)


FAULTS: dict[str, tuple[Altered, str]] = {
    "adjacent only": (altered(DDPM, "posterior", adjacent_only, "posterior"), "MAR-7"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_fails_its_clause(name: str) -> None:
    """Each fault fails the MUST clause that it breaks."""
    wrong, clause = FAULTS[name]
    assert clause in failing(judged(wrong), "MUST")


def test_refusing_everything_is_not_conforming() -> None:
    """A target that refuses every call is non-conforming, and the report states that nothing was judged."""

    def refuse(*_: object) -> None:
        raise Unsupported("not today")

    report = judged(altered(LINEAR, "perturb", refuse, "perturb"))
    assert report.verdict == "non-conforming"
    assert report.errors == ("nothing was judged: no clause but those of the contract itself was claimed and served",)


def test_times_that_are_not_refused_are_judged() -> None:
    """A target that refuses t = 0 is judged at all other times, and the report shows the refusal."""

    def not_at_zero(right: Any, t: Times) -> Any:
        if (t == 0).any():
            raise Unsupported("t = 0 is not for us")
        found = right.coefficients(t)
        return {name: 1.01 * value if name == "alpha" else value for name, value in found.items()}

    report = judged(altered(LINEAR, "coefficients", not_at_zero, "schedule"))
    assert "MAR-1" in failing(report, "MUST")
    assert any("t = 0 is not for us" in line for row in report.rows for o in row.outcomes for line in o.skipped)


def test_claim_that_raises_is_an_error() -> None:
    """If reading the claim raises, the target is non-conforming, and the report has the exception."""

    class Broken:
        @property
        def claim(self) -> Claim:
            raise RuntimeError("no claim today")

        def build(self, process: Process) -> object:
            return process

    report = judged(Broken())
    assert report.verdict == "non-conforming"
    assert report.errors == ("the target did not load: reading the claim raised RuntimeError: no claim today",)


def test_a_check_that_crashes_is_a_suite_error() -> None:
    """An exception in a check is a suite error with its traceback, neither a failure of the target nor a pass."""
    (check,) = {check for check, _ in checks() if check.clause == "SCH-2"}

    def crash(case: Case) -> None:
        raise ZeroDivisionError("oh")

    (outcome,) = Judge.of(target()).run(check, crash)
    assert outcome.status == "suite_error"
    assert "the suite itself failed, with ZeroDivisionError: oh" in outcome.reason
    assert all('raise ZeroDivisionError("oh")' in result.traceback for result in outcome.results)


def case() -> Case:
    """Return a case whose target is None, so that no call is possible."""
    return Case(
        member=Member(process=Own(label="x"), expression="x"),
        built=Built(None, FORMATS["float32"], 1.0, is_chain=False),
        origin="",
        name="n",
        claim=Claim(
            name="n",
            version="1",
            dtype="float32",
            processes=(Own(label="x"),),
            capabilities=frozenset(),
        ),
        others=lambda process: Built(None, FORMATS["float32"], 1.0, is_chain=False),
        seed=0,
        full=False,
    )


@pytest.mark.parametrize(
    ("got", "want", "bound", "fails"),
    [
        ([5.0, -2e7], [1.0, np.inf], [0.1, np.inf], True),  # an empty bound hides no other failure
        ([1.0, -2e7], [1.0, np.inf], [0.1, np.inf], False),
        ([np.nan], [0.0], [np.inf], True),
        ([np.inf], [np.inf], [0.0], False),
        ([-np.inf], [np.inf], [0.0], True),
        ([0.0], [0.0], [0.0], False),
        ([1e-300], [0.0], [0.0], True),
        ([1.0], [1.0], [np.nan], True),
    ],
)
def test_expect_finds_each_violation(got: list[float], want: list[float], bound: list[float], *, fails: bool) -> None:
    """`expect` fails exactly if an element exceeds its tolerance; an infinite tolerance hides no other element."""
    made = case()
    made.expect("q", got, Expected(want, bound), at={"t": np.zeros(len(got))})
    assert made.worst is not None
    assert (made.worst.ratio > 1.0) == fails
    assert (made.worst.beyond > 0) == fails


def test_report_shows_a_refused_pair_beside_a_pass() -> None:
    """If a target refuses one pair of parameterizations, the clause passes by the others, and the report names it."""

    def no_score(right: Any, value: Array, x_t: Array, t: Times, source: str, to: Parameterization) -> Any:
        if source == "score":
            raise Unsupported("no score here")
        return right.convert(value, x_t, t, source, to)

    report = judged(altered(LINEAR, "convert", no_score, "convert"))
    (row,) = (row for row in report.rows if row.clause.id == "PAR-4")
    assert row.status == "pass"
    assert any("score to x_0: no score here" in line for outcome in row.outcomes for line in outcome.skipped)
