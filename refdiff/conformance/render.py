"""Words of a report that the terminal and report.md share: verdict, order of failures, and folded lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from refdiff.conformance.clauses import clauses
from refdiff.conformance.report import JUDGED, Report, Row
from refdiff.errors import plain

_PAIR = r"\S+ to \S+"
_STEP = r"(?:em|ddpm|ddim|ode)(?: of (?:x_0|v|score))?(?: with variance beta| with eta [0-9.e-]+)?"
_CASE = re.compile(
    rf"(?:(?P<case>(?:{_PAIR}(?: against {_PAIR})?|{_STEP})(?:, at the ends of time)?): )?(?P<reason>.*)", re.S
)
"""A refusal: of one rule, or one pair of predictions or of a prediction and a weight, and the reason."""
FAILED = ("fail", "known_failure", "suite_error")
"""Statuses of a row that needs an explanation."""


def title(report: Report) -> str:
    """Return one line: who was judged, and how."""
    target, seed = report.target, report.environment.get("seed", 0)
    name = " ".join(filter(None, (target["name"], target["version"])))
    return plain(f"{name} ({target['dtype'] or 'not loaded'}), seed {seed}")


def verdict(report: Report) -> str:
    """Return one line: what the run says, and of how many clauses."""
    only = f" ({', '.join(report.chapters)} only)" if report.chapters else ""
    return plain(f"{report.target['name']} {_said(report)}{only}: {_cover(report)}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 failure, 2 failures."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _said(report: Report) -> str:
    known = sum(row.status == "known_failure" for row in report.rows)
    if report.verdict == "incomplete":
        so_far = " and does NOT conform" if report.does_not_conform else ""
        return f"is incomplete{so_far}: {counted(len(report.missing), 'check')} did not run to the end"
    if report.verdict == "non-conforming":
        return "does NOT conform"
    if report.verdict == "suite-error":
        return "is not judged, for a suite error: refdiff itself failed, please report it"
    but = f" but for {counted(known, 'known failure')}" if known else ""
    return f"conforms{but}" + (", with warnings" if report.verdict == "conforming-with-warnings" else "")


def _cover(report: Report) -> str:
    cover = report.cover()
    warnings = sum(row.word == "warning" for row in report.rows)
    failed = sum(row.status == "fail" for row in report.rows) - warnings
    counts = [
        (cover["in_part"], "judged in part"),
        (failed, "failed"),
        (warnings, "warning" if warnings == 1 else "warnings"),
        (cover["not_claimed"], "not claimed"),
        (cover["unsupported"], "unsupported"),
        (cover["not_run"], "not run"),
        (cover["suite_error"], "not judged for suite errors"),
    ]
    more = "".join(f", {count} {word}" for count, word in counts if count)
    return f"{cover['judged']} of {cover['total']} clauses judged{more}"


def in_order(report: Report) -> list[Row]:
    """Return what failed: suite errors, failures, warnings, known failures; in each, those to look at first."""
    kinds = ("suite error", "fail", "warning", "known failure")
    failed = [row for row in report.rows if row.status in FAILED]
    # The contract comes first: a call that broke it was not compared.
    return sorted(failed, key=lambda r: (kinds.index(r.word), bool(r.causes), not r.clause.id.startswith("CON-")))


def start(report: Report) -> str:
    """Return one line: which failures to look at first; empty if none may follow from another."""
    failed = in_order(report)
    words = [word for word in ("fail", "warning") if any(row.word == word for row in failed)]
    same = [row for row in failed if words and row.word == words[0]]
    echoes = sum(bool(row.causes) for row in same)
    roots = [row.clause.id for row in same if not row.causes]
    if not echoes or not roots:
        return ""
    noun = "other failure" if words[0] == "fail" else "other warning"
    return f"start with {_list(roots)}: {counted(echoes, noun)} may follow from {'them' if len(roots) > 1 else 'it'}"


def why(row: Row) -> str:
    """Return one line: which failures a failure may follow from; empty if from none."""
    rules = [cause.clause for cause in row.causes if not cause.uses]
    stated: dict[str, list[str]] = {}
    for cause in row.causes:
        if cause.uses:
            stated.setdefault(cause.clause, []).append(cause.uses)
    lines = [f"follows from {spans(rules)}: its calls broke that rule"] if rules else []
    if stated:
        uses = dict.fromkeys(use for found in stated.values() for use in found)
        lines.append(f"may follow from {_list(stated)}: it uses {_list(uses)}")
    return "; ".join(lines)


def after(row: Row) -> str:
    """Return a few words: the clauses from which a failure may follow; empty if from none."""
    rules = [cause.clause for cause in row.causes if not cause.uses]
    stated = dict.fromkeys(cause.clause for cause in row.causes if cause.uses)
    parts = [f"follows from {spans(rules)}"] if rules else []
    return ", ".join([*parts, f"may follow from {_list(stated)}"] if stated else parts)


def hint(row: Row) -> str:
    """Return the hint on a failure, unless its failure may follow from another, which the hint would not mend.

    A wrong shape (CON-2) is the exception: it may be just what the hint is about.
    """
    return row.hint if {cause.clause for cause in row.causes} <= {"CON-2"} else ""


def where(row: Row, most: int = 3) -> str:
    """Return one line: the processes on which a clause fails, and those on which it passes; empty if there is one.

    most: processes that are named; of more than that, only the number is given.
    """
    failed, passed = row.failed_on, row.passed_on
    if not failed or len(failed) + len(passed) < 2:
        return ""
    if not passed:
        return f"fails on all {len(failed)} processes judged"
    right = ", ".join(passed) if len(passed) <= most else f"{len(passed)} others"
    return f"fails on {few(failed, most)}; passes on {right}"


def few(processes: Sequence[str], most: int = 3) -> str:
    """Return the names of some processes, and the number of the others."""
    more = len(processes) - most
    return ", ".join(processes[:most]) + (f" and {more} more" if more > 0 else "")


def unjudged(report: Report) -> list[str]:
    """Return one line for each reason for which clauses, or parts of them, were not judged, with their ids."""
    groups: dict[tuple[str, str], list[str]] = {}
    for status in ("not_claimed", "unsupported", "not_run", "no_check"):
        for row in report.rows:
            if row.status == status:
                reason = "no call of the contract shows it" if status == "no_check" else _reasons(row.reason)
                groups.setdefault((row.word, reason), []).append(row.clause.id)
    lines = [plain(f"{word}, as {reason}: {spans(ids)}") for (word, reason), ids in groups.items()]
    return [*lines, *(plain(f"a part not claimed, as {lack}: {spans(ids)}") for lack, ids in unclaimed(report).items())]


def unclaimed(report: Report) -> dict[str, list[str]]:
    """Return what a claim lacks for a part of clauses that were judged, with their ids."""
    groups: dict[str, list[str]] = {}
    for row in report.rows:
        results = [result for outcome in row.outcomes for result in outcome.results if row.status in JUDGED]
        for lack in dict.fromkeys(lack for result in results for lack in result.unclaimed):
            groups.setdefault(lack, []).append(row.clause.id)
    return groups


def absent(report: Report) -> list[str]:
    """Return one line for each reason for which checks did not run to their end, with their number and clauses."""
    groups: dict[str, list[str]] = {}
    for line in report.missing:
        clause, _, rest = line.partition(": ")
        groups.setdefault(rest.rpartition(": ")[2], []).append(clause)
    return [plain(f"{counted(len(ids), 'check')} of {spans(ids)}: {why}") for why, ids in groups.items()]


def refused(report: Report) -> list[str]:
    """Return one line for each reason for which a part of a check was left out, with its number and clauses."""
    groups: dict[str, tuple[list[str], dict[str, None], dict[str, None]]] = {}
    for row in report.rows:
        if row.status not in JUDGED:
            continue
        for result in (result for outcome in row.outcomes for result in outcome.results):
            for case, reason in (part for line in result.refusals for part in _parts(line)):
                ids, cases, processes = groups.setdefault(reason, ([], {}, {}))
                ids.append(row.clause.id)
                cases |= {case: None} if case else {}
                processes[result.process] = None
    return [
        plain(
            f"{reason}{f' ({few(list(cases))})' if cases else ''}: {counted(len(ids), 'time')}, in {spans(ids)}, "
            f"on {next(iter(processes)) if len(processes) == 1 else f'{len(processes)} processes'}"
        )
        for reason, (ids, cases, processes) in groups.items()
    ]


def _parts(line: str) -> list[tuple[str, str]]:
    """Return each case of a line, such as "v to score" or "em", and its reason; checks join several to one line."""
    return [(m["case"] or "", m["reason"]) for m in map(_CASE.fullmatch, line.split("; ")) if m]


def _reasons(line: str) -> str:
    """Return the reasons in a line, each once, without their cases."""
    return "; ".join(dict.fromkeys(reason for _, reason in _parts(line))) or line


def spans(ids: Iterable[str]) -> str:
    """Return ids of clauses in the order of the specification, neighbours as a range: MAR-1 to MAR-4, MAR-9."""
    places = {clause: place for place, clause in enumerate(clauses())}
    runs: list[list[str]] = []
    for clause in sorted(set(ids), key=lambda clause: (places.get(clause, len(places)), clause)):
        last = runs[-1][-1] if runs else ""
        if last and _number(clause) == (_number(last)[0], _number(last)[1] + 1):
            runs[-1].append(clause)
        else:
            runs.append([clause])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _number(clause: str) -> tuple[str, int]:
    chapter, _, number = clause.partition("-")
    return chapter, int(number)


def _list(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def tracebacks(report: Report) -> str:
    """Return the tracebacks of the suite's own failures: to be reported to refdiff, not to the target's authors."""
    return "\n".join("\n".join(map(plain, trace.splitlines())) for trace in report.suite_errors)
