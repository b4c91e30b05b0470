"""A program in a process of its own that may do anything, spoken to in lines over pipes, each under a time limit.

It is stopped with its whole process group when it is late, takes too much memory or closes its pipe, and it ends with
this process: on Linux by the kernel, elsewhere because its standard input ends.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from refdiff.conformance.calls import printable
from refdiff.errors import RefdiffError

LEASH = """\
import os, sys
try:
    import ctypes
    if sys.argv[1] == "main" and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
        if os.getppid() != int(sys.argv[2]):
            os._exit(1)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
except Exception:
    pass
"""
"""Run first by a Python child: killed when its parent dies (PR_SET_PDEATHSIG), and first when memory is short.

Its arguments: "main" if the parent's main thread starts it, as the kernel watches a thread, and the parent's id.
"""

_TICK = 0.05
"""Seconds between two looks at the memory of the child."""
_PATIENCE = 4.0
"""How many times its limit a child may wait for a core before that counts."""
_KEPT = 2**15
"""Bytes of standard error that are kept."""


@final
class Lost(RefdiffError):
    """A child has ended, or had to be ended. What it says is a predicate: "did not return within 20 s"."""


@final
class Limit:
    """How long a child may take to answer.

    Time in which the child is ready to run and has no core does not count, so that a busy machine makes no target late;
    but it counts once it comes to `_PATIENCE` times the limit. Where the system does not tell, all time counts.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        """Begin now."""
        self.seconds = seconds
        self._pid, self._until, self._waits = pid, time.monotonic() + seconds, dict[str, float]()

    def look(self) -> None:
        """Note how long each thread of the child has waited for a core, if this is the first look."""
        self._waits = self._waits or _waits(self._pid)

    def left(self) -> float:
        """Return the seconds that are left: 0 or less if the child is late."""
        left = self._until - time.monotonic()
        if left > 0.0 or not self._waits:
            return left
        waited = max((now - self._waits.get(thread, 0.0) for thread, now in _waits(self._pid).items()), default=0.0)
        return left + min(waited, _PATIENCE * self.seconds)


def _waits(pid: int) -> dict[str, float]:
    """Return the seconds that each thread of a process was ready to run and had no core; empty if unknown."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return found


@final
class Child:
    """One run of a program."""

    def __init__(self, command: Sequence[str], memory: int, longest: int) -> None:
        """Start the program. memory: most bytes resident; longest: most bytes in a line. Raises Lost."""
        self._memory, self._longest, self._looked = memory, longest, time.monotonic()
        try:
            self._popen = subprocess.Popen(  # noqa: S603  # what a person named on the command line
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Lost(f"cannot be started ({printable(str(error))})") from None
        streams = (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        self._in, self._out, self._err = (stream.fileno() for stream in streams if stream)
        self._inbox, self._seen, self._outbox, self._tail = bytearray(), 0, b"", bytearray()
        self._poll = select.poll()
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
            _widen(fd)
        for fd in (self._out, self._err):
            self._poll.register(fd, select.POLLIN)
        self._watch = _pidfd(self._popen.pid)
        if self._watch >= 0:
            self._poll.register(self._watch, select.POLLIN)
        self._end = weakref.finalize(self, _end, self._popen, self._watch, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether it was not ended from here."""
        return self._end.alive

    def send(self, line: bytes) -> None:
        """Send a line; what the pipe does not take at once goes while an answer is awaited."""
        self._tail.clear()
        self._outbox += line
        self._write()

    def limit(self, seconds: float) -> Limit:
        """Return a time limit that starts now."""
        return Limit(self._popen.pid, seconds)

    def receive(self, limit: Limit) -> bytes:
        """Return the next line. Raises Lost, the child being stopped, if there is none within the limit."""
        while (end := self._inbox.find(b"\n", self._seen)) < 0:
            self._seen = len(self._inbox)
            if self._seen > self._longest:
                raise self.lost(f"wrote a line of more than {self._longest} bytes where an answer is due")
            if (left := limit.left()) <= 0.0:
                raise self.lost(f"did not return within {limit.seconds:g} s")
            self._wait(min(_TICK, left))
            if time.monotonic() - self._looked > _TICK:
                self._look()
                limit.look()
        line = bytes(self._inbox[:end])
        del self._inbox[: end + 1]
        self._seen = 0
        return line

    def lost(self, cause: str) -> Lost:
        """Stop the child, and return why, with what it last said on standard error."""
        self._drain(self._err)
        self.stop()
        said = _telling(bytes(self._tail).decode(errors="replace"))
        return Lost(f"{cause}; it said: {printable(said)}" if said else cause)

    def stop(self) -> None:
        """End the child and all of its process group; again is no error."""
        self._end()

    def _wait(self, moment: float) -> None:
        """Wait at most `moment` seconds for the child to write, to end or to read."""
        ready = {fd for fd, _ in self._poll.poll(1000.0 * moment + 1.0)}
        if self._in in ready:
            self._write()
        if self._err in ready:
            self._read(self._err)
        open_ = self._read(self._out) if self._out in ready else True
        if self._inbox.find(b"\n", self._seen) >= 0:
            return
        if self._watch in ready or not open_ or (self._watch < 0 and self._popen.poll() is not None):
            self._ended()

    def _ended(self) -> None:
        """Raise Lost, unless a last whole line arrives from a process that has ended."""
        with suppress(subprocess.TimeoutExpired):
            status = self._popen.wait(timeout=0.5)
            self._drain(self._out)
            if self._inbox.find(b"\n", self._seen) < 0:
                raise self.lost(f"ended the target's process, {_ending(status)}")
            return
        raise self.lost("closed the pipe on which its answer is due")

    def _look(self) -> None:
        """Raise Lost if the child has more memory than it may."""
        self._looked = time.monotonic()
        try:
            pages = int(Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return  # No such file on this system, or the child is ending.
        if pages * os.sysconf("SC_PAGE_SIZE") > self._memory:
            raise self.lost(f"took more than {self._memory / 2**30:.3g} GiB of memory")

    def _write(self) -> None:
        with suppress(BlockingIOError):
            try:
                while self._outbox:
                    self._outbox = self._outbox[os.write(self._in, self._outbox) :]
            except BrokenPipeError:
                self._outbox = b""  # It has ended, or reads no more: `receive` says which.
        if self._outbox:
            self._poll.register(self._in, select.POLLOUT)
        else:
            with suppress(KeyError):
                self._poll.unregister(self._in)

    def _read(self, fd: int) -> bool:
        """Take what is there, and say whether there may be more."""
        try:
            chunk = os.read(fd, 2**20)
        except BlockingIOError:
            return True
        if not chunk:
            with suppress(KeyError):
                self._poll.unregister(fd)
        elif fd == self._out:
            self._inbox += chunk
        else:
            self._tail += chunk
            del self._tail[:-_KEPT]
        return bool(chunk)

    def _drain(self, fd: int) -> None:
        if not self.alive:
            return
        size = -1
        while size != len(self._inbox) + len(self._tail) and len(self._inbox) <= self._longest:
            size = len(self._inbox) + len(self._tail)
            if not self._read(fd):
                return


def leashed(argv: Sequence[str]) -> list[str]:
    """Return a command that starts any program on a leash."""
    return [sys.executable, "-I", "-S", "-c", f"{LEASH}os.execvp(sys.argv[3], sys.argv[3:])", *leash(), *argv]


def leash() -> tuple[str, str]:
    """Return the arguments of LEASH."""
    return ("main" if threading.current_thread() is threading.main_thread() else "other", str(os.getpid()))


def _end(popen: subprocess.Popen[bytes], watch: int, owner: int) -> None:
    """Kill the group, reap the child, and close every pipe; not in a fork of the process that started it."""
    if os.getpid() == owner:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(popen.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            popen.wait(timeout=10.0)
    for stream in (popen.stdin, popen.stdout, popen.stderr):
        if stream:
            with suppress(OSError):
                stream.close()
    if watch >= 0:
        with suppress(OSError):
            os.close(watch)


def _widen(fd: int) -> None:
    """Let a pipe hold a large array, where the system can: fewer turns."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 2**20)


def _pidfd(pid: int) -> int:
    """Return a descriptor that is readable once the process has ended, or -1 where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _ending(status: int) -> str:
    if status >= 0:
        return f"with exit status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


def _telling(text: str) -> str:
    """Return the first line that speaks of an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = ("error", "exception", "fatal", "abort", "terminate")
    return next((line for line in lines if any(word in line.lower() for word in words)), lines[-1] if lines else "")
