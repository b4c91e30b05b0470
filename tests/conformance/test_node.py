"""A target that is no Python: JavaScript on Node, through the protocol."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Cosine, Linear
from refdiff.conformance.judge import Judge
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.remote import Launch, Remote
from tests.conformance.programs import EXAMPLES, plant
from validation.checks.suite import checks

SCRIPT = EXAMPLES / "target.js"
NARROW = (
    'processes: ["Linear", "Cosine", "Chain"],',
    'processes: [{ kind: "Linear", beta_min: 0.1, beta_max: 20 }, { kind: "Chain", betas: [0.02, 0.1, 0.4, 0.7] }],',
)
FAULTS = {
    "MAR-2": ("sigma: Math.sqrt(variance)", "sigma: variance"),
    "PAR-4": ("score: -eps / sigma }", "score: eps / sigma }"),
    "LOS-8": ("Math.min(bar / rest, gamma)", "Math.max(bar / rest, gamma)"),
    "SMP-2": ('rule.variance === "beta" &&', 'rule.variance === "posterior" &&'),
}
CLAUSES = ("SCH", "MAR", "PAR", "DIS", "CON", "NOT", "NUM")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the path")


def judged(script: Path, *clauses: str) -> list[Outcome]:
    """Return what the checks of these clauses find of a target in JavaScript."""
    judge = Judge.of("", launch=Launch(command=f"node '{script}'"))
    assert judge.load_failure is None
    return judge.judge((check, body) for check, body in checks() if check.clause.startswith(clauses))


def test_right_target_conforms() -> None:
    """Every clause that the claim calls for passes, those of accuracy too."""
    outcomes = judged(SCRIPT, *CLAUSES)
    assert {o.clause: o.reason for o in outcomes if o.status not in ("pass", "not_claimed")} == {}
    assert {o.clause for o in outcomes if o.status == "pass"} >= {"SCH-3", "SCH-4", "DIS-1", "MAR-2", "MAR-4", "PAR-4"}


def test_right_loss_and_steps_conform(tmp_path: Path) -> None:
    """So do those of loss and steps, on one schedule and one chain."""
    outcomes = judged(plant(tmp_path, "target.js", NARROW), "LOS", "SMP")
    assert {o.clause: o.reason for o in outcomes if o.status not in ("pass", "not_claimed")} == {}
    found = {o.clause for o in outcomes if o.status == "pass"}
    assert found >= {*(f"LOS-{n}" for n in (*range(1, 11), 16, 17)), *(f"SMP-{n}" for n in range(1, 7))}


@pytest.mark.parametrize("clause", FAULTS)
def test_wrong_target_fails(clause: str, tmp_path: Path) -> None:
    """One wrong formula, one clause; the reproducer starts the program and gives the number got."""
    failed = [o for o in judged(plant(tmp_path, "target.js", FAULTS[clause]), clause) if o.status == "fail"]
    assert failed
    worst = failed[0].worst
    assert worst is not None
    assert "Remote(Launch(command=" in worst.reproducer
    result: dict[str, object] = {}
    exec(re.sub(r"^print\(", "result = (", worst.reproducer, flags=re.M), result)  # noqa: S102  # the text under test
    values = result["result"]
    numbers = values[worst.quantity] if isinstance(values, dict) else np.asarray(values).ravel()
    assert worst.got in np.asarray(numbers, dtype=np.float64)


def test_program_with_one_prediction_is_judged_whole(tmp_path: Path) -> None:
    """A claim of eps alone is asked for no other prediction, which the program refuses."""
    refuse = ("    loss: (denoiser, prediction, x_0, eps, t, weight) => {\n",) * 2
    refuse = (refuse[0], refuse[1] + '      if (prediction !== "eps") throw new Unsupported("eps alone");\n')
    narrow = (
        '  weights: ["uniform", ',
        '  predictions: ["eps"],\n  conversions: [["eps", "x_0"]],\n  weights: ["uniform", ',
    )
    outcomes = judged(plant(tmp_path, "target.js", NARROW, refuse, narrow), "LOS-1", "PAR")
    losses = [o for o in outcomes if o.clause == "LOS-1"]
    assert {(o.status, o.in_part) for o in losses} == {("pass", False)}
    assert "the claim lists no prediction v" in losses[0].results[0].unclaimed
    judged_conversions = {o.clause for o in outcomes if o.status == "pass" and o.clause.startswith("PAR")}
    assert judged_conversions == {"PAR-1", "PAR-6", "PAR-8"}


def test_error_names_call_and_cause() -> None:
    """An exception in JavaScript is an error of that call, and the program continues."""
    target = Remote(Launch(command=f"node '{SCRIPT}'"))
    built = target.build(Chain(betas=(0.1, 0.2)))
    with pytest.raises(Exception, match="perturb raised TypeError"):
        built.ask("perturb", "perturb", (np.zeros(1, np.float32),), 20.0)
    assert set(built.coefficients(np.array([1, 2]))) >= {"alpha", "sigma"}
    target.close()


def test_costs_no_more_than_twice_what_python_costs() -> None:
    """The same calls of the same claim, in turns; of each the quickest round, as other work disturbs the rest."""

    def calls(target: Remote) -> Callable[[], float]:
        built = [target.build(process) for process in (Linear(beta_min=0.1, beta_max=20.0), Cosine(s=0.008))]
        t = np.linspace(0.1, 0.9, 64, dtype=np.float32)
        x = np.ones((64, 8), np.float32)

        def seconds() -> float:
            started = time.perf_counter()
            for made in 20 * built:
                made.coefficients(t)
                made.perturb(x, x, t)
                made.convert(x, x, t, "eps", "v")
            return time.perf_counter() - started

        return seconds

    node = Remote(Launch(command=f"node '{SCRIPT}'"))
    python = Remote(Launch(), "tests.meta.targets.plain:every")
    rounds = [(there(), here()) for there, here in [(calls(node), calls(python))] * 8]
    there, here = (min(times) for times in zip(*rounds, strict=True))
    assert there <= 2.0 * here
    node.close()
    python.close()
