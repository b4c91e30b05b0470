"""Lock of an output folder, so that one run at a time writes to it (TRN-11).

The kernel releases the lock when the process ends, however it ends, so a file that is left behind locks nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from errno import EAGAIN, EWOULDBLOCK
from pathlib import Path

from refdiff.errors import ConfigError
from refdiff.training import files

NAME = ".lock"
_LENGTH = 4096
"""Largest length of the text about the holder."""


@contextmanager
def locked(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of an existing folder. Raises ConfigError, naming the holder, if another run holds it.

    On a file system without locks a warning is said, and nothing is held.
    """
    path = out / NAME
    descriptor = _taken(path, say)
    try:
        _write_holder(descriptor)
        yield
    finally:
        # Unlinked while it is held: whoever opened it before finds that it is not the file of this name any more.
        with suppress(OSError):
            if _is_same(descriptor, path):
                path.unlink()
        os.close(descriptor)


def _taken(path: Path, say: Callable[[str], None]) -> int:
    """Return an open descriptor of the file, which holds its lock."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (EAGAIN, EWOULDBLOCK):
                holder = _holder(descriptor)
                os.close(descriptor)
                raise ConfigError(_refusal(path, holder)) from None
            say(
                f"warning: {path.parent} is on a file system without locks ({error.strerror}), "
                "where nothing keeps a second run from the same folder (TRN-11)"
            )
            return descriptor
        if _is_same(descriptor, path):
            return descriptor
        os.close(descriptor)  # it was deleted in between


def _opened(path: Path) -> int:
    try:
        return files.open_shared(path)
    except OSError as error:
        raise ConfigError(f"expected to lock {path}, got: {files.reason(error)} (TRN-11)") from None


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "command": " ".join(sys.argv)[:1000]}
    with suppress(OSError):  # a full disk is no reason not to hold the lock
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode()[:_LENGTH], 0)


def _holder(descriptor: int) -> str:
    """Return who holds the lock, in words."""
    try:
        about = json.loads(os.pread(descriptor, _LENGTH, 0))
        pid, host, started, command = (about[name] for name in ("pid", "host", "started", "command"))
    except (OSError, ValueError, KeyError, TypeError):  # not written yet
        return "another process"
    return ascii(f"process {pid} on {host}, started {started} as: {command}")[1:-1]


def _refusal(path: Path, holder: str) -> str:
    return (
        f"expected a folder that no other run writes to, got {path.parent}, which is locked by {holder}; "
        f"stop that process, or, if it does not run any more, delete {path} (TRN-11)"
    )
