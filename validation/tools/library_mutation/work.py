"""The mutants of one module, judged one after the other."""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, final

from validation.tools.library_mutation import judging, own
from validation.tools.library_mutation.baseline import measured
from validation.tools.library_mutation.code import replace
from validation.tools.library_mutation.forked import Late, Lost, forked
from validation.tools.library_mutation.operators import Mutant, mutants, mutated
from validation.tools.library_mutation.order import Order
from validation.tools.library_mutation.record import Part, Verdict
from validation.tools.library_mutation.subjects import Subject

LIMIT = 1800.0
"""Seconds for one mutant."""


@final
@dataclass(slots=True)
class Work:
    """One module under mutation."""

    subject: Subject
    tests: Path | None
    """Folder of the library's own tests."""
    kept: Path | None = None
    """Folder of what the checks were measured to reach."""
    module: ModuleType = field(init=False)
    source: str = field(init=False)
    _broken: list[str] | None = None
    """Own tests that fail without any change, once they were run."""

    def __post_init__(self) -> None:
        """Import the module, and all that the forks would import."""
        self.module = import_module(self.subject.module)
        judging.prepare(*self.subject.targets)
        self.source = inspect.getsource(self.module)

    def part(
        self, count: int, seed: int, done: Mapping[tuple[str, int, str, str], Verdict], *, again: bool = False
    ) -> Iterator[Part]:
        """Yield the record of this module after each mutant, of a sample of those that are reached.

        done: verdicts of an earlier run, which are taken over.
        again: whether refdiff judges those again that it did not kill.
        """
        order = Order(measured(self.subject, self.kept))
        found = mutants(self.source)
        reached = [mutant for mutant in found if mutant.line in order.lines]
        chosen = sorted(reached, key=lambda mutant: _rank(mutant, seed))
        missed = Counter(mutant.function for mutant in found if mutant.line not in order.lines)
        judged: list[Verdict] = []
        for mutant in chosen[:count]:
            before = done.get((mutant.function, mutant.line, mutant.before, mutant.after))
            if before is None or (again and not before.clause):
                before = self._verdict(mutant, order, before)
            judged.append(before)
            yield Part(
                library=self.subject.library,
                version=version(self.subject.library),
                module=self.subject.module,
                mutants=len(found),
                not_reached=len(found) - len(reached),
                unreached=dict(sorted(missed.items())),
                seed=seed,
                judged=tuple(sorted(judged, key=lambda verdict: (verdict.line, verdict.operator, verdict.after))),
            )

    def _verdict(self, mutant: Mutant, order: Order, before: Verdict | None) -> Verdict:
        runs = order.of(mutant.line)
        try:
            found = forked(lambda: self._judged(mutant, runs), LIMIT)
            order.learn(runs[: found["runs"]], killed="clause" in found)
        except Late:
            found = {}
        except Lost as lost:
            # The suite ends a target that hangs or dies, as it runs it in a process of its own.
            found = {"clause": "CON-5", "by": str(lost).splitlines()[-1][:200], "target": ""}
        name, golden = (before.own, before.golden) if before else self._own_kill(mutant)
        return Verdict(
            function=mutant.function,
            line=mutant.line,
            operator=mutant.operator,
            before=mutant.before,
            after=mutant.after,
            clause=found.get("clause", ""),
            check=found.get("by", ""),
            target=found.get("target", ""),
            own=name,
            golden=golden,
            why=before.why if before and "clause" not in found else "",
        )

    def _judged(self, mutant: Mutant, runs: list[tuple[str, int]]) -> dict[str, Any]:
        replace(self.module, mutated(self.source, mutant), mutant.function)
        return judging.killing(runs)

    def _own_kill(self, mutant: Mutant) -> tuple[str | None, bool]:
        """Return the own test that fails, and whether it is one of the golden sums, which are run last."""
        if self.tests is None:
            return None, False
        if self._broken is None:
            self._broken = forked(lambda: self._own(first=False), LIMIT)
        golden = self.subject.golden
        for named in (f"not {golden}", golden) if golden else ("",):
            try:
                failed = forked(lambda: self._own(mutant, named), LIMIT)  # noqa: B023  # called at once
            except (Lost, Late) as lost:
                failed = [str(lost).splitlines()[-1][:200]]
            if failed:
                return failed[0], bool(golden) and named == golden
        return "", False

    def _own(self, mutant: Mutant | None = None, named: str = "", *, first: bool = True) -> list[str]:
        assert self.tests is not None
        if mutant is not None:
            replace(self.module, mutated(self.source, mutant), mutant.function)
        os.chdir(self.tests)
        return own.failures(self.tests, self.subject.tests, leaving=self._broken or (), named=named, first=first)


def _rank(mutant: Mutant, seed: int) -> str:
    """Return a random place in the sample, which does not depend on what else is reached."""
    key = f"{seed} {mutant.function} {mutant.line} {mutant.before} {mutant.after}"
    return sha256(key.encode()).hexdigest()
