"""Targets that crash, block or confuse the process in which they run. Run them only in a process of their own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times, Unsupported
from tests.meta.targets.bad import Bad
from tests.meta.targets.plain import PlainBuilt


def is_killed() -> Bad:
    """Kill its own process by a signal."""
    return Bad("is_killed", lambda *_: os.kill(os.getpid(), signal.SIGKILL))


def leaves() -> Bad:
    """Print, and end the process with status 0 without running any handler."""

    def perturb(*_: Any) -> None:
        print("\x1b[31merror: nothing \N{BELL}to see here", file=sys.stderr, flush=True)
        os._exit(0)

    return Bad("leaves", perturb)


def segfaults() -> Bad:
    """Read address 0."""
    return Bad("segfaults", lambda *_: ctypes.string_at(0))


def stalls_in_c() -> Bad:
    """Sleep in C, holding the interpreter's lock."""
    return Bad("stalls_in_c", lambda *_: ctypes.PyDLL(None).sleep(1000))


def swallows() -> Bad:
    """Loop for ever, and catch every exception and signal."""

    def perturb(*_: Any) -> None:
        while True:
            try:
                while True:
                    time.sleep(0.001)
            except BaseException:  # noqa: BLE001, S112  # the fault
                continue

    return Bad("swallows", perturb)


def grows() -> Bad:
    """Fill memory: 100 GB, a piece at a time."""

    def perturb(*_: Any) -> None:
        kept = [np.ones(2**20) for _ in range(12_500)]
        assert kept

    return Bad("grows", perturb)


def prints() -> Bad:
    """Return right results, and print to standard output from Python and from C."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        print('{"id": 1, "result": null}')
        os.write(1, b"from C\n" * 20_000)
        sys.stdin.readline()
        return right.perturb(x_0, eps, t)

    return Bad("prints", perturb)


def writes_garbage() -> Bad:
    """Write into the pipe of the results."""

    def perturb(*_: Any) -> None:
        for fd in range(3, 64):
            try:
                os.write(fd, b"\xff garbage \x1b[2J\n")
            except OSError:
                continue

    return Bad("writes_garbage", perturb)


def floods() -> Bad:
    """Write into the pipe of the results, without a newline and without end."""

    def perturb(*_: Any) -> None:
        fds = [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}")]  # noqa: PTH110  # no file of a folder: a descriptor
        while True:
            for fd in fds:
                try:
                    os.write(fd, b"x" * 2**20)
                except OSError:
                    continue

    return Bad("floods", perturb)


def closes() -> Bad:
    """Close every file descriptor, and continue."""

    def perturb(*_: Any) -> None:
        os.closerange(0, 256)
        time.sleep(1000)

    return Bad("closes", perturb)


def forks() -> Bad:
    """Fork, and return in the child as well as in the parent."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        os.fork()
        return right.perturb(x_0, eps, t)

    return Bad("forks", perturb)


def dies_later() -> Bad:
    """Return, and end the process a moment later."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        threading.Timer(0.01, os._exit, [3]).start()
        return right.perturb(x_0, eps, t)

    return Bad("dies_later", perturb)


def interrupts() -> Bad:
    """Raise KeyboardInterrupt."""

    def perturb(*_: Any) -> None:
        raise KeyboardInterrupt

    return Bad("interrupts", perturb)


def gives_a_mountain() -> Bad:
    """Return an array that is too large for the pipe of the results."""
    return Bad("gives_a_mountain", lambda *_: np.broadcast_to(np.float32(1), (2**20, 2**12)))


def hides() -> Bad:
    """Refuse whatever goes wrong."""

    def perturb(*_: Any) -> None:
        try:
            raise IndexError("list index out of range")
        except Exception as error:  # noqa: BLE001  # the fault
            raise Unsupported(str(error)) from None

    return Bad("hides", perturb)


def refuses() -> Bad:
    """Refuse what the library refuses."""

    def perturb(*_: Any) -> None:
        try:
            raise NotImplementedError("no noise in this build")
        except NotImplementedError as error:
            raise Unsupported("no noise") from error

    return Bad("refuses", perturb)
