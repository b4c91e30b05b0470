"""The verdict of the suite on a library that is changed in memory."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import torch

from refdiff.conformance.judge import Judge, Settings
from refdiff.conformance.outcome import Outcome
from validation.checks.suite import checks

Run: TypeAlias = tuple[str, int]
"""A target, and the position of a check in the suite."""
_SECONDS = 60.0


def measured(target: str, hits: Mapping[str, set[int]]) -> list[dict[str, Any]]:
    """Run every check of the suite on a target; each builds the target's processes anew.

    hits: by module of the library, the lines that were reached since it was last cleared.
    """
    prepare(target)
    found = []
    for position, (check, body) in enumerate(checks()):
        for lines in hits.values():
            lines.clear()
        started = time.process_time()
        outcomes = _judge(target).run(check, body)
        if outcomes[0].status == "not_claimed":
            continue
        found.append(
            {
                "check": position,
                "passed": outcomes[0].status == "pass" and not _failures(outcomes),
                "seconds": round(time.process_time() - started, 4),
                "lines": {module: sorted(lines) for module, lines in hits.items()},
            }
        )
    return found


def killing(runs: Iterable[Run]) -> dict[str, Any]:
    """Run checks that pass on the library as it is, and return the first failure, or none, and how many were run."""
    prepare()
    judges: dict[str, Judge] = {}
    count = 0
    for target, position in runs:
        if target not in judges:
            judges[target] = _judge(target)
        check, body = checks()[position]
        count += 1
        if failures := _failures(judges[target].run(check, body)):
            first = failures[0]
            return {
                "target": target,
                "check": position,
                "clause": first.clause,
                "by": body.__name__,
                "reason": first.reason[:300],
                "runs": count,
            }
    return {"runs": count}


def _judge(target: str) -> Judge:
    return Judge.of(f"validation.targets.{target}", Settings(seconds=_SECONDS))


def _failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.status == "fail"]


def prepare(*targets: str) -> None:
    """Import the adapters of these targets anew, as some make objects of the library when they are imported."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in [name for name in sys.modules if name.startswith("validation.targets.")]:
        del sys.modules[name]
    for target in targets:
        import_module(f"validation.targets.{target.partition(':')[0]}")
