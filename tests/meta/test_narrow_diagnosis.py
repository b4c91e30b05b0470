"""Diagnosis of a library that has little: what it lacks or refuses is no fault, and what it has wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.diagnosis import Diagnosis, concluded, searched
from refdiff.conformance.html.page import page
from refdiff.conformance.interface import Claim, Linear, Process, Unsupported
from refdiff.conformance.judge import Judge
from refdiff.conformance.report import assemble, described
from refdiff.conformance.stored import stored
from validation.checks.suite import checks

F = np.float32
LINEAR = Linear(beta_min=0.1, beta_max=20.0)


@dataclass(frozen=True)
class Narrow:
    """A float32 library with three quantities, noising, and the score from eps alone; sigma cancels."""

    power: int = 1
    """The score is -eps/sigma^power."""

    @property
    def claim(self) -> Claim:
        """Claim what it has."""
        capabilities: Any = frozenset({"schedule", "perturb", "convert"})
        return Claim(name="narrow", version="1", dtype="float32", processes=(LINEAR,), capabilities=capabilities)

    def build(self, process: Process) -> SimpleNamespace:
        """Return its functions."""

        def coefficients(t: Any) -> dict[str, Any]:
            log = -(F(0.1) * t + F(9.95) * t * t)
            return {"log_alpha_bar": log, "alpha": np.exp(log / 2), "sigma": np.sqrt(1 - np.exp(log))}

        def over(t: Any, x: Any) -> tuple[Any, Any]:
            q = coefficients(t)
            alpha, sigma = (q[name].reshape((-1,) + (1,) * (x.ndim - 1)) for name in ("alpha", "sigma"))
            return alpha, sigma

        def perturb(x_0: Any, eps: Any, t: Any) -> Any:
            alpha, sigma = over(t, x_0)
            return alpha * x_0 + sigma * eps

        def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
            _, sigma = over(t, x_t)
            if (source, to) != ("eps", "score") or (sigma == 0).any():
                raise Unsupported(f"no conversion from {source} to {to}, or sigma = 0")
            return -value / sigma**self.power

        return SimpleNamespace(coefficients=coefficients, perturb=perturb, convert=convert)


def diagnosed(target: Narrow) -> tuple[Diagnosis, str]:
    """Return the diagnosis, and the page of the report that has it."""
    judge = Judge.of(target)
    outcomes = judge.judge(checks())
    found = concluded([searched("validation", judge, (), 60.0)])
    shown = described(judge.claim, "", judge.members)
    report = assemble(clauses().values(), outcomes, target=shown, diagnosis=found)
    return found, page(stored(report.as_json()))


def test_what_a_library_lacks_or_refuses_is_no_fault() -> None:
    """Right code without half of the quantities, which refuses most calls and cancels, has no suspect."""
    found, _ = diagnosed(Narrow())
    assert found.suspects == ()


def test_what_is_wrong_is_named_in_spite_of_cancellation() -> None:
    """The one wrong conversion has one suspect, which does not explain the lost digits; the page says so too."""
    found, text = diagnosed(Narrow(power=2))
    assert [suspect.faults for suspect in found.suspects] == [("convert-score-over-the-variance",)]
    assert found.suspects[0].outputs == ("score from eps",)
    assert not found.suspects[0].confident
    assert "convert-score-over-the-variance" in text


@pytest.mark.parametrize("power", [1, 2])
def test_diagnosis_survives_json(power: int) -> None:
    """What is read from the report is what was found."""
    found, _ = diagnosed(Narrow(power=power))
    assert Diagnosis.from_json(found.as_json()) == found
