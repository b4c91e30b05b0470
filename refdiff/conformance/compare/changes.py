"""The difference of two reports, clause by clause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from refdiff.conformance.render import few, verdict
from refdiff.conformance.report import JUDGED, Row
from refdiff.conformance.stored import Stored
from refdiff.errors import plain

_RANKS: Mapping[str, int] = {"pass": 0, "warning": 1, "known failure": 2, "fail": 2}
"""By status: how bad it is. A failure that is listed as known is one all the same."""
_VERDICTS: Mapping[str, int] = {
    "conforming": 0,
    "conforming-with-known-failures": 1,
    "conforming-with-warnings": 2,
    "suite-error": 3,
    "incomplete": 3,
    "non-conforming": 3,
}
_MOVED = 2.0
"""By what factor an error moves, for a clause that passes in both to be listed."""


@final
@dataclass(frozen=True, slots=True)
class Change:
    """What became of one clause."""

    clause: str
    title: str
    before: str
    after: str
    why: str
    """One line: of a failure what was found, of what is not judged the reason."""

    def sentence(self) -> str:
        """Say it in one line."""
        title = f" ({self.title})" if self.title else ""
        why = f": {self.why}" if self.why else ""
        return plain(f"{self.clause}{title}: {self.before} -> {self.after}{why}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that changed from one report to the other."""

    settings: tuple[tuple[str, str, str], ...]
    """Name, before and after of what was judged, and how: where they differ, so do results for other reasons."""
    verdicts: tuple[str, str]
    verdict_is_worse: bool
    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    newly: tuple[Change, ...]
    """Judged in the new report only."""
    no_longer: tuple[Change, ...]
    """Judged in the old report only."""
    listed: tuple[Change, ...]
    """As bad as before, and called otherwise: listed as a known failure, or no longer."""
    moved: tuple[Change, ...]
    """Passes in both, with an error that is twice as large or half as large."""

    @property
    def is_worse(self) -> bool:
        """Whether something got worse."""
        return bool(self.worse) or self.verdict_is_worse

    def summary(self) -> str:
        """Return one line: how many clauses changed in which way."""
        counts = [
            (len(self.worse), "worse"),
            (len(self.better), "better"),
            (len(self.newly), "newly judged"),
            (len(self.no_longer), "no longer judged"),
        ]
        said = ", ".join(f"{count} {word}" for count, word in counts)
        return said + (", and the verdict is worse" if self.verdict_is_worse else "")

    @property
    def groups(self) -> tuple[tuple[str, str, tuple[Change, ...]], ...]:
        """Return sign, heading and changes of each group, those to look at first before the others."""
        return (
            ("✗", "Worse", self.worse),
            ("✓", "Better", self.better),
            ("+", "Newly judged", self.newly),
            ("-", "No longer judged", self.no_longer),
            ("~", "Listed otherwise as a known failure", self.listed),
            ("=", "Passes as before, with another error", self.moved),
        )


def compared(old: Stored, new: Stored) -> Changes:
    """Return what changed from the old report to the new one."""
    before = {row.clause.id: row for row in old.report.rows}
    after = {row.clause.id: row for row in new.report.rows}
    found: dict[str, list[Change]] = {}
    for clause in dict.fromkeys((*before, *after)):
        if group := _group(before.get(clause), after.get(clause)):
            found.setdefault(group, []).append(_change(group, before.get(clause), after.get(clause)))
    ranks = [_VERDICTS[one.report.verdict] for one in (old, new)]
    return Changes(
        settings=tuple(_settings(old.data, new.data)),
        verdicts=(verdict(old.report), verdict(new.report)),
        verdict_is_worse=ranks[1] > ranks[0],
        **{name: tuple(found.get(name, ())) for name in ("worse", "better", "newly", "no_longer", "listed", "moved")},
    )


def _group(old: Row | None, new: Row | None) -> str:
    """Return the group that a clause belongs to; empty if nothing changed."""
    was, is_now = (row is not None and row.status in JUDGED and row.word in _RANKS for row in (old, new))
    if not (was and is_now and old is not None and new is not None):
        return "newly" if is_now else "no_longer" if was else ""
    ranks = _RANKS[old.word], _RANKS[new.word]
    if ranks[0] != ranks[1]:
        return "worse" if ranks[1] > ranks[0] else "better"
    if old.status != new.status and old.status != "pass":
        return "listed"
    counts = len(old.failed_on), len(new.failed_on)
    if counts[0] != counts[1]:
        return "worse" if counts[1] > counts[0] else "better"
    return "moved" if new.status == "pass" and _has_moved(old, new) else ""


def _has_moved(old: Row, new: Row) -> bool:
    ratios = [row.worst.ratio if row.worst else 0.0 for row in (old, new)]
    low, high = sorted(ratios)
    return high > _MOVED * low and high > 0.0


def _change(group: str, old: Row | None, new: Row | None) -> Change:
    row = new or old
    assert row is not None
    why = new.reason if new is not None else "the new report has no such clause"
    return Change(row.clause.id, row.clause.title, _said(group, old), _said(group, new), why)


def _said(group: str, row: Row | None) -> str:
    """Return the status of a clause, with its error where that is what changed."""
    if row is None:
        return "no such clause"
    word = f"{row.word}, in part" if row.in_part else row.word
    if group == "moved":
        return f"{row.worst.ratio:.3g} of the bound" if row.worst else word
    processes = row.failed_on
    return f"{word} on {few(processes)}" if processes and group in ("worse", "better") else word


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what differs in target, versions and options."""
    pairs = [(name, _text(old["target"].get(name)), _text(new["target"].get(name))) for name in _NAMED]
    for name in ("predictions", "conversions"):
        was, is_now = (_text(one["target"].get(name, "all")) for one in (old, new))
        pairs.append((name, was, is_now))
    pairs.append(("refdiff", old["refdiff"]["version"], new["refdiff"]["version"]))
    pairs.append(("chapters", _text(old["chapters"]), _text(new["chapters"])))
    for name in ("python", "seed", "full"):
        pairs.append((name, _text(old["environment"].get(name)), _text(new["environment"].get(name))))
    packages = [one["environment"].get("packages") or {} for one in (old, new)]
    for name in sorted({*packages[0], *packages[1]}):
        pairs.append((name, packages[0].get(name, "none"), packages[1].get(name, "none")))
    return [(name, plain(was), plain(is_now)) for name, was, is_now in pairs if was != is_now]


_NAMED = ("name", "version", "dtype", "origin", "capabilities", "processes", "contract", "steps")
"""Of the target."""


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def text(changes: Changes) -> str:
    """Return the comparison for the terminal."""
    lines = [f"before: {changes.verdicts[0]}", f"after:  {changes.verdicts[1]}"]
    lines += [f"differs: {name}: {was} -> {is_now}" for name, was, is_now in changes.settings]
    for sign, heading, group in changes.groups:
        if group:
            lines += ["", f"{heading} ({len(group)}):", *(f"{sign} {change.sentence()}" for change in group)]
    return "\n".join([*lines, "", changes.summary()])
