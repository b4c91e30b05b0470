"""Report of a run, clause by clause, with its verdict; source of report.json, report.md and the terminal output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, final, get_args

from refdiff import __version__
from refdiff.conformance.broken import First, advice, by_method
from refdiff.conformance.clauses import Clause
from refdiff.conformance.diagnosis import Diagnosis
from refdiff.conformance.files import replace_file
from refdiff.conformance.interface import METHODS, Claim, kind_of
from refdiff.conformance.known import KnownFailure, applied
from refdiff.conformance.loading import Member
from refdiff.conformance.outcome import Outcome, Result, Status, Worst
from refdiff.conformance.portable import dumped
from refdiff.conformance.roots import Cause, find_causes
from refdiff.errors import ConfigError

SCHEMA_VERSION = "2"
RowStatus: TypeAlias = Literal[
    "pass", "fail", "known_failure", "suite_error", "unsupported", "not_claimed", "not_run", "no_check"
]
Verdict: TypeAlias = Literal[
    "incomplete",
    "non-conforming",
    "suite-error",
    "conforming-with-warnings",
    "conforming-with-known-failures",
    "conforming",
]
JUDGED = ("pass", "fail", "known_failure")
"""Statuses of a clause that a target was judged on."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clause in a report."""

    clause: Clause
    status: RowStatus
    reason: str
    """One line: why it failed, or was not judged."""
    hint: str
    """What may mend it; empty if nothing is known."""
    evidence: tuple[str, ...]
    """Kinds of evidence, independent of the target, that the clause is true."""
    worst: Worst | None
    reproducer: str
    """Python that repeats the worst call, or the one that broke a rule of the contract."""
    outcomes: tuple[Outcome, ...]
    selected: bool = True
    """Whether it belongs to the requested chapters."""
    causes: tuple[Cause, ...] = ()
    """Failures of other clauses that this one may follow from."""
    unmet: bool = False
    """Whether it fails because it was required, and was not judged wholly."""

    @property
    def word(self) -> str:
        """The status as a person reads it: a SHOULD that fails is a warning."""
        if self.status == "fail" and self.clause.level == "SHOULD" and not self.unmet:
            return "warning"
        return self.status.replace("_", " ")

    def results_with(self, status: Literal["pass", "fail", "suite_error"]) -> list[Result]:
        """Return the results of its checks on single processes that have a status."""
        return [result for outcome in self.outcomes for result in outcome.results if result.status == status]

    @property
    def failures(self) -> tuple[str, ...]:
        """Every failure, one line each: the check, the process, and what was found."""
        return tuple(
            f"{outcome.check}, {result.process}: {line}"
            for outcome in self.outcomes
            for result in outcome.results
            for line in result.failures
        )

    @property
    def methods(self) -> tuple[First, ...]:
        """The first failure of each method that broke it, of a rule of the contract."""
        return by_method(self.clause.id, self.outcomes)

    @property
    def failed_on(self) -> tuple[str, ...]:
        """Processes on which a check of it failed."""
        return tuple(dict.fromkeys(result.process for result in self.results_with("fail")))

    @property
    def passed_on(self) -> tuple[str, ...]:
        """Processes on which checks of it passed, and none failed."""
        return tuple(dict.fromkeys(r.process for r in self.results_with("pass") if r.process not in self.failed_on))

    @property
    def in_part(self) -> bool:
        """Whether the target refused some of the calls by which the clause is judged."""
        own = [outcome for outcome in self.outcomes if not outcome.by_way]
        refused = any(outcome.status == "unsupported" for outcome in own)
        return self.status in JUDGED and (refused or any(outcome.in_part for outcome in own))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run, judged."""

    target: Mapping[str, Any]
    """Name, version, dtype and the rest of the claim; or only where it was looked for."""
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]
    errors: tuple[str, ...]
    """Reasons for failure other than clauses: a stale known failure, or evidence that fails."""
    missing: tuple[str, ...] = ()
    """Checks that the claim calls for and that did not run to their end, one line each."""
    suite_errors: tuple[str, ...] = ()
    """Tracebacks of the suite's own failures."""
    chapters: tuple[str, ...] = ()
    """Requested chapters; empty means all."""
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    """Which known faults the failures look like."""

    @property
    def complete(self) -> bool:
        """Whether every check that the claim calls for ran to its end."""
        return not self.missing

    @property
    def verdict(self) -> Verdict:
        """Verdict on the target."""
        if self.missing:
            return "incomplete"
        if self.does_not_conform:
            return "non-conforming"
        if self.suite_errors or any(row.status == "suite_error" for row in self.rows):
            return "suite-error"
        if any(row.status == "fail" for row in self.rows):
            return "conforming-with-warnings"
        known = any(row.status == "known_failure" for row in self.rows)
        return "conforming-with-known-failures" if known else "conforming"

    @property
    def does_not_conform(self) -> bool:
        """Whether what was judged is enough to say that the target does not conform."""
        return bool(self.errors) or any(row.word == "fail" for row in self.rows)

    def cover(self) -> dict[str, int]:
        """Return how many clauses that have a check were judged, wholly and in part, and what became of the others."""
        rows = [row for row in self.rows if row.selected and row.status != "no_check"]
        of = {status: sum(row.status == status for row in rows) for status in get_args(RowStatus)}
        return {
            "judged": sum(of[status] for status in JUDGED),
            "in_part": sum(row.in_part for row in rows),
            "total": len(rows),
            **{status: of[status] for status in ("not_claimed", "unsupported", "not_run", "suite_error")},
        }

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds (spec/report.schema.json)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "refdiff": {"version": __version__},
            "target": dict(self.target),
            "environment": dict(self.environment) | {"complete": self.complete},
            "verdict": self.verdict,
            "cover": self.cover(),
            "chapters": list(self.chapters),
            "missing": list(self.missing),
            "errors": list(self.errors),
            "suite_errors": list(self.suite_errors),
            "diagnosis": self.diagnosis.as_json(),
            "clauses": [_row_as_json(row) for row in self.rows],
        }


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "id": row.clause.id,
        "level": row.clause.level,
        "chapter": row.clause.chapter,
        "title": row.clause.title,
        "hint": row.hint,
        "text": " ".join(row.clause.text.split()),
        "status": row.word.replace(" ", "_"),
        "in_part": row.in_part,
        "reason": row.reason,
        "methods": [first.as_json() for first in row.methods],
        "may_follow_from": [asdict(cause) for cause in row.causes],
        "failed_on": list(row.failed_on),
        "passed_on": list(row.passed_on),
        "evidence": list(row.evidence),
        "worst": row.worst.as_json() if row.worst else None,
        "reproducer": row.reproducer,
        "checks": [outcome.as_json() for outcome in row.outcomes],
    }


def assemble(
    clauses: Iterable[Clause],
    outcomes: Sequence[Outcome],
    *,
    target: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Iterable[str]] | None = None,
    broken_evidence: Sequence[str] = (),
    known: Mapping[str, KnownFailure] | None = None,
    required: Sequence[str] = (),
    missing: Sequence[str] = (),
    suite_errors: Sequence[str] = (),
    chapters: Sequence[str] = (),
    diagnosis: Diagnosis | None = None,
) -> Report:
    """Aggregate outcomes into one row for each clause.

    target: as `described` gives it;
    evidence: kinds of evidence by clause id; broken_evidence: sentences about evidence that failed;
    required: ids, or prefixes of ids, that must be judged wholly;
    missing: checks that did not run to their end; suite_errors: failures of the suite outside of its checks;
    chapters: prefixes of the requested clauses; empty means all;
    diagnosis: which known faults the failures look like.
    """
    known, evidence = known or {}, evidence or {}
    found = [*outcomes, *_never_served(target, outcomes)]
    rows, errors = [], list(broken_evidence)
    for clause in clauses:
        # Sorted: xdist's workers finish in any order, and the report says the same.
        own = tuple(sorted((o for o in found if o.clause == clause.id), key=lambda o: (o.check, o.reason)))
        row = _row(clause, own, tuple(sorted(set(evidence.get(clause.id, ())))), chapters)
        row = replace(row, hint=row.hint or advice(row.methods, has_events=bool(target.get("events"))))
        if clause.id in known:
            row, passing = applied(row, known[clause.id])
            errors += passing
        # After the known failures: a list of them does not excuse a claim that shrinks.
        rows.append(_required(row) if _matches(clause.id, required) else row)
    if not target["dtype"] and outcomes:
        errors.append(f"the target did not load: {outcomes[0].reason}")
    judged = {row.status for row in rows if row.selected and not row.clause.id.startswith("CON")}
    if not missing and not judged & {*JUDGED, "suite_error", "not_run"} and set(chapters) != {"CON"}:
        errors.append("nothing was judged: no clause but those of the contract itself was claimed and served")
    if target["dtype"] and not missing:
        idle = (row.clause.id for row in rows if row.selected and row.status == "not_run")
        missing = [f"{clause}: no check of it was run" for clause in idle]
    causes = find_causes(rows)
    traces = [result.traceback for outcome in outcomes for result in outcome.results if result.traceback]
    return Report(
        target=target,
        environment=environment or {},
        rows=tuple(replace(row, causes=causes.get(row.clause.id, ())) for row in rows),
        errors=tuple(errors),
        missing=tuple(missing),
        suite_errors=tuple(dict.fromkeys((*suite_errors, *traces))),
        chapters=tuple(chapters),
        diagnosis=diagnosis or Diagnosis(),
    )


def _matches(clause: str, ids: Sequence[str]) -> bool:
    return any(clause == name or clause.startswith(f"{name}-") for name in ids)


def _row(clause: Clause, outcomes: tuple[Outcome, ...], evidence: tuple[str, ...], chapters: Sequence[str]) -> Row:
    status, reason = _status(clause, outcomes)
    selected = not chapters or _matches(clause.id, chapters)
    if status == "not_run" and not selected:
        reason = f"--refdiff-chapter asks for {', '.join(chapters)} only"
    worst = max((o.worst for o in outcomes if o.worst is not None), key=lambda w: w.ratio, default=None)
    if status == "fail" and worst is not None and worst.ratio <= 1.0:
        worst = None  # It failed for breaking a rule of the contract: what it did compare is beside the point.
    return Row(
        clause=clause,
        status=status,
        reason=reason,
        hint=clause.hint,
        evidence=evidence,
        worst=worst,
        reproducer=_reproducer(worst, outcomes),
        outcomes=outcomes,
        selected=selected,
    )


def _required(row: Row) -> Row:
    """Return the row as a failure if it was not judged, or in part only."""
    if row.status in ("not_claimed", "unsupported", "not_run"):
        return replace(row, status="fail", unmet=True, reason=f"required, but {row.word}: {row.reason}")
    if row.status == "pass" and row.in_part:
        refused = dict.fromkeys(line for outcome in row.outcomes for line in outcome.skipped)
        refused |= dict.fromkeys(o.reason for o in row.outcomes if o.status == "unsupported")
        return replace(row, status="fail", unmet=True, reason=f"required, but judged in part: {'; '.join(refused)}")
    return row


def _never_served(target: Mapping[str, Any], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return a failure of CON-1 for each capability and step that is claimed, and refused at every call."""
    failures = []
    for capability in target["capabilities"]:
        chains = {"Chain", "OwnChain"}
        if capability == "sde" and all(member["kind"] in chains for member in target.get("members", ())):
            continue  # A chain has no rate: there is no process on which the capability could be served.
        calls = [outcome.calls[name] for outcome in outcomes for name in METHODS[capability] if name in outcome.calls]
        served, refused = (sum(counts[i] for counts in calls) for i in (0, 1))
        if refused and not served:
            reason = f"the claim lists {capability!r}, and all {refused} calls of it raised Unsupported"
            failures.append(Outcome(clause="CON-1", check="capabilities", status="fail", reason=reason))
    for step in target.get("steps", ()):
        served, refused = (sum(outcome.calls.get(step, (0, 0))[i] for outcome in outcomes) for i in (0, 1))
        if refused and not served:
            reason = f"the claim lists the step {step!r}, and all {refused} calls of it raised Unsupported"
            failures.append(Outcome(clause="CON-1", check="steps", status="fail", reason=reason))
    return failures


def _reproducer(worst: Worst | None, outcomes: Sequence[Outcome]) -> str:
    if worst is not None:
        return worst.reproducer
    return next((outcome.reproducer for outcome in outcomes if outcome.reproducer), "")


def _status(clause: Clause, outcomes: Sequence[Outcome]) -> tuple[RowStatus, str]:
    order: tuple[Status, ...] = ("fail", "suite_error", "pass", "unsupported", "not_claimed", "not_run")
    for status in order:
        found = [outcome for outcome in outcomes if outcome.status == status]
        if found:
            return status, "" if status == "pass" else _why(found)
    if clause.check_note:
        return "no_check", clause.check_note
    return "not_run", "no check of it was selected"


def _why(outcomes: Sequence[Outcome]) -> str:
    """Return the reason of outcomes that have one status: of failures the worst, and how many more there are."""
    if outcomes[0].status not in ("fail", "suite_error"):
        return "; ".join(dict.fromkeys(outcome.reason for outcome in outcomes))
    worst = max(outcomes, key=lambda o: o.worst.ratio if o.worst else 0.0)
    more = sum(max(1, sum(len(result.failures) for result in outcome.results)) for outcome in outcomes) - 1
    return worst.reason + (f" (and {more} more failure{'s' if more > 1 else ''})" if more else "")


def described(claim: Claim | None, origin: str, members: Iterable[Member] = ()) -> dict[str, Any]:
    """Return what a report says of a target: its claim, or only where it was looked for.

    members: the processes that are judged.
    """
    if claim is None:
        return {
            "origin": origin,
            "name": origin,
            "version": "",
            "dtype": "",
            "processes": [],
            "capabilities": [],
            "members": [],
            "contract": 1,
            "steps": [],
        }
    processes = [f"any {p.__name__}" if isinstance(p, type) else repr(p) for p in claim.processes]
    return {
        "origin": origin,
        "name": claim.name,
        "version": claim.version,
        "dtype": claim.dtype,
        "processes": processes,
        "capabilities": sorted(claim.capabilities),
        "events": None if claim.events is None else [list(event) for event in claim.events],
        "members": [{"process": repr(m.process), "kind": kind_of(m.process)} for m in members],
        "contract": claim.contract,
        "steps": [str(step) for step in claim.steps] if claim.contract > 1 and "step" in claim.capabilities else [],
        **({"predictions": list(claim.predictions)} if claim.predictions else {}),
        **({"conversions": [" to ".join(pair) for pair in claim.conversions]} if claim.conversions else {}),
    }


def write(report: Report, folder: Path, markdown: str, *, last: bool = True) -> None:
    """Write report.md and report.json into a folder, each atomically; append to GitHub's step summary at the `last`."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "report.md", markdown)
    replace_file(folder / "report.json", dumped(report.as_json()))
    if last and (summary := os.environ.get("GITHUB_STEP_SUMMARY")):
        try:
            with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(markdown)
        except OSError as error:
            need = "expected GITHUB_STEP_SUMMARY to name a file to append to"
            raise ConfigError(f"{need}, got {summary!r} ({error})") from None
