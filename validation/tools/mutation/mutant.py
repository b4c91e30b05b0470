"""One mutant: where it is, what changes, and the identity by which a record knows it again."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, final

from .operators import short


@final
@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """A change of one place of a module by an operator of cosmic-ray."""

    line: int
    operator: str
    """Name without what all operators share."""
    definition: str
    """Function or class that holds it, or an empty text."""
    removed: str
    added: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for the same change of a line, wherever the line stands in its definition."""
        return self.operator, self.definition, self.removed, self.added


def described(source: str, mutated: str, operator: str, definition: str | None) -> Mutant:
    """Return the mutant that turns a source into another; removed and added are the lines that differ, stripped."""
    old, new = source.splitlines(), mutated.splitlines()
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    first = next(start for tag, start, *_ in changes if tag != "equal")
    removed = [line.strip() for tag, i, j, _, _ in changes if tag != "equal" for line in old[i:j]]
    added = [line.strip() for tag, _, _, i, j in changes if tag != "equal" for line in new[i:j]]
    return Mutant(first + 1, short(operator), definition or "", " / ".join(removed), " / ".join(added))


def row(mutant: Mutant, *, equivalent: bool, reason: str) -> dict[str, Any]:
    """Return a survivor as a row of the record."""
    return {
        "line": mutant.line,
        "in": mutant.definition,
        "operator": mutant.operator,
        "was": mutant.removed,
        "is": mutant.added,
        "equivalent": equivalent,
        "reason": reason,
    }
