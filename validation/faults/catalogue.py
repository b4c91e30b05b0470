"""All faults."""

from __future__ import annotations

from . import (
    batches,
    chains,
    cosines,
    diffusions,
    marginals,
    numbers,
    posteriors,
    predictions,
    ratios,
    schedules,
    scores,
    shapes,
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
)
FAULTS: tuple[Fault, ...] = tuple(fault for chapter in CHAPTERS for fault in chapter)


def named(name: str) -> Fault:
    """Return the fault of a name. Raises KeyError if there is none."""
    return {fault.name: fault for fault in FAULTS}[name]
