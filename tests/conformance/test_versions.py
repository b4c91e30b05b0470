"""The two versions of the contract: what each is asked, told, and held to."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from refdiff.conformance import protocol
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.guard import Built
from refdiff.conformance.interface import Claim, Linear, Unsupported
from refdiff.conformance.report import described
from refdiff.conformance.step import STEPS, Step
from refdiff.conformance.versions import ADVICE, advice, warn
from tests.meta.targets.stepper import Stepper
from tests.meta.test_judge import failing, judged

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
CLAIM = Claim(name="n", version="1", dtype="float32", processes=(LINEAR,), capabilities=frozenset({"step"}))
SCHEMA = json.loads((Path(__file__).parents[2] / "spec" / "protocol.schema.json").read_text())
V = Step(kind="ddim", prediction="v", eta=0.5)


@pytest.mark.parametrize(("contract", "rule"), [(1, "ddim"), (2, STEPS[2])])
def test_each_version_is_given_its_own_argument(contract: int, rule: object) -> None:
    """Version 1 gets the name of a rule, version 2 the step."""
    given: list[object] = []

    def step(x_t: Any, value: Any, t: Any, s: Any, noise: Any, asked: object) -> Any:
        given.append(asked)
        return x_t

    x = np.ones((1, 2), np.float32)
    built = Built(SimpleNamespace(step=step), FORMATS["float32"], 5.0, False, contract=contract)
    built.step(x, x, x[:, 0], x[:, 0], x, STEPS[2])
    assert given == [rule]


def test_steps_and_claims_of_version_2_cross_the_protocol() -> None:
    """A step and a claim come back equal, by messages of the schema; nonsense for a step is refused."""
    message = json.loads(protocol.pack({"id": 1, "result": protocol.encode(V)}))
    Draft202012Validator(SCHEMA).validate(message)
    assert protocol.decode(message["result"]) == V
    claim = replace(CLAIM, contract=2, steps=(V, Step(kind="ddpm", variance="beta")))
    hello = json.loads(protocol.pack({"protocol": 1, "claim": protocol.encode_claim(claim)}))
    Draft202012Validator(SCHEMA).validate(hello)
    assert protocol.decode_claim(hello["claim"]) == claim
    for wrong in ({"step": {"kind": "rk4"}}, {"step": {"kinds": "em"}}, {"step": "em"}):
        with pytest.raises(protocol.Malformed):
            protocol.decode(wrong)
    with pytest.raises(protocol.Malformed):
        protocol.decode_claim({**hello["claim"], "steps": "em"})


def test_a_claim_of_version_1_is_told_what_to_change() -> None:
    """It is told so if it claims `step`, which version 2 changed, and else not."""
    assert advice(described(CLAIM, "m:f")) == ADVICE
    others = (replace(CLAIM, contract=2), replace(CLAIM, capabilities=frozenset({"perturb"})), None)
    assert [advice(described(claim, "m:f")) for claim in others] == ["", "", ""]


def test_the_warning_is_no_error_under_a_strict_filter() -> None:
    """It goes to pytest's summary, whatever the filters of the session make of warnings."""
    shown: list[Any] = []
    hook = SimpleNamespace(call_historic=lambda kwargs: shown.append(kwargs["warning_message"]))
    config: Any = SimpleNamespace(hook=SimpleNamespace(pytest_warning_recorded=hook))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn(config, ADVICE)
    (message,) = shown
    assert (message.category, str(message.message)) == (UserWarning, f"refdiff: {ADVICE}")


def test_a_listed_step_that_is_never_served_fails() -> None:
    """CON-1: a step of the claim is served at least once; which one it is stands in the report."""

    class Refusing(Stepper):
        def build(self, process: Any) -> Any:
            made = super().build(process)

            def step(x_t: Any, value: Any, t: Any, s: Any, noise: Any, rule: Step) -> Any:
                if rule == V:
                    raise Unsupported("no v")
                return made.step(x_t, value, t, s, noise, rule)

            return SimpleNamespace(step=step)

    steps = (Step(kind="ddim"), V)
    assert "CON-1" not in failing(judged(Stepper(steps, (LINEAR,))), "MUST")
    report = judged(Refusing(steps, (LINEAR,)))
    (row,) = (row for row in report.rows if row.clause.id == "CON-1")
    assert row.status == "fail"
    assert "the claim lists the step 'ddim of v with eta 0.5', and all" in row.reason
