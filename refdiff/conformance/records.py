"""What a judgement keeps of the calls of its checks: much of those that failed, a little of those that passed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from refdiff.conformance.interface import Process
from refdiff.conformance.outcome import Status
from refdiff.conformance.recorder import Kind, Recorded

PASSED = 4
"""Calls of one kind on one process that are kept of the checks that passed."""
FEW, MANY = 4_000_000, 16_000_000
"""Numbers that are kept at most: of the checks that passed, and of all."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Calls of one check on one process."""

    clause: str
    process: Process
    failed: bool
    calls: tuple[Recorded, ...]


@final
@dataclass(slots=True)
class Records:
    """Calls of a judgement, within bounds."""

    units: list[Unit] = field(default_factory=list)
    _counts: dict[tuple[Process, Kind], int] = field(default_factory=dict)
    _numbers: int = 0

    @property
    def failed(self) -> bool:
        """Whether something failed."""
        return any(unit.failed for unit in self.units)

    def take(self, clause: str, status: Status, calls: Iterable[tuple[Process, Sequence[Recorded]]]) -> None:
        """Take the calls of a check on one process, and on those related to it."""
        if status not in ("pass", "fail"):
            return
        failed = status == "fail"
        for process, made in calls:
            kept = tuple(call for call in made if self._keeps(process, call, failed=failed))
            if kept or failed:
                self.units.append(Unit(clause=clause, process=process, failed=failed, calls=kept))

    def _keeps(self, process: Process, call: Recorded, *, failed: bool) -> bool:
        if self._numbers + call.size > (MANY if failed else FEW):
            return False
        if not failed:
            key = (process, call.kind)
            self._counts[key] = self._counts.get(key, 0) + 1
            if self._counts[key] > (8 * PASSED if call.method == "times" else PASSED):
                return False
        self._numbers += call.size
        return True
