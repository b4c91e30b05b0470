"""The order in which checks are tried on a mutant: cheap ones, and those that killed many before, come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A check of a target, before any change."""

    target: str
    check: int
    """Position in the suite."""
    passed: bool
    """Whether something was judged and nothing failed: only then a failure is a kill."""
    seconds: float
    lines: frozenset[int]
    """Lines of the module whose statements it reached."""


@final
@dataclass(slots=True)
class Order:
    """The checks that passed, and how often each was run on a mutant, and killed it."""

    checks: Sequence[Measured]
    _runs: Counter[tuple[str, int]] = field(default_factory=Counter)
    _kills: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def lines(self) -> frozenset[int]:
        """Lines that some check reaches that can kill."""
        return frozenset[int]().union(*(check.lines for check in self.checks if check.passed))

    def of(self, line: int) -> list[tuple[str, int]]:
        """Return the checks that reach a line, in the order of their kills per second."""
        found = [check for check in self.checks if check.passed and line in check.lines]
        return [(check.target, check.check) for check in sorted(found, key=self._cost)]

    def learn(self, run: Sequence[tuple[str, int]], *, killed: bool) -> None:
        """Note that these checks were run on a mutant, and whether the last of them killed it."""
        self._runs.update(run)
        if killed and run:
            self._kills[run[-1]] += 1

    def _cost(self, check: Measured) -> float:
        """Return the expected seconds for one kill, after one kill and one miss that never were."""
        key = check.target, check.check
        return (check.seconds + 0.01) * (self._runs[key] + 2) / (self._kills[key] + 1)
