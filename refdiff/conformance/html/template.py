"""The one place that imports Jinja2: a template of this package, filled, with everything escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refdiff.errors import ConfigError, plain

if TYPE_CHECKING:
    from jinja2 import Environment


def filled(name: str, **values: Any) -> str:
    """Return a template filled with values. Raises ConfigError where Jinja2 is not installed."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise ConfigError("expected Jinja2 to be installed for report.html, got none: pip install jinja2") from None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["lines"] = _lines
    return environment


def _lines(text: str) -> str:
    """Return a text of several lines with its control characters written out, all but its line breaks."""
    return "\n".join(map(plain, text.split("\n")))
