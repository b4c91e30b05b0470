"""The case given to a check: one process of the target, with methods to compare values and record the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final
from zlib import crc32

import hypothesis
import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyFailure
from hypothesis.strategies import SearchStrategy

from refdiff.conformance.broken import Broken
from refdiff.conformance.comparison import Comparison, Expected, compare
from refdiff.conformance.draws import seeded
from refdiff.conformance.formats import Format
from refdiff.conformance.guard import Built, ContractViolation, NotClaimed
from refdiff.conformance.interface import Capability, Claim, Process, steps_of
from refdiff.conformance.loading import Member
from refdiff.conformance.outcome import Worst
from refdiff.conformance.reproducer import reproducer, saying
from refdiff.conformance.series import Curves

_LAW = settings(
    max_examples=25,
    phases=(Phase.generate, Phase.shrink),
    deadline=None,
    database=None,
    derandomize=False,  # which Hypothesis sets where the variable CI is: the seed is that of the run, there too
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@final
class Counterexample(Exception):
    """A law fails on the example at hand; Hypothesis looks for a simpler one."""

    def __init__(self, worst: Worst) -> None:
        """Carry the comparison."""
        super().__init__(worst.sentence())
        self.worst = worst


@final
@dataclass(slots=True, kw_only=True)
class Case:
    """One process of a target, under one check."""

    member: Member
    built: Built
    """Object that the target built for the process, behind the guard."""
    origin: str
    """The target as package.module:factory."""
    name: str
    """Of the check: its random numbers are its own."""
    claim: Claim
    """Claim of the target: its times, event shapes and random draws."""
    others: Callable[[Process], Built]
    """Builds a related process; raises NotClaimed unless its whole type is claimed."""
    seed: int
    full: bool
    """Whether to spend minutes: every float32, every index."""
    first: bool = True
    """Whether no process of its kind comes before it in the claim."""
    inner: bool = False
    """Whether to leave out the ends t = 0 and t = 1, which the target does not serve."""
    refusals: list[str] = field(default_factory=list)
    """Calls that the target did not serve, while it served others."""
    unclaimed: list[str] = field(default_factory=list)
    """What the claim lacks for a part of the clause, while it claims the rest."""
    worst: Worst | None = None
    """The worst comparison so far."""
    curves: Curves = field(default_factory=Curves)
    """What the figures of the report show."""
    broken: list[Broken] = field(default_factory=list)
    """Rules of the contract that calls broke."""
    _raising: bool = field(default=False)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities that the target claims."""
        return self.claim.capabilities

    @property
    def process(self) -> Process:
        """The process that the target was asked to build."""
        return self.member.process

    @property
    def steps(self) -> int:
        """Number of steps of a process whose times are indices, or 0: of one in continuous time."""
        return steps_of(self.process)

    @property
    def format(self) -> Format:
        """The format that the target computes in."""
        return self.built.format

    def rng(self) -> np.random.Generator:
        """Return the generator of this check on this process, the same at each call."""
        return np.random.default_rng([self.seed, crc32(f"{self.name}{self.process!r}".encode())])

    def once_a_kind(self) -> None:
        """Raise NotClaimed unless this is the first process of its kind: enough for what depends little on it."""
        if not self.first:
            raise NotClaimed("it is judged on the first process of each kind")

    def expect(self, quantity: str, got: npt.ArrayLike, expected: Expected, *, at: Mapping[str, npt.ArrayLike]) -> None:
        """Compare an output with its expected value, and record the worst element; the last call made is to blame.

        Args:
            quantity: name of what is compared, as the report shows it.
            got: output of the target, (n, ...).
            expected: value, tolerance and domain, which broadcast against `got`.
            at: times, or other inputs, that the report shows; each (n,).
        """
        comparison = compare(got, expected)
        if comparison.got.size == 0:
            return
        axis, where = next(iter(at.items()))
        self.curves.compared(quantity, comparison, self._axis(axis), where, self.format)
        # Most comparisons are not the worst, and a Worst with its reproducer takes as long as the comparison.
        ratio = float(comparison.ratio[comparison.worst])
        if self.worst is not None and ratio <= self.worst.ratio and not (self._raising and ratio > 1.0):
            return
        worst = self._worst(quantity, comparison, at)
        self.built.recorder.blame()
        if self._raising and worst.ratio > 1.0:
            raise Counterexample(worst)
        if self.worst is None or worst.ratio > self.worst.ratio:
            self.worst = worst

    def breaks(self, failure: ContractViolation) -> None:
        """Record that the last call broke a rule of the contract; what the check compares beside it is judged too."""
        code = ""
        if self.built.last.method:
            code = reproducer(self.origin, self.member, self.built.last, None, failure.clause)
            code = saying(code, f"{failure.clause}: {failure}")
        method = failure.method or self.built.last.method
        self.broken.append(Broken(failure.clause, str(failure), method, code))

    def _axis(self, name: str) -> str:
        """Return the name of a place as a reader sees it: the time of a chain is an index k."""
        return "k" if name == "t" and self.built.is_chain else name

    def _worst(self, quantity: str, comparison: Comparison, at: Mapping[str, npt.ArrayLike]) -> Worst:
        """Return the worst element of a comparison with its place, and Python that repeats the call."""
        index, shape = comparison.worst, comparison.got.shape
        # One number stands for the whole batch: no example of it repeats the call.
        example = index[0] if index else None
        at = {self._axis(name): where for name, where in at.items()}
        places = {name: np.broadcast_to(x, shape[:1] or np.shape(x) or (1,)) for name, x in at.items()}
        times = next(iter(places.values()))[np.flatnonzero(comparison.failing)]
        error, value = float(comparison.error[index]), float(comparison.value[index])
        return Worst(
            quantity=quantity,
            process=repr(self.process),
            at={name: float(place[example or 0]) for name, place in places.items()},
            got=float(comparison.got[index]),
            want=value,
            error=error,
            bound=float(comparison.tolerance[index]),
            ulps=error / float(self.format.ulp(value)),
            beyond=int(comparison.violations.sum()),
            of=comparison.got.size,
            span=(float(times.min()), float(times.max())) if len(times) else (0.0, 0.0),
            reproducer=reproducer(self.origin, self.member, self.built.last, example),
        )

    def law(self, body: Callable[..., None], /, **strategies: SearchStrategy[Any]) -> None:
        """Hold `body(**drawn)` against examples that Hypothesis draws, and record the simplest violation."""
        self._raising = True
        broken: list[ContractViolation] = []

        def once(**drawn: Any) -> None:
            # A broken rule is reported as met: to look for a simpler example would break it a hundred times.
            if not broken:
                try:
                    body(**drawn)
                except ContractViolation as failure:
                    broken.append(failure)

        run = hypothesis.seed(self.seed)(_LAW(hypothesis.given(**strategies)(once)))
        try:
            with seeded():
                run()
        except Counterexample as violation:
            if self.worst is None or violation.worst.ratio > self.worst.ratio:
                self.worst = violation.worst
        except FlakyFailure:
            cause = f"{self.built.last.method} gives another result when called again"
            broken.append(ContractViolation("CON-4", cause))
        finally:
            self._raising = False
        if broken:
            raise broken[0]
