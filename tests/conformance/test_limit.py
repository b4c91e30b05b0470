"""A time limit on a target counts the target's time, not that of other programs on its cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from refdiff.conformance import child as module
from refdiff.conformance.child import Child, Lost

CORE = sorted(os.sched_getaffinity(0))[0] if hasattr(os, "sched_getaffinity") else 0
SPINS = f"import os; os.sched_setaffinity(0, {{{CORE}}})\nwhile True: pass"
ANSWERS = "import time; time.sleep(1.5); print('done')"
HANGS = "import time; time.sleep(3600)"


@contextmanager
def spinning(count: int) -> Iterator[list[int]]:
    """Run programs that compete for one core; give their ids."""
    running = [subprocess.Popen([sys.executable, "-c", SPINS]) for _ in range(count)]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def answered(code: str, seconds: float) -> bytes:
    """Run a program, and return its line."""
    child = Child([sys.executable, "-c", code], 2**34, 2**20)
    try:
        return child.receive(child.limit(seconds))
    finally:
        child.stop()


@pytest.fixture
def starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every program look as if it waited for a core all the time."""
    monkeypatch.setattr(module, "_waits", lambda pid: {"1": time.monotonic()})


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists() or not hasattr(os, "sched_setaffinity"),
    reason="the system does not report how long a process waits for a core",
)
def test_waiting_for_a_core_is_measured() -> None:
    """Each of three programs on one core waits for it; one that sleeps waits for nothing."""
    with spinning(3) as pids:
        until = time.monotonic() + 60.0
        while min(sum(module._waits(pid).values()) for pid in pids) < 0.2:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert module._waits(2**22 + 1) == {}


@pytest.mark.usefixtures("starved")
def test_waiting_for_a_core_does_not_count() -> None:
    """An answer after 1.5 s is within a limit of 1 s, if the machine was busy with others."""
    assert answered(ANSWERS, 1.0) == b"done"


@pytest.mark.usefixtures("starved")
def test_hang_is_late_on_a_busy_machine() -> None:
    """Waiting counts once it comes to four times the limit."""
    started = time.monotonic()
    with pytest.raises(Lost, match=r"did not return within 0\.5 s"):
        answered(HANGS, 0.5)
    assert time.monotonic() - started >= 0.5 * 5.0


@pytest.mark.parametrize("told", [{}, {"1": 0.0}])
def test_other_time_counts(monkeypatch: pytest.MonkeyPatch, told: dict[str, float]) -> None:
    """A program that waits for no core, or on a system that does not report it, has its limit and no more."""
    monkeypatch.setattr(module, "_waits", lambda pid: told)
    with pytest.raises(Lost, match=r"did not return within 1 s"):
        answered(ANSWERS, 1.0)
