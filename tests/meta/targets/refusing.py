"""The reference, made to refuse one thing, and the checks of some clauses on a target."""

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
"""Methods that no chapter tested here needs."""


def outcomes(judged: Target, prefixes: Iterable[str], seed: int = 0, name: str = "") -> list[Outcome]:
    """Return what the checks of the clauses that begin so, and whose name contains `name`, find."""
    judge = Judge.of(judged, Settings(seed=seed))
    asked = [(c, b) for c, b in checks() if c.clause.startswith(tuple(prefixes)) and name in b.__name__]
    return judge.judge(asked)


def musts(found: Iterable[Outcome]) -> dict[str, str]:
    """Return the MUST clauses that fail, each with its reason."""
    levels = {clause.id: clause.level for clause in clauses().values()}
    return {o.clause: o.reason for o in found if o.status == "fail" and levels[o.clause] == "MUST"}


@dataclass(frozen=True)
class Refusing:
    """refdiff on some processes, refusing the calls that `refuse` knows by method and arguments."""

    processes: tuple[Process, ...]
    refuse: Callable[[str, tuple[Any, ...]], bool]
    dtype: DType = "float32"

    @property
    def claim(self) -> Claim:
        """Claim what refdiff does, but for what takes long."""
        right = target(self.dtype).claim
        return replace(right, processes=self.processes, capabilities=right.capabilities - set(MADE))

    def build(self, process: Process) -> object:
        """Return refdiff's own, behind the refusals."""
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
