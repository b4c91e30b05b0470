"""The tests that killed the mutants before: they probably kill the next one too, since it is near."""

from __future__ import annotations

from typing import final

from .plan import Plan

NUMBER = 6


@final
class Killers:
    """The last tests that killed, the latest first."""

    def __init__(self) -> None:
        """Start with none."""
        self._names: list[str] = []

    def first(self) -> Plan:
        """Return the plan of these tests alone."""
        return Plan((tuple(self._names),) if self._names else ())

    def note(self, killed_by: str | None) -> None:
        """Note what killed a mutant, if it is a test."""
        if killed_by is not None and "::" in killed_by:
            others = (name for name in self._names if name != killed_by)
            self._names = [killed_by, *others][:NUMBER]
