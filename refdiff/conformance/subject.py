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

from refdiff.conformance.formats import Format
from refdiff.conformance.guard import Built, Misbehaviour, NotClaimed
from refdiff.conformance.interface import Capability, Claim, Process
from refdiff.conformance.loading import Member
from refdiff.conformance.outcome import Worst
from refdiff.conformance.reproducer import reproducer

_LAW = settings(
    max_examples=25,
    phases=(Phase.generate, Phase.shrink),
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@final
class Violation(Exception):
    """A law fails on the example at hand; Hypothesis looks for a simpler one."""

    def __init__(self, worst: Worst) -> None:
        """Carry the comparison."""
        super().__init__(worst.sentence())
        self.worst = worst


@final
@dataclass(slots=True, kw_only=True)
class Subject:
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
    worst: Worst | None = None
    """The worst comparison so far."""
    _raising: bool = field(default=False)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities that the target claims."""
        return self.claim.capabilities

    @property
    def process(self) -> Process:
        """The process, as the target was asked for it."""
        return self.member.process

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

    def expect(
        self,
        quantity: str,
        got: npt.ArrayLike,
        want: npt.ArrayLike,
        bound: npt.ArrayLike,
        *,
        at: Mapping[str, npt.ArrayLike],
        residual: npt.ArrayLike = 0.0,
    ) -> None:
        """Record |got - (want + residual)| <= bound, elementwise; the last call made is to blame.

        got: (n, ...); want, residual and bound broadcast against it; at: what to report, each (n,).
        NaN violates every bound; equal infinities agree.
        """
        observed = np.asarray(got, dtype=np.float64)
        if observed.size == 0:
            return
        with np.errstate(all="ignore"):
            exact, rest, limit = (
                np.broadcast_to(np.asarray(x, dtype=np.float64), observed.shape) for x in (want, residual, bound)
            )
            error = np.where(observed == exact, np.abs(rest), np.abs((observed - exact) - rest))
            # 0/0 and inf/inf are met bounds; what compares false with everything is NaN, and meets none.
            share = np.where((error > 0.0) & (limit < np.inf), error / limit, 0.0)
            ratio = np.where(error <= limit, share, np.where(np.isnan(share + error + limit), np.inf, share))
            index = np.unravel_index(int(np.argmax(ratio)), observed.shape)
        # One number stands for the whole batch: no example of it repeats the call.
        example = int(index[0]) if index else None
        # The time of a chain is an index, and a reader should see which.
        at = {"k" if name == "t" and self.built.is_chain else name: where for name, where in at.items()}
        rows = np.flatnonzero((ratio > 1.0).reshape(len(ratio) if ratio.ndim else 1, -1).any(axis=1))
        first = np.asarray(next(iter(at.values())))
        when = np.broadcast_to(first, observed.shape[:1] or first.shape or (1,))[rows]
        worst = Worst(
            quantity=quantity,
            process=repr(self.process),
            at={
                name: float(np.broadcast_to(np.asarray(x), observed.shape[:1] or np.shape(x) or (1,))[example or 0])
                for name, x in at.items()
            },
            got=float(observed[index]),
            want=float(exact[index]),
            error=float(error[index]),
            bound=float(limit[index]),
            ulps=float(error[index] / self.format.ulp(exact[index])),
            beyond=int((ratio > 1.0).sum()),
            of=observed.size,
            span=(float(when.min()), float(when.max())) if len(when) else (0.0, 0.0),
            reproducer=reproducer(self.origin, self.member, self.built.last, example),
        )
        if self._raising and worst.ratio > 1.0:
            raise Violation(worst)
        if self.worst is None or worst.ratio > self.worst.ratio:
            self.worst = worst

    def law(self, body: Callable[..., None], /, **strategies: SearchStrategy[Any]) -> None:
        """Hold `body(**drawn)` against examples that Hypothesis draws, and record the simplest violation."""
        self._raising = True
        broken: list[Misbehaviour] = []

        def once(**drawn: Any) -> None:
            # A broken rule is reported as met: to look for a simpler example would break it a hundred times.
            if not broken:
                try:
                    body(**drawn)
                except Misbehaviour as failure:
                    broken.append(failure)

        run = hypothesis.seed(self.seed)(_LAW(hypothesis.given(**strategies)(once)))
        try:
            run()
        except Violation as violation:
            if self.worst is None or violation.worst.ratio > self.worst.ratio:
                self.worst = violation.worst
        except FlakyFailure:
            cause = f"{self.built.last.method} gives another result when called again"
            broken.append(Misbehaviour("CON-4", cause))
        finally:
            self._raising = False
        if broken:
            raise broken[0]
