"""Files of a report, each replaced as a whole."""

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
