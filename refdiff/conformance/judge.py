"""One process judges any number of targets: run checks against a target, and collect what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, final

import numpy as np

from refdiff.conformance.check import Check
from refdiff.conformance.guard import Built, Call, Misbehaviour, NotClaimed, one_line
from refdiff.conformance.interface import Claim, Process, Target, Unsupported
from refdiff.conformance.loading import Member, build, checked, load, members
from refdiff.conformance.outcome import Outcome, Status, Worst
from refdiff.conformance.remote import Launch, Remote
from refdiff.conformance.reproducer import reproducer
from refdiff.conformance.subject import Subject

Body: TypeAlias = Callable[[Subject], None]


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
    """What the target claims, read once, if it loaded."""
    origin: str
    settings: Settings
    load_failure: Misbehaviour | None = None
    in_process: bool = True
    """Whether the target runs in this process, and not in one of its own."""
    _built: dict[Member, Built | Misbehaviour | Unsupported] = field(default_factory=dict)

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
        except Misbehaviour as failure:
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
            reason = f"the claim has no {', '.join(absent)}"
            return [Outcome(clause=check.clause, check=name, status="not_claimed", reason=reason)]
        return _Run(check, name, self).over(body)

    def subjects(self, check: Check, name: str) -> Iterable[Subject | tuple[Member, Misbehaviour | Unsupported]]:
        """Yield each process that the check applies to, or why it could not be built."""
        assert self.claim is not None
        kinds: set[type] = set()
        for member in members(self.claim, self.settings.seed):
            kind = type(member.process)
            first = kind not in kinds
            kinds.add(kind)
            if not isinstance(member.process, check.on):
                continue
            built = self._build(member)
            if not isinstance(built, Built):
                yield member, built
                continue
            yield Subject(
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

    def _other(self, process: Process) -> Built:
        assert self.claim is not None
        if type(process) not in self.claim.processes:
            name = type(process).__name__
            raise NotClaimed(f"the claim does not cover every {name}: to be judged, claim the type {name}")
        built = self._build(Member(process=process, expression=repr(process)))
        if isinstance(built, Built):
            return built
        raise built

    def _build(self, member: Member) -> Built | Misbehaviour | Unsupported:
        if member not in self._built:
            assert self.target is not None
            assert self.claim is not None
            try:
                self._built[member] = build(self.target, self.claim, member.process, self.settings.seconds)
            except (Misbehaviour, Unsupported) as failure:
                self._built[member] = failure
        return self._built[member]


@final
@dataclass(slots=True)
class _Run:
    """One check on its way over the processes."""

    check: Check
    name: str
    judge: Judge
    worst: Worst | None = None
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unbuilt: list[str] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    broken: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Rules of the contract that were broken: why, and the call that did it."""

    def over(self, body: Body) -> list[Outcome]:
        for subject in self.judge.subjects(self.check, self.name):
            if isinstance(subject, Subject):
                self._one(subject, body)
            else:
                member, failure = subject
                self._could_not_build(member, failure)
        own = Outcome(
            clause=self.check.clause,
            check=self.name,
            status=self._status(),
            reason=self._reason(),
            worst=self.worst,
            reproducer=next((call for _, call in self.broken.values()), ""),
            skipped=(*self.unbuilt, *self.skipped),
        )
        others = (
            Outcome(clause=clause, check=self.name, status="fail", reason=reason, reproducer=call)
            for clause, (reason, call) in self.broken.items()
            if clause != self.check.clause
        )
        return [own, *others]

    def _one(self, subject: Subject, body: Body) -> None:
        label = repr(subject.process)
        subject.built.last = Call()  # A reproducer never shows the call of an earlier check.
        try:
            # What a target returns may be infinite or NaN, and `expect` says so: arithmetic on it warns nobody.
            with np.errstate(all="ignore"):
                body(subject)
        except Misbehaviour as failure:
            self.failures.append(f"{label}: {failure} ({failure.clause})")
            last = subject.built.last
            call = reproducer(self.judge.origin, subject.member, last, None) if last.method else ""
            self.broken.setdefault(failure.clause, (f"{label}: {failure}", call))
        except Unsupported as failure:
            self.skipped.append(f"{label}: {failure}")
            if not subject.inner and not subject.built.is_chain:
                # It may serve all but the ends: the rest is judged, and the refusal is shown.
                self._one(replace(subject, inner=True, worst=None, refusals=[]), body)
        except NotClaimed as absent:
            self.unclaimed.append(str(absent))
        except Exception as error:  # noqa: BLE001  # a fault of the suite must fail a run, and never read as conforming
            self.failures.append(f"{label}: the suite itself failed, with {one_line(error)}")
        else:
            self._compared(subject.worst, label)
        self.skipped += [f"{label}: {refusal}" for refusal in subject.refusals]
        if subject.worst is not None and subject.worst.ratio > 1.0:
            self.failures.append(subject.worst.sentence())
        if subject.worst is not None and (self.worst is None or subject.worst.ratio > self.worst.ratio):
            self.worst = subject.worst

    def _compared(self, worst: Worst | None, label: str) -> None:
        if worst is None and self.check.compares:
            # A check that compared nothing is no evidence, whatever it returned.
            self.skipped.append(f"{label}: nothing lies in the domain of the clause in this dtype")
        elif worst is None or worst.ratio <= 1.0:
            self.passed += 1

    def _could_not_build(self, member: Member, failure: Misbehaviour | Unsupported) -> None:
        label = repr(member.process)
        if isinstance(failure, Misbehaviour) and self.check.clause == "CON-1":
            self.failures.append(f"{label}: {failure} ({failure.clause})")
            self.broken.setdefault(failure.clause, (f"{label}: {failure}", ""))
        else:
            # One process that cannot be built fails CON-1, not every clause.
            self.unbuilt.append(f"{label}: {failure}")

    def _status(self) -> Status:
        if self.failures:
            return "fail"
        if self.passed:
            return "pass"
        # A quantity that the library has for no process is not claimed, though one process was not built.
        return "unsupported" if self.skipped or (self.unbuilt and not self.unclaimed) else "not_claimed"

    def _reason(self) -> str:
        if self.failures:
            # The worst comparison speaks for all, but for a broken rule: that comes first.
            worst = self.worst.sentence() if self.worst is not None else ""
            first = worst if worst in self.failures and not self.broken else self.failures[0]
            more = f" (and {len(self.failures) - 1} more failures)" if len(self.failures) > 1 else ""
            return first + more
        if self.passed:
            return ""
        whys = (
            self.skipped or self.unclaimed or self.unbuilt or ["the claim has no process that the clause speaks about"]
        )
        return "; ".join(dict.fromkeys(whys))
