"""A template of this package, filled, with everything escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refdiff import templates
from refdiff.errors import ConfigError

FOLDER = Path(__file__).parent / "templates"


def filled(name: str, **values: Any) -> str:
    """Return a template filled with values. Raises ConfigError where Jinja2 is not installed."""
    try:
        return templates.filled(FOLDER / name, **values)
    except ImportError:
        raise ConfigError("expected Jinja2 to be installed for report.html, got none: pip install jinja2") from None
