"""Trials of the diagnosis: faults whose name is known, one or two in a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from refdiff.conformance.diagnosis import concluded
from refdiff.conformance.interface import Chain, Claim, Cosine, DType, Linear, Process
from refdiff.conformance.judge import Judge, Settings

from ..catalogue import FAULTS
from ..clean.target import CleanTarget
from ..fault import Fault
from ..matrix import wanted
from .engine import diagnose


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the diagnosis said of a target with known faults."""

    faults: tuple[str, ...]
    dtype: DType
    moved: bool
    """Whether the processes have other parameters than those of the catalogue."""
    failed: bool
    """Whether a check that the faults are to trip failed."""
    first: tuple[str, ...]
    """The first suspect: a class of faults with equal outputs."""
    confident: bool
    found: tuple[str, ...]
    """Faults of the target that some suspect names."""

    @property
    def right(self) -> bool:
        """Whether the first suspect is the fault."""
        return self.faults[0] in self.first


def other(process: Process | type[Process]) -> Process | type[Process]:
    """Return a process of the same kind with parameters that no fault of the catalogue has."""
    match process:
        case Linear(beta_min=low, beta_max=high):
            return Linear(beta_min=1.7 * low + 0.05, beta_max=0.8 * high)
        case Cosine(s=s):
            return Cosine(s=1.9 * s + 0.011)
        case Chain(betas=betas) if len(betas) >= 2 and betas[-1] < 1.0:
            # One step more, so that rows, ends and products differ.
            return Chain(betas=tuple(0.9 * beta + 0.1 * betas[len(betas) // 2] for beta in (*betas, betas[-1])))
        case _:
            return process


def single(fault: Fault, dtype: DType, *, moved: bool) -> Trial:
    """Plant one fault, judge the clauses that it breaks, and ask for the diagnosis."""
    claim = fault.claim(dtype)
    if moved:
        claim = replace(claim, processes=tuple(map(other, claim.processes)))
    return _trial((fault,), claim, {fault.formula: fault.by}, moved=moved)


def _trial(faults: Sequence[Fault], claim: Claim, replaced: dict[str, Callable[..., Any]], *, moved: bool) -> Trial:
    names = tuple(fault.name for fault in faults)
    judge = Judge.of(CleanTarget(claim, replaced), Settings(seconds=60.0))
    outcomes = judge.judge(wanted(claim, {clause for fault in faults for clause in fault.breaks}))
    made = concluded([diagnose(claim, judge.records.units, judge.tell)])
    return Trial(
        faults=names,
        dtype=claim.dtype,
        moved=moved,
        failed=any(outcome.status == "fail" for outcome in outcomes),
        first=made.suspects[0].faults if made.suspects else (),
        confident=bool(made.suspects) and made.suspects[0].confident,
        found=tuple(name for name in names if any(name in suspect.faults for suspect in made.suspects)),
    )


def singles(seed: int, share: float) -> Iterator[Trial]:
    """Try a random share of all faults in each of their formats, with the catalogue's parameters and with others."""
    rng = np.random.default_rng([seed, 1])
    for fault in FAULTS:
        for dtype in fault.dtypes:
            for moved in (False, True):
                if rng.random() < share:
                    yield single(fault, dtype, moved=moved)


def pairs(seed: int, count: int) -> Iterator[Trial]:
    """Try pairs of faults in different formulas, both of which are used."""
    rng = np.random.default_rng([seed, 2])
    tried = 0
    while tried < count:
        one, two = (FAULTS[i] for i in rng.choice(len(FAULTS), 2, replace=False))
        if not _together(one, two):
            continue
        counts: Counter[str] = Counter()
        replaced = {fault.formula: _counted(fault, counts) for fault in (one, two)}
        more = {**one.narrowed, **two.narrowed}
        both = replace(one, capabilities=one.capabilities | two.capabilities, narrowed=more)
        found = _trial((one, two), replace(both.claim("float32"), name="pair"), replaced, moved=False)
        if len(counts) == 2:  # A formula that another fault bypasses is no second fault.
            tried += 1
            yield found


def _together(one: Fault, two: Fault) -> bool:
    same = all(one.narrowed[name] == two.narrowed[name] for name in one.narrowed.keys() & two.narrowed.keys())
    is_float32 = "float32" in one.dtypes and "float32" in two.dtypes
    return one.formula != two.formula and one.processes == two.processes and same and is_float32


def _counted(fault: Fault, counts: Counter[str]) -> Callable[..., Any]:
    def by(*arguments: Any) -> Any:
        counts[fault.name] += 1
        return fault.by(*arguments)

    return by
