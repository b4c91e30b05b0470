"""Every check of the suite, for a process that judges by itself: `Judge.of(target).judge(checks())`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from refdiff.conformance.check import Check
from refdiff.conformance.judge import Body


@cache
def checks() -> tuple[tuple[Check, Body], ...]:
    """Return the checks of all chapters, as pytest would collect them."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
    modules = [import_module(f".{name}", __package__) for name in names]
    return tuple(
        (mark.args[0], body)
        for module in modules
        for body in vars(module).values()
        for mark in getattr(body, "pytestmark", ())
        if mark.name == "refdiff_check"
    )
