"""Known failures: a TOML file in the target's repository, strict in both directions.

[MAR-2]
reason = "sigma is computed as sqrt(1 - alpha_bar) in half precision"
link = "https://example.org/issues/1"
processes = ["Linear"]  # kinds, or single processes as the report prints them; without this line any process
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from refdiff.conformance.files import create_file
from refdiff.errors import ConfigError

if TYPE_CHECKING:
    from refdiff.conformance.report import Report, Row

UNTRACKED = "not tracked yet"
"""Link of a failure that was written by a first run."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """Why a clause may fail, for now."""

    reason: str
    link: str
    """Where it is tracked."""
    processes: tuple[str, ...] = ()
    """Kinds of process, or processes as the report prints them, on which it may fail; empty: on any."""

    def covers(self, processes: Iterable[str]) -> bool:
        """Return whether the clause may fail on all of these processes."""
        failed = list(processes)
        return not self.processes or (bool(failed) and all(_among(process, self.processes) for process in failed))


def _among(process: str, names: Sequence[str]) -> bool:
    return process in names or process.partition("(")[0] in names


def applied(row: Row, entry: KnownFailure) -> tuple[Row, list[str]]:
    """Return a row with what is known of its clause, and a sentence for all that is listed and passes."""
    name = row.clause.id
    if row.status == "pass":
        return row, [f"{name} is listed as a known failure, and passes: take it off the list"]
    if row.status != "fail":
        return row, []
    passing = [
        f"{name} is listed as a known failure on {listed}, and passes there: take {listed} off its list"
        for listed in entry.processes
        if any(_among(process, [listed]) for process in row.passed_on)
        and not any(_among(process, [listed]) for process in row.failed_on)
    ]
    if entry.covers(row.failed_on):
        return replace(row, status="known_failure", reason=f"{entry.reason} ({entry.link}): {row.reason}"), passing
    return replace(row, reason=f"known on {', '.join(entry.processes)} only: {row.reason}"), passing


def read(path: Path, ids: Iterable[str]) -> Mapping[str, KnownFailure]:
    """Return the known failures by clause id. Raises ConfigError if the file says anything else."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"expected --refdiff-known-failures to name a TOML file, got {path} ({error})") from None
    known = {}
    valid = set(ids)
    for clause, entry in table.items():
        if clause not in valid:
            raise ConfigError(f"expected ids of clauses in {path}, got {clause!r}")
        if not isinstance(entry, dict) or not {"reason", "link"} <= set(entry) <= {"reason", "link", "processes"}:
            need = "expected a reason, a link and perhaps processes, nothing else,"
            raise ConfigError(f"{need} under [{clause}] of {path}, got {entry!r}")
        processes = entry.pop("processes", None)
        if not all(isinstance(text, str) and text.strip() for text in entry.values()):
            raise ConfigError(f"expected a reason and a link with text under [{clause}] of {path}, got {entry!r}")
        known[clause] = KnownFailure(**entry, processes=_processes(processes, clause, path))
    return known


def _processes(listed: object, clause: str, path: Path) -> tuple[str, ...]:
    if listed is None:
        return ()
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one.strip() for one in listed):
        need = 'expected processes as a list of names, such as ["Linear"],'
        raise ConfigError(f"{need} under [{clause}] of {path}, got {listed!r}")
    return tuple(listed)


def listing(report: Report) -> str:
    """Return the file of known failures that excuses what fails in a report, by clause and process."""
    lines = ["# Failures of a first run: replace each reason by the cause, and each link by the issue that tracks it."]
    for row in report.rows:
        if row.status in ("fail", "known_failure") and not row.unmet:
            lines += ["", f"[{row.clause.id}]", f"reason = {_quoted(row.reason)}", f"link = {_quoted(UNTRACKED)}"]
            if names := _narrowest(row):
                lines.append(f"processes = [{', '.join(map(_quoted, names))}]")
    return "\n".join(lines) + "\n"


def _narrowest(row: Row) -> list[str]:
    """Return the kinds on which a clause fails only, and the processes of other kinds on which it fails."""
    passing = {process.partition("(")[0] for process in row.passed_on}
    names = (process if (kind := process.partition("(")[0]) in passing else kind for process in row.failed_on)
    return list(dict.fromkeys(names))


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's, whose escapes TOML shares, but for the code point 127."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(report: Report, path: Path) -> None:
    """Write the known failures of a report to a new file. Raises ConfigError if it cannot be written, or is there."""
    try:
        create_file(path, listing(report))
    except OSError as error:
        need = "expected --refdiff-write-known-failures to name a new file"
        raise ConfigError(f"{need}, got {path} ({error.strerror})") from None
