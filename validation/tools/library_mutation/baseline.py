"""The checks of a target before any change: which pass, how long they take, and which lines they reach."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from validation.tools.library_mutation import judging
from validation.tools.library_mutation.code import watch
from validation.tools.library_mutation.forked import forked
from validation.tools.library_mutation.order import Measured
from validation.tools.library_mutation.subjects import SUBJECTS, Subject

_SECONDS = 3600.0


def measured(subject: Subject, folder: Path | None) -> list[Measured]:
    """Return the checks of all targets of a module.

    folder: where they are kept for the other modules of the library, and for later runs, until it is deleted.
    """
    found = []
    for target in subject.targets:
        file = folder / f"{target.replace(':', '-')}.json" if folder else None
        if file is not None and file.is_file():
            rows = json.loads(file.read_text(encoding="utf-8"))
        else:
            rows = forked(lambda: _rows(subject.library, target), _SECONDS)  # noqa: B023  # called at once
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(rows), encoding="utf-8")
        found += [
            Measured(**{**row, "target": target, "lines": frozenset(row["lines"].get(subject.module, ()))})
            for row in rows
        ]
    return found


def _rows(library: str, target: str) -> list[dict[str, Any]]:
    """Run every check on a target, while all modules of the library that are changed are watched."""
    modules = [import_module(subject.module) for subject in SUBJECTS.values() if subject.library == library]
    return judging.measured(target, {module.__name__: watch(module, inspect.getsource(module)) for module in modules})
