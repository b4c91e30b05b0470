"""A time limit on a target counts the target's time, not that of whoever shares its cores."""

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

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists() or not hasattr(os, "sched_setaffinity"),
    reason="the system does not tell how long a process waits for a core",
)
CORE = sorted(os.sched_getaffinity(0))[0] if hasattr(os, "sched_getaffinity") else 0
ON_ONE_CORE = f"import os, time; os.sched_setaffinity(0, {{{CORE}}})\n"
WORKS = ON_ONE_CORE + "while time.process_time() < 1.5: pass\nprint('done')"
SPINS = ON_ONE_CORE + "while True: pass"
SLEEPS = ON_ONE_CORE + "time.sleep(3600)"


@contextmanager
def rivals(count: int) -> Iterator[None]:
    """Keep the core of the programs above busy with others."""
    running = [subprocess.Popen([sys.executable, "-c", SPINS]) for _ in range(count)]
    try:
        yield
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


def test_busy_machine_makes_no_target_late() -> None:
    """1.5 s of work, on a core that two others share, takes more than 3 s and is within a limit of 3 s."""
    started = time.monotonic()
    with rivals(2):
        assert answered(WORKS, 3.0) == b"done"
    assert time.monotonic() - started > 3.0


@pytest.mark.parametrize("code", [SLEEPS, SPINS])
def test_hang_is_late_on_a_busy_machine(code: str) -> None:
    """A sleep waits for no core, and waiting counts in the end: each is late within five times the limit."""
    started = time.monotonic()
    with rivals(2), pytest.raises(Lost, match=r"did not return within 1 s"):
        answered(code, 1.0)
    assert 1.0 < time.monotonic() - started < 5.0 * 1.0 + 10.0


def test_all_time_counts_where_waiting_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux the limit is one on the clock."""
    monkeypatch.setattr(module, "_waits", lambda pid: {})
    with rivals(2), pytest.raises(Lost, match=r"did not return within 1 s"):
        answered(WORKS, 1.0)
