"""All checks of the suite, for use without pytest: `Judge.of(target).judge(checks())`.

    python -m validation.checks.suite > spec/checks.json

writes the list of checks of a complete judgement.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from pathlib import Path

from refdiff.conformance.check import Check
from refdiff.conformance.judge import Body
from refdiff.conformance.plan import entry


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


def listed() -> str:
    """Return the content of spec/checks.json. Raises ValueError if two checks of one clause have the same name."""
    keys = [(check.clause, body.__name__) for check, body in checks()]
    if len(keys) != len(set(keys)):
        raise ValueError(f"expected one name for each check of a clause, got {sorted(keys)}")
    rows = [entry(check, body.__name__, body.__module__.rpartition(".")[2]) for check, body in checks()]
    return "[\n" + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]\n"


if __name__ == "__main__":
    # Under its own name, so that the checks are those that the package has.
    print(import_module("validation.checks.suite").listed(), end="")
