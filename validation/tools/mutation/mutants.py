"""Test the mutants of a module, and put the survivors into the record."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import WorkItem, WorkResult

from . import record, session
from .checkout import EXAMPLES, ROOT, Checkout
from .killers import Killers
from .plan import PLANS

FEW = 10
"""Examples of Hypothesis at first: most mutants fail one of them."""
LEAST = 10.0
"""CPU seconds that a mutant may take at least, before it is stopped."""
MANY = 3.0
"""Times as long as the tests take without a mutation."""


def run(module: str, folder: Path, options: Namespace) -> None:
    """Test the mutants of one module that are not tested yet, and record them."""
    source = ROOT / module
    name = f"{Path(module).parent.name}-{Path(module).stem}-{record.digest(source)}.sqlite"
    with session.opened(options.sessions / name, source) as work:
        items = session.asked(work, source.read_text("utf-8"))
        chosen = session.sampled(items, options.sample, options.seed)
        done = session.outcomes(work)
        again = options.survivors
        left = [i for i in chosen if i.job_id not in done or (again and not _is_killed(done[i.job_id]))]
        print(f"{module}: {len(items)} mutants, {len(chosen)} chosen, {len(left)} to test", flush=True)
        if left:
            copies = [_copy(folder / f"{Path(module).stem}-{i}") for i in range(options.jobs)]
            try:
                _test(module, left, copies, work, quick=options.quick)
            finally:
                for copy in copies:
                    copy.close()
        _record(module, work, items, chosen, options.seed)


def _copy(folder: Path) -> Checkout:
    folder.mkdir(parents=True)
    return Checkout(folder)


def _test(module: str, items: Sequence[WorkItem], copies: Sequence[Checkout], work: WorkDB, *, quick: bool) -> None:
    """Test mutants on the copies, and store what was found; what survives a quick run may be killed by a whole one."""
    plan, source = PLANS[module], (ROOT / module).read_text("utf-8")
    plan = replace(plan, clauses=(), variants=()) if quick else plan
    failing, seconds = copies[0].failure(plan, 600.0)
    if failing:
        raise SystemExit(f"expected the plan of {module} to pass without a mutation, got a failure of {failing}")
    print(f"  without a mutation: {seconds:.1f} s", flush=True)
    limit, killers, free = max(LEAST, MANY * seconds), Killers(), SimpleQueue[Checkout]()
    for copy in copies:
        free.put(copy)

    def tested(item: WorkItem) -> tuple[WorkItem, str, str | None, float]:
        code, mutant = session.mutated(item, source)
        copy = free.get()
        try:
            with copy.changed(module, code):
                killed_by, took = copy.failure(killers.first(), limit, FEW)
                for examples in (FEW, *(() if quick else (EXAMPLES,))):
                    if killed_by is None:
                        some = replace(plan, clauses=(), variants=()) if examples == FEW else plan
                        killed_by, more = copy.failure(some, limit, examples)
                        took += more
        finally:
            free.put(copy)
        killers.note(killed_by)
        return item, f"{mutant.line} {mutant.operator}: {mutant.removed} -> {mutant.added}", killed_by, took

    with ThreadPoolExecutor(len(copies)) as pool:
        for item, said, killed_by, took in pool.map(tested, items):
            session.store(work, item, killed_by)
            print(
                f"  {took:5.1f} s {'SURVIVED ' + said if killed_by is None else said + ' : ' + killed_by}", flush=True
            )


def _record(module: str, work: WorkDB, items: Sequence[WorkItem], chosen: Sequence[WorkItem], seed: int) -> None:
    """Write the entry of a module from what is tested so far."""
    source, found = ROOT / module, session.outcomes(work)
    tested = [item for item in chosen if item.job_id in found]
    text = source.read_text("utf-8")
    alive = [session.mutated(item, text)[1] for item in tested if not _is_killed(found[item.job_id])]
    known = record.loaded()
    known[module] = record.entry(
        known.get(module),
        source,
        mutants=len(items),
        chosen=len(chosen),
        seed=seed if len(chosen) < len(items) else None,
        tested=len(tested),
        survivors=alive,
    )
    record.written(known)
    print(f"{module}: {len(tested) - len(alive)} of {len(tested)} killed", flush=True)


def _is_killed(result: WorkResult) -> bool:
    return bool(result.test_outcome == session.KILLED)
