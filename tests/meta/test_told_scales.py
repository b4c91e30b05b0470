"""For an `Own` process without `perturb`, the suite judges loss and steps by the target's own schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.interface import Capability, Claim, Own, Process, Quantity
from refdiff.conformance.judge import Judge
from tests.meta.targets.trainer import F, Trainer, alpha_bar_of
from validation.checks.suite import checks

SECH = Own(label="sech")
JUDGED = ("LOS-1", "LOS-2", "LOS-3", "LOS-4", "LOS-7", "SMP-5")
TELLS: Mapping[str, Callable[[Any], dict[Quantity, Any]]] = {
    "alpha and sigma": lambda t: {"alpha": np.sqrt(alpha_bar_of(SECH, t)), "sigma": np.tanh(F(2) * t)},
    "alpha": lambda t: {"alpha": np.sqrt(alpha_bar_of(SECH, t))},
    "alpha_bar": lambda t: {"alpha_bar": alpha_bar_of(SECH, t)},
    "log_alpha_bar": lambda t: {"log_alpha_bar": np.log(alpha_bar_of(SECH, t))},
    "log_snr": lambda t: {"log_snr": np.log(alpha_bar_of(SECH, t) / np.tanh(F(2) * t) ** 2)},
}


@dataclass(frozen=True)
class Told:
    """A target with `schedule`, `loss` and `step`, and without `perturb`; tells: the quantities of its schedule."""

    tells: Callable[[Any], dict[Quantity, Any]]
    of: Trainer = field(default_factory=lambda: Trainer(processes=(SECH,)))
    capabilities: tuple[Capability, ...] = ("schedule", "loss", "step")
    process: Own = SECH

    @property
    def claim(self) -> Claim:
        """Claim the capabilities of this target, for one process of its own."""
        capabilities = frozenset(self.capabilities)
        return Claim(
            name="told", version="1", dtype="float32", processes=(self.process,), capabilities=capabilities, t_min=0.01
        )

    def build(self, process: Process) -> SimpleNamespace:
        """Return the trainer's loss and step, with the coefficients of `tells`."""
        built = self.of.build(process)

        def coefficients(t: Any) -> dict[Quantity, Any]:
            with np.errstate(divide="ignore"):
                return {name: np.asarray(x, dtype=F) for name, x in self.tells(t).items()}

        return SimpleNamespace(coefficients=coefficients, loss=built.loss, step=built.step)


def statuses(target: Told) -> dict[str, set[str]]:
    """Return the statuses of each clause in JUDGED."""
    found: dict[str, set[str]] = {}
    for outcome in Judge.of(target).judge(c for c in checks() if c[0].clause in JUDGED):
        found.setdefault(outcome.clause, set()).add(outcome.status)
    return found


@pytest.mark.parametrize("name", TELLS)
def test_loss_and_steps_are_judged_by_the_schedule(name: str) -> None:
    """LOS, SMP-5: a right target passes; no clause is "not claimed" because `perturb` is missing."""
    assert statuses(Told(TELLS[name])) == {clause: {"pass"} for clause in JUDGED}


def _transition(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Return DDPM's step with the variance of the transition, which is wrong."""
    ratio = t[0] / s[0]
    return (x - (F(1) - ratio) / np.sqrt(F(1) - t[0]) * e) / np.sqrt(ratio) + np.sqrt(F(1) - ratio) * z


def _half_the_noise(x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
    """Return DDIM's step with eta^2 = 1/2, which has the right marginal but is no draw of the posterior."""
    t, s = t[0], s[0]
    share = F(0.5) * (F(1) - t / s * (F(1) - s) / (F(1) - t))
    x_0 = (x - np.sqrt(F(1) - t) * e) / np.sqrt(t)
    return np.sqrt(s) * x_0 + np.sqrt(F(1) - s) * (np.sqrt(F(1) - share) * e + np.sqrt(share) * z)


@pytest.mark.parametrize(
    ("clause", "fault"),
    [
        ("SMP-5", {"ddpm": _transition}),
        ("SMP-5", {"ddpm": _half_the_noise}),
        ("LOS-1", {"target": lambda x_0, eps, a, s, prediction: eps + F(0.01) * x_0}),
    ],
)
@pytest.mark.parametrize("name", ["alpha and sigma", "log_snr"])
def test_fault_fails_without_perturb(name: str, clause: str, fault: dict[str, Any]) -> None:
    """LOS-1, SMP-5: a fault fails its clause, although the claim has no `perturb`."""
    target = Told(TELLS[name], Trainer(processes=(SECH,)).with_fault(**fault))
    found = [o for o in Judge.of(target).judge(c for c in checks() if c[0].clause == clause) if o.status == "fail"]
    assert found
    assert all(o.worst is not None for o in found)


def test_clauses_without_alpha_and_sigma_are_not_claimed() -> None:
    """LOS-1, SMP-5 are not claimed without schedule and perturb, or with `sigma_min` > 0 and no sigma."""
    silent = statuses(Told(TELLS["alpha and sigma"], capabilities=("loss", "step")))
    floored = statuses(Told(TELLS["alpha"], process=Own(label="floor", sigma_min=1e-3)))
    for found in (silent, floored):
        assert found["LOS-1"] == found["SMP-5"] == {"not_claimed"}
