"""Checks of chapters 3, 5, 6, 7, 8 and 10: right code passes, and a report says where a fault shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Chain, Cosine, Linear, Own, Target
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.report import Report, assemble, described
from tests.meta.targets.trainer import F, Trainer, importance, stratified
from validation.checks.suite import checks
from validation.faults.catalogue import named

LINEAR = Trainer()
COSINE = Trainer(processes=(Cosine(s=0.008),))
CHAIN = Trainer(processes=(Chain.linear(1000, beta_start=1e-4, beta_end=0.02),))
OWN = Trainer(processes=(Own(label="sech"),))


def judged(target: Target, prefixes: set[str], seed: int = 0) -> Report:
    """Return the report on a target, by the clauses with these prefixes."""
    judge = Judge.of(target, Settings(seed=seed))
    outcomes = judge.judge(c for c in checks() if c[0].clause[:3] in prefixes)
    return assemble(clauses().values(), outcomes, target=described(judge.claim, judge.origin))


def failing(report: Report) -> set[str]:
    """Return the MUST clauses that fail."""
    return {row.clause.id for row in report.rows if row.status == "fail" and row.clause.level == "MUST"}


def _kept(step: Any) -> Any:
    """Return an average of a history by a function step(decay, average, weights, k)."""

    def averages(decay: float, history: Any) -> Any:
        rows = [history[0]]
        for k, row in enumerate(history[1:], start=1):
            rows.append(step(decay, rows[-1], row, k))
        return np.stack(rows).astype(F)

    return averages


PLACED = (
    "ema-decay-swapped",
    "loss-v-negated",
    "weight-max-for-min",
    "times-importance-without-weights",
    "step-sign-of-the-reverse-drift",
    "ddpm-root-of-the-log",
    "ddim-x-0-clipped",
)
"""Faults of the catalogue, one for each kind of call."""


@pytest.mark.parametrize("name", PLACED)
def test_fault_is_reported(name: str) -> None:
    """A fault fails the clauses that it breaks, and the report has the place and the size of the error."""
    fault = named(name)
    report = judged(fault.target("float32"), {clause[:3] for clause in fault.breaks})
    assert report.does_not_conform
    assert fault.breaks <= failing(report)
    for row in report.rows:
        if row.clause.id in fault.breaks:
            assert row.worst is not None
            assert row.worst.at
            assert row.worst.ratio > 1.0


def test_infinite_results_fail_without_suite_errors() -> None:
    """An infinite diffusion, and weights of 0, fail their clauses; NumPy's warnings cause no suite error."""
    infinite = LINEAR.with_fault(
        diffusion=lambda b: b * F("inf"),
        times=lambda n, rng: (stratified(n, rng)[0], np.zeros(n, dtype=F)),
    )
    report = judged(infinite, {"SDE", "TIM"})
    assert {"SDE-2", "SDE-4", "TIM-1", "TIM-2"} <= failing(report)
    assert not [row.reason for row in report.rows if "the suite itself failed" in row.reason]


RIGHT = {
    "linear": LINEAR,
    "cosine": COSINE,
    "chain": CHAIN,
    "own": OWN,
    "mean over the batch": Trainer(reduction="batch_mean"),
    "mean over all": Trainer(reduction="all_mean"),
    "every linear": Trainer(processes=(Linear,)),
    "importance": LINEAR.with_fault(times=importance),
    "independent": LINEAR.with_fault(times=lambda n, rng: (rng.random(n, dtype=F), np.ones(n, dtype=F))),
    "average that weighs both sides": LINEAR.with_fault(ema=_kept(lambda d, a, w, k: F(d) * a + F(1 - d) * w)),
    "average with 1 - d from a rounded d": LINEAR.with_fault(
        ema=_kept(lambda d, a, w, k: F(d) * a + (F(1) - F(d)) * w)
    ),
    "average kept in float64": LINEAR.with_fault(
        ema=lambda d, h: _kept(lambda d, a, w, k: d * a + (1 - d) * w)(d, h.astype(np.float64))
    ),
    "DDIM by its general form": LINEAR.with_fault(
        ddim=lambda x, e, t, s: np.sqrt(s / t) * x + (np.sqrt(1 - s - F(0)) - np.sqrt(s * (1 - t) / t)) * e
    ),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", RIGHT)
def test_right_code_passes(name: str, seed: int) -> None:
    """Right code in float32 fails no MUST clause, even if it cancels."""
    report = judged(RIGHT[name], {"SDE", "LOS", "TIM", "DIS", "SMP", "TRN", "CON"}, seed)
    assert failing(report) == set(), [row.reason for row in report.rows if row.status == "fail"]


def test_drifting_average_fails_a_should_clause_only() -> None:
    """TRN-2: the form d a + (1 - d) w drifts, and fails TRN-2 alone; averages that preserve constants fail nothing."""
    levels = {}
    for name in ("average that weighs both sides", "average kept in float64", "linear"):
        rows = judged(RIGHT[name], {"TRN"}).rows
        levels[name] = {(row.clause.id, row.clause.level) for row in rows if row.status == "fail"}
    assert levels == {
        "average that weighs both sides": {("TRN-2", "SHOULD")},
        "average kept in float64": set(),
        "linear": set(),
    }
