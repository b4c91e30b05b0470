"""The library's own tests, in this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest


def failures(
    folder: Path, files: Iterable[str], *, leaving: Sequence[str] = (), named: str = "", first: bool = True
) -> list[str]:
    """Run tests, and return those that fail.

    leaving: tests that are not run, as they fail without any change.
    named: an expression of pytest on the names of the tests to run.
    first: whether to stop at the first failure.
    """
    notes = _Notes()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:refdiff", "-W", "ignore", "-c", os.devnull]
    options += ["--rootdir", str(folder), *(f"--deselect={name}" for name in leaving)]
    if named:
        options += ["-k", named]
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        pytest.main([*options, *(["-x"] if first else []), *(str(folder / name) for name in files)], plugins=[notes])
    return notes.failed


class _Notes:
    """A plugin of pytest that notes the tests that fail, or that cannot be collected."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test whose setup, call or teardown fails."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported."""
        if report.failed:
            self.failed.append(report.nodeid)
