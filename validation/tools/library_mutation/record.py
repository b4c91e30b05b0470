"""The record of the mutation of libraries, validation/records/library_mutation.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

RECORD = Path(__file__).parents[2] / "records" / "library_mutation.json"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant."""

    function: str
    line: int
    operator: str
    before: str
    after: str
    clause: str = ""
    """The clause whose check failed first; empty if refdiff saw nothing."""
    check: str = ""
    target: str = ""
    own: str | None = ""
    """The library's own test that failed first; empty if none did, None if they were not run."""
    golden: bool = False
    """Whether only a golden sum of the library's own tests saw it."""
    why: str = ""
    """Of a survivor, by hand: why refdiff does not see it."""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What tells a mutant from others of its module."""
        return self.function, self.line, self.before, self.after


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One module of a library."""

    library: str
    version: str
    module: str
    mutants: int
    """All that the operators make of its functions."""
    not_reached: int
    """Those in statements that no check of a target reaches."""
    unreached: Mapping[str, int]
    """The same by function."""
    seed: int
    """Of the choice of those that were judged."""
    judged: tuple[Verdict, ...]

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Part:
        """Return what `asdict` made of one."""
        return Part(**{**data, "judged": tuple(Verdict(**row) for row in data["judged"])})


def read(file: Path = RECORD) -> dict[str, Part]:
    """Return the record by the name of the subject, or an empty one if there is none."""
    if not file.is_file():
        return {}
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {name: Part.from_json(row) for name, row in rows.items()}


def write(parts: Mapping[str, Part], file: Path = RECORD) -> None:
    """Write the record, one mutant on each line."""
    blocks = []
    for name, part in parts.items():
        data = asdict(part)
        rows = ",\n".join(f"   {json.dumps(row, ensure_ascii=False)}" for row in data.pop("judged"))
        head = json.dumps(data, ensure_ascii=False)
        blocks.append(f' {json.dumps(name)}: {head[:-1]}, "judged": [\n{rows}\n ]}}')
    file.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
