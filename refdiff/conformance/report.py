"""What a run found, clause by clause: the verdict, and report.json, report.md and the terminal from one value."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from refdiff import __version__
from refdiff.conformance.clauses import Clause
from refdiff.conformance.interface import Claim
from refdiff.conformance.known import KnownFailure
from refdiff.conformance.outcome import Outcome, Worst

SCHEMA_VERSION = "1"
RowStatus: TypeAlias = Literal["pass", "fail", "known", "unsupported", "not_claimed", "not_run", "no_check"]
Verdict: TypeAlias = Literal["conforming", "weak", "non-conforming"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clause in a report."""

    clause: Clause
    status: RowStatus
    reason: str
    """One line: why it failed, or was not judged."""
    standing: tuple[str, ...]
    """Kinds of evidence, independent of the target, that the clause is true."""
    worst: Worst | None
    reproducer: str
    """Python that repeats the worst call, or the one that broke a rule of the contract."""
    outcomes: tuple[Outcome, ...]

    @property
    def word(self) -> str:
        """Return the status as a person reads it: a SHOULD that fails is weak, not wrong."""
        if self.status == "fail" and self.clause.level == "SHOULD":
            return "weak"
        return self.status.replace("_", " ")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run, judged."""

    target: Mapping[str, Any]
    """Name, version, dtype and the rest of the claim; or only where it was looked for."""
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]
    errors: tuple[str, ...]
    """What makes a run fail beside the clauses: a stale known failure, evidence that broke."""

    @property
    def complete(self) -> bool:
        """Say whether every clause that has a check was looked at."""
        return not any(row.status == "not_run" for row in self.rows)

    @property
    def verdict(self) -> Verdict:
        """Return what the run says of the target."""
        if self.errors or any(row.status == "fail" and row.clause.level == "MUST" for row in self.rows):
            return "non-conforming"
        return "weak" if any(row.status == "fail" for row in self.rows) else "conforming"

    def counts(self) -> dict[str, int]:
        """Return how many clauses have each status, in words."""
        words = [row.word for row in self.rows]
        return {word: words.count(word) for word in dict.fromkeys(words)}

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds (spec/report.schema.json)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "refdiff": {"version": __version__},
            "target": dict(self.target),
            "environment": dict(self.environment) | {"complete": self.complete},
            "verdict": self.verdict,
            "errors": list(self.errors),
            "clauses": [
                {
                    "id": row.clause.id,
                    "level": row.clause.level,
                    "chapter": row.clause.chapter,
                    "text": " ".join(row.clause.text.split()),
                    "status": row.status,
                    "reason": row.reason,
                    "standing": list(row.standing),
                    "worst": row.worst.as_json() if row.worst else None,
                    "reproducer": row.reproducer,
                    "checks": [outcome.as_json() for outcome in row.outcomes],
                }
                for row in self.rows
            ],
        }


def assemble(
    clauses: Iterable[Clause],
    outcomes: Sequence[Outcome],
    *,
    target: Mapping[str, Any],
    environment: Mapping[str, Any] | None = None,
    standing: Mapping[str, Iterable[str]] | None = None,
    broken_standing: Sequence[str] = (),
    known: Mapping[str, KnownFailure] | None = None,
    required: Sequence[str] = (),
) -> Report:
    """Aggregate outcomes into one row for each clause.

    target: as `described` gives it;
    standing: kinds of evidence by clause id; broken_standing: sentences about evidence that failed;
    required: ids, or prefixes of ids, that must be claimed.
    """
    clauses, known, standing = list(clauses), known or {}, standing or {}
    rows, errors = [], list(broken_standing)
    for clause in clauses:
        # Sorted: xdist's workers finish in any order, and the report says the same.
        own = tuple(sorted((o for o in outcomes if o.clause == clause.id), key=lambda o: (o.check, o.reason)))
        status, reason = _status(clause, own)
        needed = any(clause.id == need or clause.id.startswith(f"{need}-") for need in required)
        if needed and status in ("not_claimed", "unsupported"):
            status, reason = "fail", f"required, but {status.replace('_', ' ')}: {reason}"
        failed = status == "fail"
        if clause.id in known and failed:
            status, reason = "known", f"{known[clause.id].reason} ({known[clause.id].link}): {reason}"
        elif clause.id in known and status == "pass":
            errors.append(f"{clause.id} is listed as a known failure, and passes: take it off the list")
        worst = max((o.worst for o in own if o.worst is not None), key=lambda w: w.ratio, default=None)
        if failed and worst is not None and worst.ratio <= 1.0:
            worst = None  # It failed for breaking a rule of the contract: what it did compare is beside the point.
        rows.append(
            Row(
                clause=clause,
                status=status,
                reason=reason,
                standing=tuple(sorted(set(standing.get(clause.id, ())))),
                worst=worst,
                reproducer=_reproducer(worst, own),
                outcomes=own,
            )
        )
    if not target["dtype"] and outcomes:
        errors.append(f"the target did not load: {outcomes[0].reason}")
    judged = {row.status for row in rows if not row.clause.id.startswith("CON")}
    if not judged & {"pass", "fail", "known", "not_run"}:
        errors.append("nothing was judged: no clause but those of the contract itself was claimed and served")
    for need in required:
        if not any(clause.id == need or clause.id.startswith(f"{need}-") for clause in clauses):
            errors.append(f"--refdiff-require wants ids or prefixes of clauses, got {need!r}")
    return Report(
        target=target,
        environment=environment or {},
        rows=tuple(rows),
        errors=tuple(errors),
    )


def _reproducer(worst: Worst | None, outcomes: Sequence[Outcome]) -> str:
    if worst is not None:
        return worst.reproducer
    return next((outcome.reproducer for outcome in outcomes if outcome.reproducer), "")


def _status(clause: Clause, outcomes: Sequence[Outcome]) -> tuple[RowStatus, str]:
    order: tuple[RowStatus, ...] = ("fail", "pass", "unsupported", "not_claimed", "not_run")
    for status in order:
        found = [outcome for outcome in outcomes if outcome.status == status]
        if found:
            worst = max(found, key=lambda o: o.worst.ratio if o.worst else 0.0)
            return status, "" if status == "pass" else worst.reason
    if clause.check_note:
        return "no_check", clause.check_note
    return "not_run", "no check of it was selected"


def described(claim: Claim | None, origin: str) -> dict[str, Any]:
    """Return what a report says of a target: its claim, or only where it was looked for."""
    if claim is None:
        return {"origin": origin, "name": origin, "version": "", "dtype": "", "processes": [], "capabilities": []}
    processes = [f"any {p.__name__}" if isinstance(p, type) else repr(p) for p in claim.processes]
    return {
        "origin": origin,
        "name": claim.name,
        "version": claim.version,
        "dtype": claim.dtype,
        "processes": processes,
        "capabilities": sorted(claim.capabilities),
    }


def environment(**more: Any) -> dict[str, Any]:
    """Return where a run took place: Python, platform, and the versions of what computes."""
    packages = {}
    for name in ("numpy", "scipy", "torch", "hypothesis", "python-flint", "sympy", "torchsde"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": packages, **more}


def write(report: Report, folder: Path, markdown: str) -> None:
    """Write report.json and report.md into a folder, each atomically; append to GitHub's step summary."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "report.json", json.dumps(report.as_json(), indent=1, allow_nan=False, ensure_ascii=True) + "\n")
    _replace(folder / "report.md", markdown)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(markdown)


def _replace(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # A message of a target's may hold what UTF-8 cannot: half of a surrogate pair.
    temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)
