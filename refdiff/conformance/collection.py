"""pytest items that are checks: where they lie, which clause they judge, and how they ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


def is_suite(folder: Path) -> bool:
    """Say whether a folder is the suite: in a checkout, or as installed."""
    return folder.name in ("validation", "refdiff_validation") and (folder / "checks" / "suite.py").is_file()


def around(path: Path) -> tuple[Path, ...]:
    """Return the folders that would be the suite if a path named it, its checks, or a file of them."""
    within = path.parent if path.suffix == ".py" else path
    return (path, within.parent) if within.name == "checks" else (path,)


def is_in_checks(file: Path) -> bool:
    """Say whether a file is one of those that hold the suite's checks."""
    return file.parent.name == "checks" and is_suite(file.parent.parent)


def share_threads(workers: int) -> None:
    """Share the cores out among xdist's workers: each would start a thread on every core, and all would wait.

    By environment variables, before NumPy or torch is imported, here and in the processes of targets.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def keys(properties: list[tuple[str, object]]) -> list[tuple[str, str]]:
    """Return clause and name of the check that a test is, if it is one."""
    return [
        (clause, check)
        for name, value in properties
        if name == "refdiff_check"
        for clause, check in [json.loads(str(value))]
    ]


def end(report: pytest.TestReport) -> str:
    """Say how a test ended that has no outcome."""
    if report.passed:
        return "ran, but another plugin took the call and judged nothing"
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
    return f"{'was skipped' if report.skipped else 'failed'} before it judged: {line}"[:300]


def is_of_the_suite(item: pytest.Function) -> bool:
    """Say whether a conftest or a plugin left the function of a check as it is."""
    body = item.obj
    code = getattr(body, "__code__", None)
    return (
        code is not None and vars(item.module).get(item.originalname) is body and is_in_checks(Path(code.co_filename))
    )
