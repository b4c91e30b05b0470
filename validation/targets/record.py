"""The statuses of the last run, `validation/records/libraries.json`, and what a new run changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

RECORD = Path(__file__).parents[1] / "records" / "libraries.json"

Statuses: TypeAlias = Mapping[str, Mapping[str, str]]
"""By target, the status of each clause that it claims."""


def statuses(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the status of each clause that is claimed, by target."""
    return {
        str(report["target"]["origin"]): {
            clause["id"]: clause["status"]
            for clause in report["clauses"]
            if clause["status"] not in ("not_claimed", "no_check")
        }
        for report in reports
    }


def changes(before: Statuses, after: Statuses) -> Iterator[str]:
    """Yield a line for each clause whose status differs, and for each target that is new or gone."""
    for target in sorted({*before, *after}):
        old, new = before.get(target), after.get(target)
        if old is None or new is None:
            yield f"{target}: {'was not judged before' if old is None else 'is not judged any more'}"
            continue
        for clause in sorted({*old, *new}):
            was, is_ = old.get(clause, "not_claimed"), new.get(clause, "not_claimed")
            if was != is_:
                yield f"{target}: {clause} was {was}, is {is_}"


def read() -> dict[str, dict[str, str]]:
    """Return the record."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def write(found: Statuses) -> None:
    """Write the record, one target on each line."""
    lines = ",\n".join(f" {json.dumps(target)}: {json.dumps(found[target])}" for target in found)
    RECORD.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
