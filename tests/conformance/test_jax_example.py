"""The example in JAX, compiled by jit: right in 32 and in 64 bits, and a planted fault is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from refdiff.conformance.judge import Judge
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.remote import Launch
from tests.conformance.programs import EXAMPLES, plant
from validation.checks.suite import checks

WANTED = ("test_shapes_and_dtypes", "test_same_call_same_result", "test_calls_return", "test_sigma", "test_loss")
"""Checks of few shapes each, as JAX compiles every shape anew."""


def judged(folder: Path, factory: str, *names: str) -> list[Outcome]:
    """Return what these checks find of the example in a folder."""
    judge = Judge.of(f"jax_refdiff:{factory}", folder=folder, launch=Launch())
    assert judge.load_failure is None
    return judge.judge((check, body) for check, body in checks() if body.__name__ in names)


@pytest.mark.parametrize(("factory", "bits"), [("single", 32), ("single", 64), ("double", 32)])
def test_right_target_conforms(factory: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether JAX starts with 64 bits or not, each factory computes in the dtype that it claims."""
    monkeypatch.setenv("JAX_ENABLE_X64", str(int(bits == 64)))
    outcomes = judged(EXAMPLES, factory, *WANTED)
    assert {o.check for o in outcomes if o.status == "pass"} == set(WANTED)
    assert {o.clause: o.reason for o in outcomes if o.status not in ("pass", "not_claimed")} == {}


def test_wrong_target_fails(tmp_path: Path) -> None:
    """A variance for a standard deviation."""
    change = ("jnp.sqrt(-jnp.expm1(log_alpha_bar))", "-jnp.expm1(log_alpha_bar)")
    plant(tmp_path, "jax_refdiff.py", change)
    assert {o.status for o in judged(tmp_path, "single", "test_sigma")} == {"fail"}
