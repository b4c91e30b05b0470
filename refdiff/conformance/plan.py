"""Which checks a judgement consists of: read from spec/checks.json, not from what pytest happened to collect.

    python -m validation.checks.suite > spec/checks.json

writes the file; a test holds it to the suite. A run is complete if every check of the plan has an outcome, and the
outcome has a result for every process that the claim lists and the check speaks about.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

from refdiff.conformance.check import Check, speaks_of
from refdiff.conformance.clauses import spec_folder
from refdiff.conformance.outcome import Outcome


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One check of the suite."""

    clause: str
    check: str
    """Name of the function: with the clause, the key of an outcome."""
    module: str
    """Without the package: the suite is `validation` in a checkout and `refdiff_validation` when installed."""
    needs: tuple[str, ...]
    """Capabilities without which the clause is not claimed."""
    on: tuple[str, ...]
    """Kinds of process that the clause speaks about."""

    @property
    def chapter(self) -> str:
        """The prefix of the clause: MAR of MAR-2."""
        return self.clause.partition("-")[0]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A check that did not run to its end, on some process or on all."""

    clause: str
    check: str
    process: str
    """Empty: on no process."""
    why: str

    def sentence(self) -> str:
        """Say it in one line."""
        where = f" on {self.process}" if self.process else ""
        return f"{self.clause}: {self.check}{where}: {self.why}"


def entry(check: Check, name: str, module: str) -> dict[str, object]:
    """Return what the file holds of one check."""
    return {
        "clause": check.clause,
        "check": name,
        "module": module,
        "needs": list(check.needs),
        "on": [kind.__name__ for kind in check.on],
    }


@cache
def evidence() -> Mapping[str, tuple[str, ...]]:
    """Return the kinds of evidence by clause id, from spec/evidence.json: cited where the evidence is not run."""
    rows = json.loads((spec_folder() / "evidence.json").read_text(encoding="utf-8"))
    return {clause: tuple(kinds) for clause, kinds in rows.items()}


@cache
def plan() -> tuple[Planned, ...]:
    """Return every check of the suite, in the order of the file."""
    rows = json.loads((spec_folder() / "checks.json").read_text(encoding="utf-8"))
    return tuple(Planned(**{**row, "needs": tuple(row["needs"]), "on": tuple(row["on"])}) for row in rows)


def missing(
    planned: Iterable[Planned],
    outcomes: Sequence[Outcome],
    target: Mapping[str, Any],
    why: Mapping[tuple[str, str], str],
) -> tuple[Missing, ...]:
    """Return what the claim calls for, and did not run to its end; of a target that is not known, all that is planned.

    target: as `report.described` gives it; why: by clause and check, what became of a test that has no outcome.
    """
    members = target["members"]
    found = {(outcome.clause, outcome.check): outcome for outcome in outcomes if not outcome.by_way}
    absent: list[Missing] = []
    for row in planned:
        key = (row.clause, row.check)
        if target["dtype"] and not set(row.needs) <= set(target["capabilities"]):
            continue
        if key not in found:
            absent.append(Missing(clause=row.clause, check=row.check, process="", why=why.get(key, "did not run")))
            continue
        outcome = found[key]
        if outcome.status == "not_run" or (outcome.status == "not_claimed" and not outcome.results):
            continue
        # Counted: two long chains of equal ends print alike.
        wanted = Counter(member["process"] for member in members if speaks_of(row.on, member["kind"]))
        unjudged = wanted - Counter(result.process for result in outcome.results)
        absent += [
            Missing(clause=row.clause, check=row.check, process=process, why="was not judged") for process in unjudged
        ]
    return tuple(absent)
