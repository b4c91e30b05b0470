"""Faults that a check once did not see, each planted again."""

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
"""Here the suite is tested, and not the types of what it judges: without them refdiff is several times faster."""

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)


@dataclass(frozen=True)
class Altered:
    """refdiff, claiming one process, with one method replaced."""

    process: Process
    method: str
    by: Callable[..., Any]
    capability: Capability
    right: Reference

    @property
    def claim(self) -> Claim:
        """Claim what is altered, and `perturb`."""
        return Claim(
            name="altered",
            version="1",
            dtype="float32",
            processes=(self.process,),
            capabilities=frozenset({self.capability, "perturb"}),
        )

    def build(self, process: Process) -> object:
        """Return refdiff's own, with the method replaced by one that is given it."""
        right = self.right.build(process)
        methods = {name: getattr(right, name) for name in ("coefficients", "perturb", "convert", "posterior")}
        methods[self.method] = lambda *arguments: self.by(right, *arguments)
        return type("Built", (), {name: staticmethod(method) for name, method in methods.items()})()


def altered(process: Process, method: str, by: Callable[..., Any], capability: Capability) -> Altered:
    """Return refdiff with a fault."""
    return Altered(process, method, by, capability, target())


def sorts_its_times(right: Any, t: Times) -> Any:
    """Return what belongs to the times in order."""
    return right.coefficients(np.sort(t))


def only_for_rank_2(right: Any, value: Array, x_t: Array, t: Times, source: str, to: Parameterization) -> Any:
    """Return zeros for events of another rank than 1."""
    return right.convert(value, x_t, t, source, to) if value.ndim == 2 else np.zeros_like(value)


def nothing_at_zero(right: Any, t: Times) -> Any:
    """Return no quantity if a time is 0."""
    return {} if (t == 0).any() else right.coefficients(t)


def beta_for_the_posterior_variance(right: Any, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """Return beta_k where the posterior's variance is asked for: DDPM's other choice, which is not the posterior's."""
    mean, variance = right.posterior(x_t, x_0, t, s)
    adjacent = s == t - 1
    return mean, np.where(adjacent, np.array(DDPM.betas)[t - 1], variance).astype(np.float32)


def adjacent_only(right: Any, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """Serve adjacent steps only, and those with the wrong variance."""
    if (s != t - 1).any():
        raise Unsupported("adjacent steps only")
    return beta_for_the_posterior_variance(right, x_t, x_0, t, s)


def clips_far_out(right: Any, value: Array, x_t: Array, t: Times, source: str, to: Parameterization) -> Any:
    """Clip x_0 to [-10, 10]."""
    found = right.convert(value, x_t, t, source, to)
    return np.clip(found, -10, 10) if to == "x_0" else found


FAULTS: dict[str, tuple[Altered, str]] = {
    "sorts its times": (altered(LINEAR, "coefficients", sorts_its_times, "schedule"), "NOT-2"),
    "only for rank 2": (altered(LINEAR, "convert", only_for_rank_2, "convert"), "NOT-2"),
    "empty at 0": (altered(LINEAR, "coefficients", nothing_at_zero, "schedule"), "CON-2"),
    "beta_k": (altered(DDPM, "posterior", beta_for_the_posterior_variance, "posterior"), "MAR-7"),
    "adjacent only": (altered(DDPM, "posterior", adjacent_only, "posterior"), "MAR-7"),
    "clips far out": (altered(LINEAR, "convert", clips_far_out, "convert"), "PAR-1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen(name: str) -> None:
    """Each at the clause that one would expect."""
    wrong, clause = FAULTS[name]
    assert clause in failing(judged(wrong), "MUST")


def test_refusing_everything_is_not_conforming() -> None:
    """A target that serves no call was not judged, and a run says so."""

    def refuse(*_: object) -> None:
        raise Unsupported("not today")

    report = judged(altered(LINEAR, "perturb", refuse, "perturb"))
    assert report.verdict == "non-conforming"
    assert report.errors == ("nothing was judged: no clause but those of the contract itself was claimed and served",)


def test_ends_refused_and_the_rest_judged() -> None:
    """A target that refuses t = 0 is judged at every other time."""

    def not_at_zero(right: Any, t: Times) -> Any:
        if (t == 0).any():
            raise Unsupported("t = 0 is not for us")
        found = right.coefficients(t)
        return {name: 1.01 * value if name == "alpha" else value for name, value in found.items()}

    report = judged(altered(LINEAR, "coefficients", not_at_zero, "schedule"))
    assert "MAR-1" in failing(report, "MUST")
    assert any("t = 0 is not for us" in line for row in report.rows for o in row.outcomes for line in o.skipped)


def test_claim_that_raises() -> None:
    """A claim that cannot be read fails CON-1, and the verdict with it."""

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
    """A fault of the suite is told as such, with its traceback: neither a failure of the target nor a pass."""
    (check,) = {check for check, _ in checks() if check.clause == "SCH-1"}

    def crash(case: Case) -> None:
        raise ZeroDivisionError("oh")

    (outcome,) = Judge.of(target()).run(check, crash)
    assert outcome.status == "suite_error"
    assert "the suite itself failed, with ZeroDivisionError: oh" in outcome.reason
    assert all('raise ZeroDivisionError("oh")' in result.traceback for result in outcome.results)


def case() -> Case:
    """Return a case that calls nothing."""
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
def test_expect(got: list[float], want: list[float], bound: list[float], *, fails: bool) -> None:
    """A violation of a bound is found, whatever other processes are claimed."""
    made = case()
    made.expect("q", got, Expected(want, bound), at={"t": np.zeros(len(got))})
    assert made.worst is not None
    assert (made.worst.ratio > 1.0) == fails
    assert (made.worst.beyond > 0) == fails


def test_a_refusal_is_shown_though_others_are_served() -> None:
    """A pair that is not served is in the report, beside the pass of those that are."""

    def no_score(right: Any, value: Array, x_t: Array, t: Times, source: str, to: Parameterization) -> Any:
        if source == "score":
            raise Unsupported("no score here")
        return right.convert(value, x_t, t, source, to)

    report = judged(altered(LINEAR, "convert", no_score, "convert"))
    (row,) = (row for row in report.rows if row.clause.id == "PAR-4")
    assert row.status == "pass"
    assert any("score to x_0: no score here" in line for outcome in row.outcomes for line in outcome.skipped)
