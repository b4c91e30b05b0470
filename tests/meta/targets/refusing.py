"""A target that refuses some calls of the reference, and the outcomes of some clauses on a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Claim, DType, Process, Target, Unsupported
from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.outcome import Outcome
from refdiff.conformance.reference import Reference, target
from validation.checks.suite import checks

MADE = ("times", "ema", "fit")
"""Methods that the chapters tested here do not need."""


def outcomes(judged: Target, prefixes: Iterable[str], seed: int = 0, name: str = "") -> list[Outcome]:
    """Return the outcomes of the checks whose clause has one of these prefixes and whose name contains `name`."""
    judge = Judge.of(judged, Settings(seed=seed))
    asked = [(c, b) for c, b in checks() if c.clause.startswith(tuple(prefixes)) and name in b.__name__]
    return judge.judge(asked)


def musts(found: Iterable[Outcome]) -> dict[str, str]:
    """Return the MUST clauses that fail, with their reasons."""
    levels = {clause.id: clause.level for clause in clauses().values()}
    return {o.clause: o.reason for o in found if o.status == "fail" and levels[o.clause] == "MUST"}


@dataclass(frozen=True)
class Refusing:
    """refdiff on some processes; it refuses calls for which `refuse(method, arguments)` is true."""

    processes: tuple[Process, ...]
    refuse: Callable[[str, tuple[Any, ...]], bool]
    dtype: DType = "float32"

    @property
    def claim(self) -> Claim:
        """Return the claim of refdiff, without the capabilities in MADE."""
        right = target(self.dtype).claim
        return replace(right, processes=self.processes, capabilities=right.capabilities - set(MADE))

    def build(self, process: Process) -> object:
        """Return refdiff's object, with the refusals."""
        if self.refuse("build", (process,)):
            raise Unsupported(f"no {type(process).__name__} here")
        return _Behind(Reference(self.claim).build(process), self.refuse)


class _Behind:
    def __init__(self, right: object, refuse: Callable[[str, tuple[Any, ...]], bool]) -> None:
        self.right, self.refuse = right, refuse

    def __getattr__(self, method: str) -> Callable[..., Any]:
        function = getattr(self.right, method)

        def call(*arguments: Any) -> Any:
            if self.refuse(method, arguments):
                raise Unsupported("refused for the test")
            return function(*arguments)

        return call
