"""The numbered clauses, read from spec/*.md: the one place where they stand.

    python -m refdiff.conformance.clauses > spec/clauses.lock

prints a hash of each clause's text. Changing a clause fails a test until its checks were looked at again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias, cast, final

import refdiff
from refdiff.errors import ConfigError

Level: TypeAlias = Literal["MUST", "SHOULD"]
_CLAUSE = re.compile(
    r"^\*\*(?P<id>[A-Z]{3}-\d+)\*\* \((?P<level>MUST|SHOULD)\) (?P<rest>.*?)(?=^\*\*[A-Z]{3}-\d|^## |\Z)", re.M | re.S
)
_TITLE = re.compile(r"\*(?P<title>[^*]+)\.\*\s+")
_FENCE = re.compile(r"^```.*\n?", re.M)
_NOTE = re.compile(r"^- \*(?P<name>Evidence|Code|Check|Hint):\* (?P<text>.*?)(?=^- \*|^\s*$|\Z)", re.M | re.S)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One normative statement."""

    id: str
    level: Level
    chapter: str
    """Title of the chapter it stands in."""
    title: str
    """A noun phrase of a few words that says what the clause is about."""
    text: str
    """The statement, without its title, the fences of its formulas, and its notes."""
    code: tuple[str, ...]
    """Dotted names of what implements it."""
    evidence_note: str
    """Why it needs no evidence, if it is a convention."""
    check_note: str
    """Why no check on a target is possible, if none is."""
    hint: str = ""
    """What usually breaks the clause, and how to mend it; shown beside a failure."""

    @property
    def digest(self) -> str:
        """Return a hash of the statement: reflowing its lines does not change it."""
        words = " ".join(f"{self.level} {self.text}".split())
        return sha256(words.encode()).hexdigest()[:16]


def spec_folder() -> Path:
    """Return the folder of the specification: inside the installed package, or beside it in a checkout."""
    package = Path(refdiff.__file__).parent
    return package / "spec" if (package / "spec").is_dir() else package.parent / "spec"


@cache
def clauses() -> dict[str, Clause]:
    """Return every clause by its id, in chapter order. Raises ConfigError for a duplicate id or a missing title."""
    found: dict[str, Clause] = {}
    for path in sorted(spec_folder().glob("[0-9][0-9]-*.md")):
        content = path.read_text(encoding="utf-8")
        title = content.splitlines()[0].lstrip("# ")
        for match in _CLAUSE.finditer(content):
            clause = _clause(match, title)
            if clause.id in found:
                raise ConfigError(f"expected each clause id once in the spec, got {clause.id} twice ({path.name})")
            found[clause.id] = clause
    return found


def _clause(match: re.Match[str], chapter: str) -> Clause:
    statement = _FENCE.sub("", re.split(r"^- \*", match["rest"], maxsplit=1, flags=re.M)[0]).strip()
    title = _TITLE.match(statement)
    if not title:
        raise ConfigError(f"expected a title in italics after the level of {match['id']}, got {statement[:40]!r}")
    notes = {note["name"]: " ".join(note["text"].split()) for note in _NOTE.finditer(match["rest"])}
    return Clause(
        id=match["id"],
        level=cast("Level", match["level"]),
        chapter=chapter,
        title=" ".join(title["title"].split()),
        text=statement[title.end() :],
        code=tuple(re.findall(r"`([\w.]+)`", notes.get("Code", ""))),
        evidence_note=notes.get("Evidence", ""),
        check_note=notes.get("Check", ""),
        hint=notes.get("Hint", ""),
    )


def lock() -> str:
    """Return what spec/clauses.lock should hold."""
    return "".join(f"{clause.id} {clause.digest}\n" for clause in clauses().values())


if __name__ == "__main__":
    print(lock(), end="")
