"""The examples of the protocol in other languages, as they are and with a fault planted in a copy."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "spec" / "examples"


def plant(folder: Path, name: str, old: str, new: str) -> Path:
    """Write a copy of an example in which one text is replaced by another, and return its path."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
    copy = folder / name
    copy.write_text(text.replace(old, new), encoding="utf-8")
    return copy
