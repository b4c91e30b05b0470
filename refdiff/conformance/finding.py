"""Findings of a check on each process, and their combination into one outcome."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, final

import numpy as np

from refdiff.conformance.broken import Broken
from refdiff.conformance.case import Case
from refdiff.conformance.check import Check
from refdiff.conformance.guard import Call, ContractViolation, NotClaimed, one_line
from refdiff.conformance.interface import Unsupported
from refdiff.conformance.loading import Member
from refdiff.conformance.outcome import Outcome, Result, Status, Worst
from refdiff.conformance.reproducer import expecting
from refdiff.conformance.series import Curves, Series, bounded

Counts: TypeAlias = Mapping[str, tuple[int, int]]
"""By method: calls served, calls refused."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result, with what the report shows beside it."""

    result: Result
    worst: Worst | None = None
    why: str = ""
    """Why nothing was judged."""
    broken: tuple[Broken, ...] = ()
    """Rules of the contract that were broken."""
    calls: Counts = field(default_factory=dict)
    built: bool = True
    series: tuple[Series, ...] = ()


def find(check: Check, case: Case, body: Callable[[Case], None]) -> Finding:
    """Run a check on one process."""
    before = dict(case.built.calls)
    found = _find(check, case, body)
    calls = {
        method: (served - before.get(method, (0, 0))[0], refused - before.get(method, (0, 0))[1])
        for method, (served, refused) in case.built.calls.items()
    }
    return replace(found, calls={method: counts for method, counts in calls.items() if any(counts)})


def _find(check: Check, case: Case, body: Callable[[Case], None]) -> Finding:
    case.built.last = Call()  # A reproducer never shows the call of an earlier check.
    status: Status = "pass"
    why = trace = ""
    try:
        # What a target returns may be infinite or NaN, and `expect` says so: arithmetic on it warns nobody.
        with np.errstate(all="ignore"):
            body(case)
    except ContractViolation as failure:
        case.breaks(failure)
    except Unsupported as refusal:
        if not (case.inner or case.built.is_chain or _violated(case)):
            # It may serve all but the ends: the rest is judged, and the refusal is shown.
            inside = replace(case, inner=True, worst=None, refusals=[], unclaimed=[], broken=[], curves=Curves())
            inner = _find(check, inside, body)
            refusals = tuple(dict.fromkeys((str(refusal), *inner.result.refusals)))
            return replace(inner, result=replace(inner.result, refusals=refusals))
        status, why = "unsupported", str(refusal)
        case.refusals.append(why)
    except NotClaimed as absent:
        status, why = "not_claimed", str(absent)
    except Exception as error:  # noqa: BLE001  # a fault of the suite is no verdict on the target, and never silent
        status, why = "suite_error", f"the suite itself failed, with {one_line(error)}"
        trace = "".join(traceback.format_exception(error))
    else:
        if case.worst is None and check.compares:
            # A check that compared nothing is no evidence, whatever it returned.
            status = "unsupported" if case.refusals else "not_claimed"
            why = "; ".join(case.refusals) or "nothing lies in the domain of the clause in this dtype"
    failures = tuple(f"{broken.sentence} ({broken.clause})" for broken in case.broken)
    if status == "suite_error":
        failures = (*failures, why)
    elif case.broken:
        status, why = "fail", ""
    if case.worst is not None and _violated(case):
        status, failures = "fail", (*failures, case.worst.sentence())
    result = Result(
        process=repr(case.process),
        status=status,
        failures=failures,
        refusals=tuple(dict.fromkeys(case.refusals)),
        traceback=trace,
        broken=tuple(broken.clause for broken in case.broken),
        methods=tuple(broken.method for broken in case.broken),
        unclaimed=tuple(case.unclaimed),
    )
    worst = case.worst and replace(case.worst, reproducer=expecting(case.worst.reproducer, case.worst))
    series = case.curves.series(repr(case.process))
    return Finding(result=result, worst=worst, why=why, broken=tuple(case.broken), series=series)


def _violated(case: Case) -> bool:
    return case.worst is not None and case.worst.ratio > 1.0


def unbuilt(check: Check, member: Member, failure: ContractViolation | Unsupported) -> Finding:
    """Return the finding on a process that could not be built: it fails CON-1, and not every clause."""
    sentence = str(failure)
    if isinstance(failure, Unsupported):
        sentence = f"expected every claimed process to be built, got Unsupported: {failure}"
    clause = failure.clause if isinstance(failure, ContractViolation) else "CON-1"
    if check.clause == "CON-1":
        failures = (f"{sentence} ({clause})",)
        name = repr(member.process)
        result = Result(process=name, status="fail", failures=failures, broken=(clause,), methods=("build",))
        return Finding(result=result, broken=(Broken(clause, sentence, "build"),), built=False)
    result = Result(process=repr(member.process), status="unsupported", refusals=(str(failure),))
    return Finding(result=result, why=str(failure), built=False)


def fold(check: Check, name: str, findings: Sequence[Finding]) -> list[Outcome]:
    """Return the outcome of a check, and one more for each rule of the contract that it saw broken."""
    broken: dict[str, tuple[str, str]] = {}
    seen: dict[str, list[Result]] = {}
    for finding in findings:
        process = finding.result.process
        for one in finding.broken:
            broken.setdefault(one.clause, (f"{process}: {one.sentence}", one.reproducer))
            told = Result(
                process=process,
                status="fail",
                failures=(one.sentence,),
                broken=(one.clause,),
                methods=(one.method,),
            )
            seen.setdefault(one.clause, []).append(told)
    worst = max((f.worst for f in findings if f.worst is not None), key=lambda w: w.ratio, default=None)
    status = _status(findings)
    own = Outcome(
        clause=check.clause,
        check=name,
        status=status,
        reason=_reason(check, findings, worst, bool(broken)),
        worst=worst,
        reproducer=next((call for _, call in broken.values()), ""),
        results=tuple(finding.result for finding in findings),
        calls=_summed(finding.calls for finding in findings),
        series=bounded([series for finding in findings for series in finding.series]),
    )
    others = (
        Outcome(
            clause=clause,
            check=name,
            status="fail",
            reason=reason,
            reproducer=call,
            results=tuple(seen[clause]),
            by_way=True,
        )
        for clause, (reason, call) in broken.items()
        if clause != check.clause
    )
    return [own, *others]


def _summed(counts: Iterable[Counts]) -> Counts:
    total: dict[str, tuple[int, int]] = {}
    for one in counts:
        for method, (served, refused) in one.items():
            before = total.get(method, (0, 0))
            total[method] = (before[0] + served, before[1] + refused)
    return total


def _status(findings: Sequence[Finding]) -> Status:
    found = {finding.result.status for finding in findings}
    order: tuple[Status, ...] = ("fail", "suite_error", "pass")
    for status in order:
        if status in found:
            return status
    refused = any(finding.result.status == "unsupported" and finding.built for finding in findings)
    # A quantity that the library has for no process is not claimed, though one process was not built.
    return "unsupported" if refused or found == {"unsupported"} else "not_claimed"


def _reason(check: Check, findings: Sequence[Finding], worst: Worst | None, is_broken: bool) -> str:
    status = _status(findings)
    if status in ("fail", "suite_error"):
        lines = [_line(f, line) for f in findings if f.result.status == status for line in f.result.failures]
        # The worst comparison speaks for all, but for a broken rule: that comes first.
        sentence = worst.sentence() if worst is not None else ""
        return sentence if sentence in lines and not is_broken else lines[0]
    if status == "pass":
        return ""
    whys = [f.why for kind in ("unsupported", "not_claimed") for f in findings if f.result.status == kind]
    return "; ".join(dict.fromkeys(whys)) or f"the claim lists no {' or '.join(kind.__name__ for kind in check.on)}"


def _line(finding: Finding, line: str) -> str:
    """Return a failure with its process in front; the sentence of a comparison names it already."""
    is_comparison = finding.worst is not None and line == finding.worst.sentence()
    return line if is_comparison else f"{finding.result.process}: {line}"
