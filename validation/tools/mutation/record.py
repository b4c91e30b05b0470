"""The committed record: of each module the mutants, the killed ones, and every survivor with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from .checkout import ROOT
from .mutant import Mutant, row

Row: TypeAlias = dict[str, Any]
PATH = ROOT / "validation" / "records" / "mutation.json"
FIELDS = {"digest", "mutants", "chosen", "seed", "tested", "killed", "survivors"}
SURVIVOR = {"line", "in", "operator", "was", "is", "equivalent", "reason"}
OPEN = "open: no test sees it yet"


def digest(source: Path) -> str:
    """Return a short digest of a module, by which a record knows whether it is of this module."""
    return sha256(source.read_bytes()).hexdigest()[:16]


def loaded(path: Path = PATH) -> dict[str, Row]:
    """Return the record by module; empty if there is none."""
    found: dict[str, Row] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def written(record: dict[str, Row], path: Path = PATH) -> None:
    """Write a record, modules in order."""
    text = json.dumps(dict(sorted(record.items())), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")


def entry(
    before: Row | None,
    source: Path,
    *,
    mutants: int,
    chosen: int,
    seed: int | None,
    tested: int,
    survivors: Sequence[Mutant],
) -> Row:
    """Return the entry of a module; a survivor that the entry before it has keeps its reason.

    Of the mutants some are chosen, by a seed or all, and of these, in the order of the file, some are tested so far.
    """
    known = {_key(old): old for old in before["survivors"]} if before else {}
    rows = []
    for mutant in sorted(survivors):
        old = known.get(mutant.key, {"equivalent": False, "reason": OPEN})
        rows.append(row(mutant, equivalent=old["equivalent"], reason=old["reason"]))
    return {
        "digest": digest(source),
        "mutants": mutants,
        "chosen": chosen,
        "seed": seed,
        "tested": tested,
        "killed": tested - len(rows),
        "survivors": rows,
    }


def stale(record: dict[str, Row], root: Path = ROOT) -> list[str]:
    """Return the modules that changed since they were recorded, or that are gone."""
    return [name for name, row in record.items() if not (root / name).exists() or digest(root / name) != row["digest"]]


def faults(record: dict[str, Row]) -> list[str]:
    """Return what is wrong with the form of a record, one sentence each."""
    found = []
    for name, found_row in record.items():
        if found_row.keys() != FIELDS:
            found.append(f"expected {sorted(FIELDS)} of {name}, got {sorted(found_row)}")
            continue
        survivors = found_row["survivors"]
        if (
            found_row["killed"] + len(survivors) != found_row["tested"]
            or not found_row["tested"] <= found_row["chosen"]
        ):
            found.append(f"expected killed + survivors = tested <= chosen of {name}, got other numbers")
        if (found_row["seed"] is None) != (found_row["chosen"] == found_row["mutants"]):
            found.append(f"expected a seed of {name} where a sample was chosen, and none where all were")
        for survivor in survivors:
            if survivor.keys() != SURVIVOR:
                found.append(f"expected {sorted(SURVIVOR)} of each survivor of {name}, got {sorted(survivor)}")
            elif not survivor["reason"] or (survivor["equivalent"] and survivor["reason"] == OPEN):
                found.append(f"expected the reason of each survivor of {name}, got none in line {survivor['line']}")
    return found


def _key(survivor: Row) -> tuple[str, str, str, str]:
    return survivor["operator"], survivor["in"], survivor["was"], survivor["is"]
