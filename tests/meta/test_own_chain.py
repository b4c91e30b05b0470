"""A chain of the library's own is judged by identities, at k in 1..N: a right one passes, and faults are seen."""

from __future__ import annotations

import pytest

from refdiff.conformance.check import speaks_of
from refdiff.conformance.interface import Chain, Own, kind_of, steps_of
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.plan import missing, plan
from refdiff.conformance.report import described
from refdiff.errors import ConfigError
from tests.meta.targets.own_chain import BETAS, OWN, OwnChain
from tests.meta.test_steps_targets import failed
from validation.checks.suite import checks

pytestmark = pytest.mark.usefixtures("unhooked")
"""Here the suite is tested, and not the types of the reference, which are checked at every call otherwise."""

FAULTS = {"perturb": "PAR-6", "posterior": "MAR-8", "step": "SMP-5", "times": "TIM-1"}


IDENTITIES = ("SCH-6", "SCH-8", "MAR-3", "MAR-8", "PAR-6", "SMP-5", "TIM-1")
VALUES = ("DIS-1", "DIS-4", "SMP-2", "SCH-3")


@pytest.mark.parametrize("betas", [BETAS, (*BETAS, 1.0)], ids=["plain", "ended"])
def test_right_chain_of_its_own_passes(betas: tuple[float, ...]) -> None:
    """Clauses of identities pass, also where the chain ends in pure noise; those of exact values are not judged."""
    judge = Judge.of(OwnChain(betas=betas), Settings(seed=0))
    outcomes = judge.judge(c for c in checks() if c[0].clause in (*IDENTITIES, *VALUES))
    assert {o.status for o in outcomes} == {"pass", "not_claimed"}, [o.reason for o in outcomes]
    passed = {o.clause for o in outcomes if o.status == "pass"}
    assert (passed >= set(IDENTITIES), passed & set(VALUES)) == (True, set())


def test_complete_judgement_of_a_chain_of_its_own_misses_nothing() -> None:
    """The plan calls for the checks on chains and on processes of the library's own, and for no others."""
    judge = Judge.of(OwnChain(), Settings(seed=0))
    asked = [c for c in checks() if c[0].clause in ("SCH-3", "MAR-3", "DIS-1")]
    rows = [row for row in plan() if row.clause in ("SCH-3", "MAR-3", "DIS-1")]
    target = described(judge.claim, judge.origin, judge.members)
    assert [member["kind"] for member in target["members"]] == ["OwnChain"]
    outcomes = judge.judge(asked)
    assert missing(rows, outcomes, target, {}) == ()
    fewer = [outcome for outcome in outcomes if outcome.clause != "MAR-3"]
    assert {one.clause for one in missing(rows, fewer, target, {})} == {"MAR-3"}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_chain_of_its_own_is_seen(fault: str) -> None:
    """An index that is one off in one method fails the clause that compares it with another."""
    clause = FAULTS[fault]
    assert clause in failed(OwnChain(fault), (clause,))


def test_kinds_of_processes() -> None:
    """A check is on a chain of the library's own if it is on chains and on processes of the library's own."""
    assert (kind_of(OWN), kind_of(Own(label="x")), kind_of(Chain(betas=(0.5,)))) == ("OwnChain", "Own", "Chain")
    assert (steps_of(OWN), steps_of(Own(label="x")), steps_of(Chain(betas=(0.5,)))) == (60, 0, 1)
    assert repr(OWN) == "Own(label='mine', sigma_min=0.0, steps=60)"
    found = [speaks_of(kinds, "OwnChain") for kinds in (("Own", "Chain"), ("Own", "Linear"), ("Chain",))]
    assert found == [True, False, False]


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"steps": 2.0}, {"steps": True}, {"steps": 5, "sigma_min": 0.1}])
def test_steps_of_its_own(wrong: dict[str, float]) -> None:
    """CON-1: steps are counted, and a chain starts at the data."""
    with pytest.raises(ConfigError, match=r"expected (steps|sigma_min) .* \(CON-1\)"):
        Own(label="x", **wrong)  # type: ignore[arg-type]  # the error under test
