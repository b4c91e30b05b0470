"""The search: which faults of the catalogue give the wrong outputs of a target, and none of its right ones wrong."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias, final

import numpy as np

from refdiff.conformance.clauses import clauses
from refdiff.conformance.diagnosis import Agreement, Findings, Match, Place
from refdiff.conformance.interface import Claim, Process
from refdiff.conformance.recorder import Recorded
from refdiff.conformance.records import Unit

from ..catalogue import FAULTS
from ..fault import Fault
from .outputs import Inapplicable, Outputs, equal, same, steadiness, told
from .own import Ask
from .right import Right
from .tally import Tally, tally, wrong

SECONDS = 60.0
Key: TypeAlias = tuple[Process, str]
"""A process, and the name of an output."""


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """A call that can be compared."""

    call: Recorded
    process: Process
    told: Outputs
    right: Outputs
    noise: Outputs
    failed: bool
    wrong: tuple[str, ...]
    """Names of the outputs that are wrong."""
    repeats: bool = False
    """Whether it stands for two equal calls with different results."""

    @property
    def is_trained(self) -> bool:
        """Whether a network made it."""
        return self.call.method == "fit"

    def tallies(self, fault: Outputs, moved: Outputs | None = None) -> dict[str, Tally]:
        """Return how a fault fares on each output; moved: by how much rounding moves what it gives."""
        found = {}
        for name in (name for name in self.told if name in self.right):
            if name not in fault:
                found[name] = Tally(missed=name in self.wrong, contradicted=name not in self.wrong)
                continue
            noise = self.noise[name]
            own = (moved or {}).get(name, noise)
            own = np.maximum(own, noise) if own.shape == noise.shape else noise
            found[name] = tally(
                self.told[name], self.right[name], fault[name], noise, own=own, is_trained=self.is_trained
            )
        for name in self.told.keys() ^ self.right.keys():
            found[name] = _of_presence(name, self.told, fault)
        for name in fault.keys() - self.told.keys() - self.right.keys():
            found[name] = Tally(contradicted=1)
        return found


def _of_presence(name: str, told: Outputs, fault: Outputs) -> Tally:
    """Compare an output that the target has and that is not to be there, or the other way round."""
    if (name in told) != (name in fault):
        return Tally(missed=1)
    if name in told and not np.array_equal(told[name], fault[name], equal_nan=True):
        return Tally(missed=1)
    return Tally(matched=1)


@final
@dataclass(slots=True)
class Engine:
    """One search."""

    claim: Claim
    faults: Sequence[Fault]
    ends: float
    tight: bool = False
    ask: Ask | None = None
    moving: dict[Key, Seen] = field(default_factory=dict)
    """Outputs that differ from call to call."""
    notes: dict[str, None] = field(default_factory=dict)
    _rights: dict[Process, Right] = field(default_factory=dict)
    _names: dict[Process, set[str]] = field(default_factory=dict)
    _built: dict[tuple[str, Process], Any] = field(default_factory=dict)

    def unsteady(self, units: Iterable[Unit]) -> dict[Key, Seen]:
        """Return the outputs that differ from one call to an equal one (CON-4)."""
        found: dict[Key, Seen] = {}
        for unit in units:
            pairs = pairwise(unit.calls) if unit.failed and unit.clause == "CON-4" else ()
            for one, other in pairs:
                if equal(one, other) and not same(told(one), told(other)):
                    steady, moving = {steadiness(one): np.zeros(1)}, {steadiness(one): np.ones(1)}
                    found |= {
                        (unit.process, name): Seen(
                            one, unit.process, moving, steady, steady, failed=True, wrong=tuple(steady), repeats=True
                        )
                        for name in told(one)
                    }
        return found

    def see(self, unit: Unit) -> list[Seen]:
        """Return the calls of a check that can be compared."""
        if self._late():
            return []
        try:
            right = self.right(unit.process)
        except Inapplicable:
            return []
        found = []
        for call in unit.calls:
            # A refusal is no result, and an exception says nothing of a formula but that it writes to its input.
            if call.refused not in ("", "CON-3"):
                continue
            try:
                expected, noise = right.outputs(call)
            except Inapplicable:
                continue
            if f"exception of {call.method}" in expected:
                continue
            given = told(call)
            expected = self._comparable(call, unit.process, expected)
            if any((unit.process, name) in self.moving for name in given):
                continue
            found.append(
                Seen(call, unit.process, given, expected, noise, unit.failed, _wrong(call, given, expected, noise))
            )
        return found

    def know(self, units: Iterable[Unit]) -> None:
        """Note which coefficients the target has: the right target has all of them, and none is owed."""
        for unit in units:
            for call in unit.calls:
                if call.method == "coefficients" and isinstance(call.result, Mapping):
                    self._names.setdefault(unit.process, set()).update(map(str, call.result))

    def _comparable(self, call: Recorded, process: Process, outputs: Outputs) -> Outputs:
        """Return the outputs that the target may have: its coefficients, and of a call that raised the exception."""
        exception = f"exception of {call.method}"
        if call.refused:
            return {name: value for name, value in outputs.items() if name == exception}
        if call.method == "coefficients":
            has = self._names.get(process, set()) | {exception}
            return {name: value for name, value in outputs.items() if name in has}
        return outputs

    def right(self, process: Process) -> Right:
        """Return the right target for a process."""
        if process not in self._rights:
            self._rights[process] = Right(self.claim, process, self.tight, self.ask)
        return self._rights[process]

    def search(self, seen: Sequence[Seen]) -> list[Match]:
        """Return the faults that give some of the wrong outputs."""
        first: dict[Key, Seen] = {}
        for one in seen:
            for name in one.wrong if one.failed else ():
                first.setdefault((one.process, name), one)
        found = []
        for fault in self.faults:
            if self._late():
                break
            if self._may(fault, first) and (match := self._match(fault, seen, first)):
                found.append(match)
        return found

    def _may(self, fault: Fault, first: Mapping[Key, Seen]) -> bool:
        """Say whether a fault gives at least one of the wrong outputs, where it is met first."""
        done: dict[int, dict[str, Tally]] = {}
        for (_, name), one in first.items():
            if id(one) not in done:
                done[id(one)] = self._tallies(fault, one)
            found = done[id(one)].get(name, Tally())
            if found.matched and not found.missed:
                return True
        return False

    def _match(self, fault: Fault, seen: Iterable[Seen], first: Mapping[Key, Seen]) -> Match | None:
        total: dict[Key, Tally] = {}
        for one in seen:
            for name, found in self._tallies(fault, one).items():
                if not one.failed:
                    found = Tally(contradicted=found.contradicted)
                total.setdefault((one.process, name), Tally()).add(found)
        given = {key for key in first if total[key].matched and not total[key].missed}
        touched = {process for process, _ in given}
        agreements = tuple(_agreement(key, total[key]) for key in first if key in given)
        if not agreements:
            return None
        return Match(
            fault=fault.name,
            wrong=fault.wrong,
            meant=fault.meant,
            agreements=agreements,
            missed=tuple(_place(key) for key in first if key not in given),
            contradicted=tuple(_place(key) for key, t in total.items() if t.contradicted and key[0] in touched),
        )

    def _tallies(self, fault: Fault, one: Seen) -> dict[str, Tally]:
        try:
            if not self.right(one.process).reaches(one.call, fault.formula):
                raise Inapplicable
            if one.repeats:
                # On an object of its own, as it may remember its calls.
                fresh = self.right(one.process).fault(fault.formula, fault.by)
                first, second = (self.right(one.process).replay(fresh, one.call) for _ in range(2))
                return one.tallies({steadiness(one.call): np.array([float(not same(first, second))])})
            right = self.right(one.process)
            made = self._comparable(one.call, one.process, right.replay(self._made(fault, one.process), one.call))
            found = one.tallies(made)
            if not any(t.matched and t.missed for t in found.values()):
                return found
            # It gives some of the numbers: where rounding moves it more than the right target, the rest may be its too.
            return one.tallies(made, right.noise_of(fault.formula, fault.by, one.call, made))
        except Inapplicable:
            return {name: Tally(missed=1) for name in one.wrong}

    def _made(self, fault: Fault, process: Process) -> Any:
        key = fault.name, process
        if key not in self._built:
            self._built[key] = self.right(process).fault(fault.formula, fault.by)
        return self._built[key]

    def _late(self) -> bool:
        if time.monotonic() < self.ends:
            return False
        self.notes["the time for a diagnosis ran out before all was compared"] = None
        return True


def _wrong(call: Recorded, given: Outputs, right: Outputs, noise: Outputs) -> tuple[str, ...]:
    # In the order of the target's outputs: that of a set differs from run to run.
    both = [name for name in given if name in right]
    trained = call.method == "fit"
    off = [name for name in both if wrong(given[name], right[name], noise[name], is_trained=trained).any()]
    return (*off, *(name for name in (*given, *right) if name not in both))


def _moves(engine: Engine, unit: Unit, call: Recorded) -> bool:
    return any((unit.process, name) in engine.moving for name in told(call))


def _place(key: Key) -> Place:
    return key[1], repr(key[0])


def _agreement(key: Key, found: Tally) -> Agreement:
    output, process = _place(key)
    return Agreement(output=output, process=process, places=found.matched, error=found.error, exact=found.exact)


def diagnose(claim: Claim, units: Sequence[Unit], ask: Ask | None = None, seconds: float = SECONDS) -> Findings:
    """Return which faults give the wrong outputs of a target.

    claim: of the target; units: recorded calls of its checks; ask: returns its coefficients;
    seconds: after which the search ends.
    """
    ends = time.monotonic() + seconds
    # A fault may do arithmetic on anything, and warns nobody.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _searched(Engine(claim, FAULTS, ends, tight=False, ask=ask), units)
        if found.matches or found.notes:
            return found
        # What rounding makes wrong is a fault of the catalogue to the bit, or it is none.
        to_the_bit = _searched(Engine(claim, FAULTS, ends, tight=True, ask=ask), units)
    if to_the_bit.matches or found.wrong:
        return to_the_bit if to_the_bit.matches else found
    musts = tuple(clause for clause in found.unseen if clauses()[clause].level == "MUST")
    return Findings(unseen=musts, compared=found.compared if musts else 0)


def _searched(engine: Engine, units: Sequence[Unit]) -> Findings:
    engine.know(units)
    engine.moving = engine.unsteady(units)
    seen: list[Seen] = list({id(one): one for one in engine.moving.values()}.values())
    clear = {(one.process, "CON-4") for one in seen}
    unseen: dict[str, None] = {}
    for unit in sorted(units, key=lambda unit: not unit.failed):
        ours = engine.see(unit)
        seen += ours
        if unit.failed and not any(one.wrong for one in ours):
            if (unit.process, unit.clause) in clear or any(_moves(engine, unit, call) for call in unit.calls):
                continue
            unseen[unit.clause] = None
    wrongs = dict.fromkeys(_place((one.process, name)) for one in seen if one.failed for name in one.wrong)
    return Findings(
        wrong=tuple(wrongs),
        unseen=tuple(unseen),
        matches=tuple(engine.search(seen)),
        compared=sum(one.failed for one in seen),
        notes=tuple(engine.notes),
    )
