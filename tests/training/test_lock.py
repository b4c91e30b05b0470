"""refdiff.training.lock: one run at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from refdiff.errors import ConfigError
from refdiff.training import lock

from . import runs


def hold(out: Path, ready: Connection) -> None:
    """Hold the lock until this process is killed."""
    with lock.locked(out, runs.quiet):
        ready.send(None)
        signal.pause()


def test_second_holder_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    """TRN-11: the message names who holds the lock and how to break it; SIGKILL releases it."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, there), daemon=True)
    process.start()
    assert here.poll(120)
    with (
        pytest.raises(
            ConfigError,
            match=rf"^expected a folder that no other run writes to, got {tmp_path}, which is locked by "
            rf"process {process.pid} on \S+, started \d+-\d\d-\d\dT[\d:]+\+00:00 as: .+; "
            rf"stop that process, or, if it does not run any more, delete {tmp_path}/\.lock \(TRN-11\)$",
        ),
        lock.locked(tmp_path, runs.quiet),
    ):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (tmp_path / lock.NAME).exists()
    with lock.locked(tmp_path, runs.quiet):
        pass
    assert list(tmp_path.iterdir()) == []


def test_deleting_the_file_breaks_the_lock_once(tmp_path: Path) -> None:
    """TRN-11: another run may hold it then; the end of the first does not take it from the second."""
    with lock.locked(tmp_path, runs.quiet):
        (tmp_path / lock.NAME).unlink()
        second = lock.locked(tmp_path, runs.quiet)
        second.__enter__()
    with pytest.raises(ConfigError, match="locked by process"), lock.locked(tmp_path, runs.quiet):
        pass
    second.__exit__(None, None, None)
    with lock.locked(tmp_path, runs.quiet):
        pass


def test_file_deleted_while_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-11: a lock on a file that has no name any more would keep nobody away."""
    flock = fcntl.flock
    calls: list[int] = []

    def deleting(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / lock.NAME).unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", deleting)
    with lock.locked(tmp_path, runs.quiet):
        assert len(calls) == 2
        with pytest.raises(ConfigError, match="locked by"), lock.locked(tmp_path, runs.quiet):
            pass


def test_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-11: in one sentence, and the run goes on."""

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    said: list[str] = []
    with lock.locked(tmp_path, said.append):
        assert len(said) == 1
    assert "is on a file system without locks (No locks available)" in said[0]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_odd_lock_files_are_refused(tmp_path: Path, kind: str) -> None:
    """TRN-11: in one sentence; what a link names is left alone."""
    (tmp_path / "victim").write_text("theirs")
    path = tmp_path / lock.NAME
    makers: dict[str, Callable[[], None]] = {
        "link": lambda: path.symlink_to("victim"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    makers[kind]()
    with (
        pytest.raises(ConfigError, match=r"^expected to lock [^\n]+, got: [^\n]+ \(TRN-11\)$"),
        lock.locked(tmp_path, print),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "theirs"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff", b'{"pid": "\\u001b[31m\\n"}'])
def test_holder_without_a_name_is_another_process(tmp_path: Path, content: bytes) -> None:
    """TRN-11: whatever the file has, the message is one line of printable characters."""
    with lock.locked(tmp_path, runs.quiet):
        (tmp_path / lock.NAME).write_bytes(content)
        with pytest.raises(ConfigError, match="locked by another process;"), lock.locked(tmp_path, runs.quiet):
            pass


def test_control_characters_of_the_holder_are_escaped(tmp_path: Path) -> None:
    """TRN-11: a command line may have any."""
    with lock.locked(tmp_path, runs.quiet):
        (tmp_path / lock.NAME).write_text('{"pid": 1, "host": "a\\u001b", "started": "b\\n", "command": "c"}')
        with (
            pytest.raises(ConfigError, match=r"process 1 on a\\x1b, started b\\n as: c;"),
            lock.locked(tmp_path, print),
        ):
            pass
