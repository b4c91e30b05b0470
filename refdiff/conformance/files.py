"""Files that are replaced as a whole, as those of a report, or made anew."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write a file atomically: a reader sees the old one or the new one, and nothing is written through a link."""
    # A message of a target's may hold what UTF-8 cannot: half of a surrogate pair.
    data = content.encode("utf-8", errors="backslashreplace")
    # A name that nobody else has, never opened through a link.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def create_file(path: Path, content: str) -> None:
    """Write a new file. Raises FileExistsError if it is there: what somebody wrote is not lost, nor a link followed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
        stream.write(content)
