"""Chapters 1 and 10: a library with steps of one length, or with sigma and the rate alone, is judged all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Capability, Claim, Linear, Process, Target, Unsupported
from refdiff.conformance.judge import Judge
from tests.meta.targets.trainer import F, Trainer
from tests.meta.test_told_scales import Told
from validation.checks.suite import checks

LINEAR = Linear(beta_min=0.1, beta_max=20.0)


@dataclass(frozen=True)
class OneLength:
    """A target with steps of the length 1/64 alone, of em and ode."""

    of: Target

    @property
    def claim(self) -> Claim:
        """Claim `step` alone."""
        claimed: frozenset[Capability] = frozenset({"step"})
        return replace(self.of.claim, capabilities=claimed)

    def build(self, process: Process) -> Any:
        """Return an object that refuses other steps."""
        built: Any = self.of.build(process)

        def step(x_t: Any, eps_hat: Any, t: Any, s: Any, noise: Any, rule: Any) -> Any:
            if (t.astype(np.float64) - s != 1 / 64).any():
                raise Unsupported("steps of 1/64 only")
            return built.step(x_t, eps_hat, t, s, noise, rule)

        return SimpleNamespace(step=step)


def status(target: Target, clause: str) -> str:
    """Return what the checks of a clause say of a target, for the first of the checks that judges it."""
    found = [o.status for o in Judge.of(target).judge(c for c in checks() if c[0].clause == clause)]
    return next((one for one in found if one not in ("not_claimed", "unsupported")), found[0])


@pytest.mark.parametrize("clause", ["SMP-1", "SMP-4"])
def test_right_steps_of_one_length_pass(clause: str) -> None:
    """SMP-1, SMP-4: steps of 1/64 are asked for, so that a library that has no others is judged, and passes."""
    assert status(OneLength(Trainer(processes=(LINEAR,))), clause) == "pass"


WRONG_STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "em, drift 0.1% short": (
        "SMP-1",
        {"em": lambda x, e, z, h, b, s: x + h * (F(0.4995) * b * x - b * e / s) + np.sqrt(b * h) * z},
    ),
    "ode with sigma^2": ("SMP-4", {"ode": lambda x, e, h, b, s: x + F(0.5) * h * b * (x - e / s**2)}),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_wrong_steps_of_one_length_fail(name: str) -> None:
    """SMP-1, SMP-4: a fault of these steps is seen."""
    clause, formulas = WRONG_STEPS[name]
    assert status(OneLength(Trainer(processes=(LINEAR,)).with_fault(**formulas)), clause) == "fail"


@pytest.mark.parametrize(("factor", "verdict"), [(4.0, "pass"), (2.0, "fail")])
def test_sigma_alone_is_held_against_the_integral_of_the_rate(factor: float, verdict: str) -> None:
    """SCH-3: of sigma = tanh(2t) the rate is 4 tanh(2t), and half of it fails."""
    target = Told(
        lambda t: {"sigma": np.tanh(F(2) * t), "beta": F(factor) * np.tanh(F(2) * t)}, capabilities=("schedule",)
    )
    assert status(target, "SCH-3") == verdict
