"""refdiff as a target: it conforms in both tiers, in every dtype, and does what the contract says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from refdiff.conformance.averaging import DecayRule, Equal, Power
from refdiff.conformance.interface import DType, Own, Target, Unsupported
from refdiff.conformance.judge import Judge
from refdiff.conformance.reference import (
    Reference,
    target,
    target_bare,
    target_bfloat16,
    target_float16,
    target_float64,
)
from tests.meta.test_judge import judged
from validation.checks.suite import checks

pytestmark = pytest.mark.usefixtures("unhooked")
"""Here the suite is tested, and not the types of what it judges: without them refdiff is several times faster."""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_reference_conforms(dtype: DType) -> None:
    """Every clause that has a check passes, MUST and SHOULD; `pytest validation` shows the same of float32.

    Training is left out: it is in float32, whatever the dtype of the claim.
    """
    whole = target(dtype).claim
    report = judged(Reference(replace(whole, capabilities=whole.capabilities - {"fit"})), seed=1)
    assert report.verdict == "conforming"
    # In half precision some bounds are as large as what they bound, times repeat, and a walk is not judged.
    training = {"TRN-4", "TRN-5", "TRN-6"}
    others = {row.clause.id for row in report.rows if row.status not in ("pass", "no_check")} - training
    half = {"DIS-4", "MAR-7", "MAR-8", "SMP-2", "SMP-5", "SMP-6", "SMP-7", "TIM-7"}
    half |= {"SMP-11", "SMP-12", "SMP-13"}
    assert others <= (set() if dtype == "float64" else half)
    assert not [line for row in report.rows for o in row.outcomes for line in o.skipped if "nothing lies" not in line]


@pytest.mark.parametrize("rule", [None, Power(power=0.75, after=5, least=0.1, inv_gamma=2.0), Equal()])
def test_what_needs_no_process_conforms(rule: DecayRule | None) -> None:
    """Averages with each rule of decays, times and guidance conform by themselves; nothing else is claimed."""
    chapters = ("TRN", "CON") if rule else ("TRN", "CON", "TIM", "SMP")
    chosen = [(check, body) for check, body in checks() if check.clause[:3] in chapters]
    outcomes = Judge.of(target_bare("float64", rule)).judge(chosen)
    judged_clauses = {outcome.clause for outcome in outcomes if outcome.status != "not_claimed"}
    assert {outcome.status for outcome in outcomes} == {"pass", "not_claimed"}
    assert judged_clauses >= {"TRN-1", "TRN-2", "TRN-3", "CON-1", *(() if rule else ("SMP-9", "TIM-2"))}


@pytest.mark.parametrize("factory", [target, target_float16, target_bfloat16, target_float64])
def test_factories(factory: partial[Target]) -> None:
    """Each factory gives a target, and a process of a library's own is none of refdiff's."""
    made = factory()
    assert isinstance(made, Target)
    with pytest.raises(Unsupported):
        made.build(Own(label="another's"))
