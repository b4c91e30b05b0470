"""HTML templates of the package, filled by Jinja2: one place decides that everything from outside is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refdiff.errors import plain

if TYPE_CHECKING:
    from jinja2 import Environment


def filled(path: Path, **values: Any) -> str:
    """Return a template filled with values. Raises ImportError where Jinja2 is not installed."""
    return _environment(path.parent).get_template(path.name).render(**values)


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # lazy import: few sessions write a page

    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["plain"] = plain
    found.filters["lines"] = _lines
    return found


def _lines(text: str) -> str:
    """Return a text of several lines with its control characters written out, all but its line breaks."""
    return "\n".join(map(plain, text.split("\n")))
