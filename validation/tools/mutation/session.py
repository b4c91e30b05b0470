"""The work list of one module in cosmic-ray's database: what is to be mutated, and what was found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from .mutant import Mutant, described
from .noise import Span, is_silent, silent_spans
from .operators import USED

KILLED, SURVIVED = TestOutcome.KILLED, TestOutcome.SURVIVED


@contextmanager
def opened(path: Path, source: Path) -> Iterator[WorkDB]:
    """Open the work list of a module, and fill a new one with all mutants that cosmic-ray knows."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with use_db(path) as work:
        if new:
            init([source], work, {})
        yield work


def asked(work: WorkDB, source: str) -> list[WorkItem]:
    """Return the items of the operators that are used, at places that are not silent, in the order of their places."""
    spans = silent_spans(source)
    return sorted((item for item in work.work_items if _is_asked(item, spans)), key=_place)


def sampled(items: list[WorkItem], size: int | None, seed: int) -> list[WorkItem]:
    """Return a random sample of the items, the same for the same seed and module; all of them without a size."""
    if size is None or size >= len(items):
        return items
    return sorted(random.Random(seed).sample(items, size), key=_place)  # noqa: S311 - a sample, and no secret


def outcomes(work: WorkDB) -> dict[str, WorkResult]:
    """Return what was found of each item that was tested."""
    return {job: result for job, result in work.results if result.worker_outcome == WorkerOutcome.NORMAL}


def mutated(item: WorkItem, source: str) -> tuple[str, Mutant]:
    """Return the source of a mutant, and its description."""
    (change,) = item.mutations
    code = mutate_code(source, get_operator(change.operator_name)(**change.operator_args), change.occurrence)
    return code, described(source, code, change.operator_name, change.definition_name)


def store(work: WorkDB, item: WorkItem, killed_by: str | None) -> None:
    """Note what was found of an item."""
    outcome = SURVIVED if killed_by is None else KILLED
    result = WorkResult(worker_outcome=WorkerOutcome.NORMAL, test_outcome=outcome, output=killed_by)
    work.set_result(item.job_id, result)


def _is_asked(item: WorkItem, spans: list[Span]) -> bool:
    (change,) = item.mutations
    return change.operator_name in USED and not is_silent(change.start_pos, spans)


def _place(item: WorkItem) -> tuple[Any, ...]:
    (change,) = item.mutations
    return change.start_pos, change.operator_name, change.occurrence
