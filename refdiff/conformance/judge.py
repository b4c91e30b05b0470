"""One process judges any number of targets: run checks against a target, and collect what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, final

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import Check, speaks_of
from refdiff.conformance.finding import find, fold, unbuilt
from refdiff.conformance.guard import Built, ContractViolation, NotClaimed
from refdiff.conformance.interface import Array, Claim, Process, Target, Times, Unsupported, kind_of
from refdiff.conformance.loading import Member, build, checked, load, members
from refdiff.conformance.outcome import Outcome, Status
from refdiff.conformance.recorder import Recorded
from refdiff.conformance.records import Records
from refdiff.conformance.remote import Launch, Remote

Body: TypeAlias = Callable[[Case], None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to judge."""

    seed: int = 0
    """Of every random draw of the suite."""
    full: bool = False
    """Whether to spend minutes."""
    seconds: float = 20.0
    """Limit on one call of the target."""


@final
@dataclass(slots=True)
class Judge:
    """A target under judgement. Processes are built once, when a check first needs them."""

    target: Target | None
    claim: Claim | None
    """Claim of the target, read once; None if it did not load."""
    origin: str
    settings: Settings
    load_failure: ContractViolation | None = None
    in_process: bool = True
    """Whether the target runs in this process, and not in one of its own."""
    records: Records = field(default_factory=Records)
    """Calls from which failures are diagnosed."""
    _built: dict[Member, Built | ContractViolation | Unsupported] = field(default_factory=dict)

    @staticmethod
    def of(
        target: Target | str,
        settings: Settings | None = None,
        folder: Path | None = None,
        launch: Launch | None = None,
    ) -> Judge:
        """Return the judge of a target, or of what `package.module:factory` names.

        launch: how to start it in a process of its own; by default it runs in this one. A target that does not
        load is judged too: CON-1 fails, and the other clauses are not run.
        """
        chosen = settings or Settings()
        origin = target if isinstance(target, str) else ""
        origin = launch.origin(origin) if launch else origin
        try:
            if launch is not None and isinstance(target, str):
                remote = Remote(launch, target, seconds=chosen.seconds, folder=folder)
                made: tuple[Target, Claim] = (remote, remote.claim)
            elif isinstance(target, str):
                made = load(target, chosen.seconds, folder)
            else:
                made = checked(target, chosen.seconds)
        except ContractViolation as failure:
            return Judge(None, None, origin, chosen, failure, in_process=launch is None)
        return Judge(*made, origin, chosen, in_process=launch is None)

    def judge(self, checks: Iterable[tuple[Check, Body]]) -> list[Outcome]:
        """Run checks, and return all that they found."""
        return [outcome for check, body in checks for outcome in self.run(check, body)]

    def run(self, check: Check, body: Body) -> list[Outcome]:
        """Run one check on every process it applies to.

        Returns its outcome first, and then one for each rule of the contract that was broken on the way.
        """
        name = getattr(body, "__name__", str(body))
        if self.claim is None:
            status: Status = "fail" if check.clause == "CON-1" else "not_run"
            return [Outcome(clause=check.clause, check=name, status=status, reason=str(self.load_failure))]
        if absent := [need for need in check.needs if need not in self.claim.capabilities]:
            reason = f"the claim lists no {' and no '.join(absent)}"
            return [Outcome(clause=check.clause, check=name, status="not_claimed", reason=reason)]
        findings = []
        for case in self.cases(check, name):
            if isinstance(case, Case):
                findings.append(find(check, case, body))
                # A failure whose calls were too large to keep is one all the same.
                calls = self._recorded() or [(case.process, [])]
                self.records.take(check.clause, findings[-1].result.status, calls)
            else:
                findings.append(unbuilt(check, *case))
                if check.clause == "CON-1" and isinstance(case[1], ContractViolation):
                    call = Recorded(method="build", arguments=(), refused=case[1].clause)
                    self.records.take(check.clause, "fail", [(case[0].process, [call])])
        return fold(check, name, findings)

    @property
    def members(self) -> tuple[Member, ...]:
        """The processes to judge."""
        return tuple(members(self.claim, self.settings.seed)) if self.claim is not None else ()

    def cases(self, check: Check, name: str) -> Iterable[Case | tuple[Member, ContractViolation | Unsupported]]:
        """Yield each process that the check applies to, or why it could not be built."""
        assert self.claim is not None
        kinds: set[str] = set()
        on = [kind.__name__ for kind in check.on]
        for member in self.members:
            kind = kind_of(member.process)
            first = kind not in kinds
            kinds.add(kind)
            if not speaks_of(on, kind):
                continue
            built = self._build(member)
            if not isinstance(built, Built):
                yield member, built
                continue
            yield Case(
                member=member,
                built=built,
                origin=self.origin,
                name=name,
                claim=self.claim,
                others=self._other,
                seed=self.settings.seed,
                full=self.settings.full,
                first=first,
            )

    def _recorded(self) -> list[tuple[Process, list[Recorded]]]:
        """Return the calls since the last check, by process."""
        drained = [(m.process, b.recorder.drain()) for m, b in self._built.items() if isinstance(b, Built)]
        return [(process, calls) for process, calls in drained if calls]

    def tell(self, process: Process, t: Times) -> Mapping[str, Array]:
        """Return the coefficients that the target has at t; without a schedule alpha, from what it does to data of 1.

        Raises what `build` and the call raise.
        """
        assert self.claim is not None
        built = self._build(next(member for member in self.members if member.process == process))
        if not isinstance(built, Built):
            raise built
        if "schedule" in self.claim.capabilities:
            return built.coefficients(t)
        one = np.ones((len(t), *(self.claim.events or ((1,),))[0]), dtype=built.format.storage)
        return {"alpha": built.perturb(one, np.zeros_like(one), t).reshape(len(t), -1)[:, 0]}

    def _other(self, process: Process) -> Built:
        assert self.claim is not None
        if type(process) not in self.claim.processes:
            name = type(process).__name__
            raise NotClaimed(f"the claim does not cover every {name}: to be judged, claim the type {name}")
        built = self._build(Member(process=process, expression=repr(process)))
        if isinstance(built, Built):
            return built
        raise built

    def _build(self, member: Member) -> Built | ContractViolation | Unsupported:
        if member not in self._built:
            assert self.target is not None
            assert self.claim is not None
            try:
                self._built[member] = build(self.target, self.claim, member.process, self.settings.seconds)
            except (ContractViolation, Unsupported) as failure:
                self._built[member] = failure
        return self._built[member]
