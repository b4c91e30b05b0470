"""A target in a process of its own: started, called, and started again if it dies (CON-1, CON-5)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from refdiff.conformance import protocol
from refdiff.conformance.calls import Callee, ContractViolation, described, one_line, printable
from refdiff.conformance.child import LEASH, Child, Lost, leash, leashed
from refdiff.conformance.interface import Claim, Process, Unsupported
from refdiff.conformance.protocol import Handle, Malformed, Message
from refdiff.errors import ConfigError, RefdiffError

IMPORT = 60.0
"""Least limit, in seconds, on importing an adapter and making its target: importing a framework takes its time."""
_CLAUSES = ("CON-1", "CON-2", "CON-3", "CON-4", "CON-5")
_HOST = f"""\
{LEASH}
if sys.version_info < (3, 10):
    sys.exit("error: a target is hosted by Python 3.10 or later, and this is " + sys.version.split()[0])
import importlib.machinery, json
options = json.loads(sys.argv[3])
class Refdiff:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.machinery.PathFinder.find_spec(name, [options["root"]]) if name == "refdiff" else None
sys.meta_path.insert(0, Refdiff)
sys.path[:] = options["path"] or sys.path
from refdiff.conformance.host import serve
serve(options["spec"], options["folder"])
"""
"""Program of the hosting interpreter: it imports this refdiff, and no other package installed beside it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a target in a process of its own."""

    command: str | None = None
    """A program that speaks the protocol, as a shell would split it; None for a Python target."""
    python: str | None = None
    """The interpreter that hosts a Python target; None for this one, with its path."""
    memory: int | None = None
    """Most bytes that the target's process may have resident; None for 3/4 of the machine's memory, at most 16 GiB."""

    def origin(self, spec: str) -> str:
        """Return how a report calls the target."""
        return spec if self.command is None else f"$ {self.command}"

    def argv(self, spec: str, folder: Path | None) -> list[str]:
        """Return the command line. Raises ConfigError if it names no program."""
        if self.command is not None:
            return leashed(_words(self.command))
        python = sys.executable if self.python is None else shutil.which(self.python)
        if python is None:
            raise ConfigError(f"expected --refdiff-target-python as a Python interpreter, got {self.python!r}")
        if not all(spec.partition(":")):
            raise ConfigError(f"expected --refdiff-target as package.module:factory, got {spec!r}")
        options = {
            "root": str(Path(__file__).resolve().parents[2]),
            "path": sys.path if self.python is None else None,
            "folder": str(folder) if folder else None,
            "spec": spec,
        }
        return [python, "-c", _HOST, *leash(), json.dumps(options)]


@final
class Remote:
    """A target in another process. Lost, it is started again at the next call, and what it built is built again."""

    def __init__(self, launch: Launch, spec: str = "", *, seconds: float = 20.0, folder: Path | None = None) -> None:
        """Start it and read its claim. Raises ConfigError, ContractViolation (CON-1)."""
        self.seconds = seconds
        """Limit on one call."""
        self._argv, self._memory = launch.argv(spec, folder), launch.memory or _generous()
        self._name = launch.command or spec
        self._child: Child | None = None
        self._gone = ""
        self._number = 0
        self.run = 0
        """How many times it was started: an object of an earlier run is no more."""
        self.dropped: list[int] = []
        """Handles of this run that nobody holds any more."""
        self.claim = self._start(f"loading {self._name}")

    def build(self, process: Process, /) -> RemoteObject:
        """Return what the target builds. Raises Unsupported, ContractViolation (CON-1, CON-5)."""
        return self.built(process, f"build({process!r})")

    def built(self, process: Process, what: str) -> RemoteObject:
        """Return what the target builds, `what` being the call in messages."""
        request = {"do": "build", "process": protocol.encode_process(process)}
        return RemoteObject(self, lambda: self.ask(request, what, self.seconds))

    def running(self, what: str) -> Child:
        """Return the process, started again if it was lost. Raises ContractViolation."""
        if self._gone:
            raise ContractViolation("CON-5", f"{what} is not called: {self._gone}", fatal=True)
        if self._child is None or not self._child.alive:
            try:
                claim = self._start(f"loading {self._name} again")
            except ContractViolation as failure:
                self._gone = str(failure)
                raise
            if claim != self.claim:
                self._gone = f"{self._name}, started again, claims something else"
                raise ContractViolation("CON-1", self._gone, fatal=True)
        assert self._child is not None
        return self._child

    def ask(self, request: Message, what: str, seconds: float, lent: Sequence[Any] = ()) -> Any:
        """Return what the target answers to a request. Raises Unsupported, ContractViolation.

        lent: the functions that it may call meanwhile, by handle.
        """
        child = self.running(what)
        self._number += 1
        released = b"".join(protocol.pack({"do": "release", "object": handle}) for handle in self.dropped)
        self.dropped.clear()
        limit, line = child.limit(seconds), b""
        try:
            child.send(released + protocol.pack({"id": self._number, **request}))
            while "do" in (answer := protocol.unpack(line := child.receive(limit))):
                child.send(protocol.pack(_called_back(answer, lent)))
            return _result(answer, self._number)
        except Lost as lost:
            raise ContractViolation("CON-5", f"{what} {lost}", fatal=True) from None
        except (Malformed, RecursionError) as error:
            cause = child.lost(f"wrote {_quoted(line)} where an answer is due: {error}")
            raise ContractViolation("CON-5", f"{what} {cause}", fatal=True) from None
        except (Unsupported, ContractViolation):
            raise
        except BaseException:
            child.stop()  # Interrupted between a request and its answer.
            raise

    def close(self) -> None:
        """End the process; a later call starts it again."""
        if self._child is not None:
            self._child.stop()

    def _start(self, what: str) -> Claim:
        line = b""
        try:
            self._child = Child(self._argv, self._memory, protocol.LONGEST)
            self.run += 1
            self.dropped.clear()
            line = self._child.receive(self._child.limit(max(self.seconds, IMPORT)))
            return _claim(protocol.unpack(line))
        except Lost as lost:
            raise ContractViolation("CON-1", f"{what} {lost}", fatal=True) from None
        except (Malformed, RecursionError) as error:
            assert self._child is not None
            cause = self._child.lost(f"wrote {_quoted(line)} where its claim is due: {error}")
            raise ContractViolation("CON-1", f"{what} {cause}", fatal=True) from None
        except BaseException:
            self.close()
            raise


@final
class RemoteObject(Callee):
    """Object made by a target in another process, by `build` or `fit`. It is made again in a new process."""

    def __init__(self, target: Remote, make: Callable[[], Any]) -> None:
        """Take how to make it, and make it."""
        self._target, self._make = target, make
        self._handle, self._run = self._made()

    def __del__(self) -> None:
        """Let the target forget it."""
        if hasattr(self, "_handle") and self._run == self._target.run:
            self._target.dropped.append(self._handle.number)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return a method of the contract: for who repeats a call by hand."""
        if method.startswith("_") or not self.has(method):
            raise AttributeError(method)
        return lambda *arguments: self.ask(method, method, arguments, self._target.seconds)

    def has(self, method: str) -> bool:
        """Say whether it has a method of this name."""
        return method in self._handle.methods

    def ask(self, what: str, method: str, arguments: Sequence[object], seconds: float | None) -> Any:
        """Call the method in the other process, which keeps the rules of the contract itself."""
        if not self.has(method):
            raise ContractViolation("CON-1", f"the claim lists {method!r}, but build() returned an object without it")
        limit = self._target.seconds if seconds is None else seconds
        lent = [x for x in arguments if callable(x)]
        encoded = [protocol.encode(x, lent.index) for x in arguments]

        def call() -> Any:
            self._target.running(what)
            if self._run != self._target.run:
                self._handle, self._run = self._made()
            request = {"do": "call", "object": self._handle.number, "method": method, "arguments": encoded}
            return self._target.ask(request, what, limit, lent)

        result = call()
        return _again(self._target, result, call) if isinstance(result, Handle) else result

    def _made(self) -> tuple[Handle, int]:
        handle = self._make()
        if not isinstance(handle, Handle):
            raise ContractViolation("CON-1", f"expected build to return an object, got {described(handle)}")
        return handle, self._target.run


def _again(target: Remote, made: Handle, make: Callable[[], Any]) -> RemoteObject:
    """Return the object of a handle that is there, and of those that `make` will give."""
    first = [made]
    return RemoteObject(target, lambda: first.pop() if first else make())


def _claim(hello: Message) -> Claim:
    """Return what a target says of itself. Raises Malformed, ContractViolation (CON-1)."""
    if hello.get("protocol") != protocol.VERSION:
        raise Malformed(f"expected version {protocol.VERSION} of the protocol, got {hello.get('protocol')!r:.40}")
    if "error" in hello:
        raise _error(hello["error"], "CON-1")
    try:
        return protocol.decode_claim(hello.get("claim"))
    except ConfigError as error:
        raise ContractViolation("CON-1", printable(str(error))) from None


def _result(answer: Message, number: int) -> Any:
    """Return the result that an answer brings. Raises Malformed, Unsupported, ContractViolation."""
    if type(answer.get("id")) is not int or answer["id"] != number or len(answer) != 2:
        raise Malformed(f"not the answer to request {number}")
    if "result" in answer:
        return protocol.decode(answer["result"])
    if isinstance(answer.get("unsupported"), str):
        raise Unsupported(printable(answer["unsupported"]))
    raise _error(answer.get("error"), "CON-5")


def _error(error: Any, clause: str) -> RefdiffError:
    """Return what an error of the target says, as an exception."""
    if not isinstance(error, dict) or not isinstance(error.get("message"), str) or error.keys() - {"clause", "message"}:
        return Malformed("an error has a message, and may have a clause")
    if error.get("clause", clause) not in _CLAUSES:
        return Malformed(f"the clause of an error is one of {', '.join(_CLAUSES)}")
    return ContractViolation(error.get("clause", clause), printable(error["message"], 1000))


def _called_back(request: Message, lent: Sequence[Any]) -> Message:
    """Return the answer to a call of a function that was lent. Raises Malformed."""
    match request:
        case {"id": int(number), "do": "call", "object": int(handle), "method": "denoiser", "arguments": [x_t, t]}:
            if len(request) != 5 or not 0 <= handle < len(lent):
                raise Malformed("a call of a function that was not lent")
        case _:
            raise Malformed("a target may call what it was lent, with (x_t, t), and ask nothing else")
    arguments = (protocol.decode(x_t), protocol.decode(t))
    try:
        return {"id": number, "result": protocol.encode(lent[handle](*arguments))}
    except Exception as error:  # noqa: BLE001  # raised in the target, as it would be in one process
        return {"id": number, "error": {"message": one_line(error)}}


def _quoted(line: bytes) -> str:
    return f"'{printable(line[:60].decode(errors='replace'))}{'...' if len(line) > 60 else ''}'"


def size(text: str) -> int:
    """Return a number of bytes, given as a number with a unit. Raises ConfigError."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    number = round(float(found[1]) * 1024.0 ** (1 + "KMGT".index(found[2].upper()))) if found else 0
    if number < 2**20:
        raise ConfigError(f"expected --refdiff-memory of at least 1MiB, such as 512MiB or 8GiB, got {text!r}")
    return number


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"expected --refdiff-target-exec as a shell command, got {command!r} ({error})") from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigError(f"expected --refdiff-target-exec as a command whose program exists, got {command!r}")
    return words


def _generous() -> int:
    """Return three quarters of the memory that the machine, or its control group, has; at most 16 GiB."""
    sizes = [16 * 2**30]
    with suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4)
    with suppress(OSError, ValueError):
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()) * 3 // 4)
    return min(sizes)
