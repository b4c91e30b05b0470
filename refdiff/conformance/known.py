"""Known failures: a TOML file in the target's repository, strict in both directions.

[MAR-2]
reason = "sigma is computed as sqrt(1 - alpha_bar) in half precision"
link = "https://example.org/issues/1"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from refdiff.errors import ConfigError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """Why a clause may fail, for now."""

    reason: str
    link: str
    """Where it is tracked."""


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
        if not isinstance(entry, dict) or set(entry) != {"reason", "link"}:
            raise ConfigError(f"expected exactly a reason and a link under [{clause}] of {path}, got {entry!r}")
        if not all(isinstance(text, str) and text.strip() for text in entry.values()):
            raise ConfigError(f"expected a reason and a link with text under [{clause}] of {path}, got {entry!r}")
        known[clause] = KnownFailure(**entry)
    return known
