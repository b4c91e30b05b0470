"""The suite on libraries: it tells a library's bug from its repair. A library that is not installed is skipped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from refdiff.conformance.interface import Sampler
from refdiff.conformance.judge import Judge, Settings
from tests.repaired import reab
from validation.checks.suite import checks

pytestmark = pytest.mark.filterwarnings("ignore")

OF_ORDER_2 = Sampler(name="reab", prediction="x_0", order=2)


def _failures(sampler: type) -> list[str]:
    """Return what SMP-11 finds against a sampler of azula that is claimed to be of order 2."""
    from validation.targets.azula_samplers import target

    judged: Any = target("REABSampler", (OF_ORDER_2,), SimpleNamespace(reab=sampler))
    outcomes = Judge.of(judged).judge(c for c in checks() if c[0].clause == "SMP-11")
    assert {outcome.status for outcome in outcomes} <= {"pass", "fail"}
    return [outcome.reason for outcome in outcomes if outcome.status == "fail"]


def test_azulas_reab_sampler_is_told_from_its_repair() -> None:
    """SMP-11: the order 1.05 of the library's class fails, over a run and over a step; the repaired class passes."""
    sample = pytest.importorskip("azula.sample")
    order, local = _failures(sample.REABSampler)
    assert "order of convergence of reab" in order
    assert "got 1.0" in order
    assert "local order after short steps of reab" in local
    assert _failures(reab()) == []


@pytest.mark.parametrize("origin", ["azula_samplers:each", "k_diffusion:samplers", "smalldiffusion:ddpm"])
def test_samplers_of_libraries_have_their_orders(origin: str) -> None:
    """SMP-11, SMP-12: every other sampler has the order of its documentation, and the exact ones are exact."""
    pytest.importorskip(origin.split(":")[0].split("_samplers")[0])
    judge = Judge.of(f"validation.targets.{origin}", Settings(seconds=60.0))
    outcomes = judge.judge(c for c in checks() if c[0].clause in ("SMP-11", "SMP-12"))
    assert {outcome.check: outcome.reason for outcome in outcomes if outcome.status == "fail"} == {}
    assert {outcome.clause for outcome in outcomes if outcome.status == "pass"} == {"SMP-11", "SMP-12"}
