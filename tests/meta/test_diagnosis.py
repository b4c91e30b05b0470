"""Diagnosis: the planted fault whose outputs a failing target has is named, and no other one with confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refdiff.conformance.diagnosis import Diagnosis, Findings, concluded, searched
from refdiff.conformance.interface import Chain, Cosine, DType, Linear, Process, Target
from refdiff.conformance.judge import Judge, Settings
from tests.meta.targets.trainer import Trainer
from validation.checks.suite import checks
from validation.faults.catalogue import FAULTS, named
from validation.faults.clean.target import CleanTarget
from validation.faults.diagnosis import diagnose
from validation.faults.diagnosis.trial import pairs, single

OTHERS: dict[type, Process] = {
    Linear: Linear(beta_min=0.3, beta_max=11.0),
    Cosine: Cosine(s=0.031),
    Chain: Chain.linear(37, beta_start=0.003, beta_end=0.21),
}
"""Processes whose parameters no fault of the catalogue has."""


def found(target: Target, *prefixes: str) -> Findings:
    """Return what the engine finds, by the checks of clauses with these prefixes."""
    judge = Judge.of(target, Settings())
    judge.judge(one for one in checks() if one[0].clause.startswith(prefixes))
    assert judge.claim is not None
    return diagnose(judge.claim, judge.records.units, judge.tell)


def diagnosed(target: Target, *prefixes: str) -> Diagnosis:
    """Return the diagnosis of a target, by the checks of clauses with these prefixes."""
    return concluded([found(target, *prefixes)])


def planted(*names: str, dtype: DType, process: Process | None = None) -> CleanTarget:
    """Return a target with faults of the catalogue, on another process than theirs if one is given."""
    faults = [named(name) for name in names]
    claim = replace(faults[0].claim(dtype), name="planted")
    claim = claim if process is None else replace(claim, processes=(process,))
    return CleanTarget(claim, {fault.formula: fault.by for fault in faults})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "kind", "prefixes"),
    [
        ("schedule-variance-for-deviation", Linear, ("MAR-2", "MAR-3")),
        ("schedule-alpha-bar-for-alpha", Cosine, ("MAR-1",)),
        ("chain-index-off-by-one", Chain, ("DIS-1",)),
        ("cosine-factor-two-lost", Cosine, ("SCH-5",)),
    ],
)
def test_a_fault_is_named_whatever_the_process(name: str, kind: type, prefixes: tuple[str, ...], dtype: DType) -> None:
    """A fault is the first suspect, with confidence, though the parameters are others than the catalogue's."""
    best = diagnosed(planted(name, dtype=dtype, process=OTHERS[kind]), *prefixes).suspects[0]
    assert name in best.faults
    assert best.confident
    assert best.error < 1e-5


def test_two_faults_are_never_one() -> None:
    """Two faults at once are each named, for their own outputs, and none with confidence."""
    names = "schedule-variance-for-deviation", "schedule-alpha-bar-for-alpha"
    suspects = diagnosed(planted(*names, dtype="float32"), "MAR-1", "MAR-2").suspects
    assert {suspect.faults[0] for suspect in suspects} == set(names)
    assert not any(suspect.confident for suspect in suspects)


def test_a_right_target_has_no_diagnosis() -> None:
    """A target that fails nothing of MUST clauses is not compared, or agrees with no fault."""
    assert diagnosed(Trainer(), "MAR", "SDE") == Diagnosis()


def test_an_unknown_fault_is_said_to_be_unknown() -> None:
    """A fault that nobody planted has no suspect, and the report says so."""
    made = diagnosed(Trainer().with_fault(diffusion=lambda beta: np.sqrt(beta) + np.float32(0.123) * beta), "SDE-2")
    assert not made.suspects
    assert made.lines() == ["no known fault gives these outputs: diffusion"]


def test_what_workers_found_is_combined() -> None:
    """Findings survive JSON, and those of two workers are concluded as those of one would be."""
    target = planted("schedule-variance-for-deviation", dtype="float32")
    parts = [found(target, "MAR-2"), found(target, "MAR-3")]
    again = [Findings.from_json(part.as_json()) for part in parts]
    assert again == parts
    made = concluded(again)
    assert made.suspects[0].confident
    assert made.suspects[0].matched > concluded(parts[:1]).suspects[0].matched


def test_a_failing_engine_breaks_nothing() -> None:
    """An engine that is missing, or that fails, leaves one note."""
    target = planted("schedule-variance-for-deviation", dtype="float32")
    judge = Judge.of(target, Settings())
    judge.judge(one for one in checks() if one[0].clause == "MAR-2")
    made = searched("no_such_suite", judge, (), 1.0)
    assert made.notes == ("no diagnosis: the engine failed with ModuleNotFoundError: No module named 'no_such_suite'",)


def test_a_search_ends_in_time() -> None:
    """A search whose time is over says so."""
    target = planted("schedule-variance-for-deviation", dtype="float32")
    judge = Judge.of(target, Settings())
    judge.judge(one for one in checks() if one[0].clause == "MAR-2")
    assert "ran out" in diagnose(target.claim, judge.records.units, seconds=0.0).notes[0]


def test_every_fault_of_a_sample_is_named() -> None:
    """Of faults drawn by a seed, with other parameters than the catalogue's, those that fail a check are named."""
    drawn = np.random.default_rng(20).choice(len(FAULTS), 6, replace=False)
    trials = [single(FAULTS[i], FAULTS[i].dtypes[-1], moved=True) for i in drawn]
    wrong = [trial.faults[0] for trial in trials if trial.failed and not trial.right]
    assert len(wrong) <= 1, wrong
    assert not any(trial.confident and not trial.right for trial in trials)


def test_no_pair_of_a_sample_is_one_fault() -> None:
    """Of pairs of faults drawn by a seed none is reported as one fault with confidence."""
    assert not [trial for trial in pairs(seed=3, count=3) if trial.confident]
