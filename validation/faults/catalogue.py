"""All faults."""

from __future__ import annotations

from . import (
    ancestral,
    averages,
    batches,
    calls,
    chains,
    cosines,
    diffusions,
    draws,
    grids,
    guidance,
    implicit,
    inputs,
    marginals,
    noisy_runs,
    numbers,
    objectives,
    posteriors,
    predictions,
    ratios,
    runs,
    schedules,
    scores,
    shapes,
    steps,
    times,
    training,
    warm_ups,
    weights,
)
from .fault import Chapter, Fault

CHAPTERS: tuple[Chapter, ...] = (
    schedules.FAULTS,
    cosines.FAULTS,
    ratios.FAULTS,
    chains.FAULTS,
    marginals.FAULTS,
    batches.FAULTS,
    predictions.FAULTS,
    scores.FAULTS,
    diffusions.FAULTS,
    posteriors.FAULTS,
    numbers.FAULTS,
    shapes.FAULTS,
    objectives.FAULTS,
    inputs.FAULTS,
    weights.FAULTS,
    times.FAULTS,
    draws.FAULTS,
    averages.FAULTS,
    warm_ups.FAULTS,
    guidance.FAULTS,
    steps.FAULTS,
    ancestral.FAULTS,
    implicit.FAULTS,
    grids.FAULTS,
    runs.FAULTS,
    noisy_runs.FAULTS,
    training.FAULTS,
    calls.FAULTS,
)
FAULTS: tuple[Fault, ...] = tuple(fault for chapter in CHAPTERS for fault in chapter)


def named(name: str) -> Fault:
    """Return the fault of a name. Raises KeyError if there is none."""
    return {fault.name: fault for fault in FAULTS}[name]
