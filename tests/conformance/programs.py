"""The examples of the protocol in other languages, as they are and with a fault planted in a copy."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "spec" / "examples"


def plant(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write a copy of an example in which texts are replaced, and return its path. changes: the old text, and the new.

    Each old text stands in the example once.
    """
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        text = text.replace(old, new)
    copy = folder / name
    copy.write_text(text, encoding="utf-8")
    return copy
