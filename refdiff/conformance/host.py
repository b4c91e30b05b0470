"""Host a Python target for a suite in another process: `python -m refdiff.conformance.host module:factory`.

Imports NumPy and the standard library only, besides the target: it runs in the environment of the target, whatever
framework is installed there. The rules of the contract that concern one call are kept here, beside the target.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, final

from refdiff.conformance import protocol
from refdiff.conformance.calls import ContractViolation, Local, Trained, guarded, one_line
from refdiff.conformance.interface import Claim, Process, Target, Unsupported
from refdiff.conformance.loading import load
from refdiff.conformance.protocol import Handle, Message
from refdiff.errors import ConfigError


@final
class CallbackFailed(Exception):
    """A function of the suite, called by the target, raised."""


@final
class Pipe:
    """The two ends of the protocol. What the target itself prints goes to standard error, and it reads nothing."""

    def __init__(self) -> None:
        """Take standard input and output away from everybody else."""
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=2**16)
        self._out = os.dup(1)
        self._owner = os.getpid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)

    def receive(self) -> Message | None:
        """Return the next message, or None at the end. A fork of the target's that gets here ends."""
        if os.getpid() != self._owner:
            os._exit(1)
        line = self._in.readline()
        return protocol.unpack(line) if line else None

    def send(self, message: Message) -> None:
        """Send a message."""
        if os.getpid() != self._owner:
            os._exit(1)
        data = memoryview(protocol.pack(message))
        while data:
            data = data[os.write(self._out, data) :]


@final
class Host:
    """A target, and what it has built, by handle."""

    def __init__(self, target: Target, claim: Claim, pipe: Pipe) -> None:
        """Serve this target through this pipe."""
        self._target, self._claim, self._pipe = target, claim, pipe
        self._objects: dict[int, Local] = {}
        self._numbers = 0
        # Processes of the claim are given back as they are, whatever else they carry.
        self._claimed = {_key(p): p for p in claim.processes if not isinstance(p, type)}

    def serve(self) -> None:
        """Answer until the suite closes its end."""
        while (request := self._pipe.receive()) is not None:
            if request["do"] == "release":
                self._objects.pop(request["object"], None)
            else:
                self._pipe.send({"id": request["id"], **self._answer(request)})

    def _answer(self, request: Message) -> Message:
        try:
            return {"result": self._build(request) if request["do"] == "build" else self._call(request)}
        except Unsupported as refusal:
            return {"unsupported": str(refusal)}
        except ContractViolation as failure:
            return {"error": {"clause": failure.clause, "message": str(failure)}}
        except KeyboardInterrupt as error:
            # No key of ours: the target raised it.
            what = request.get("method", "build")
            return {"error": {"clause": "CON-5", "message": f"{what} raised {one_line(error)}"}}

    def _build(self, request: Message) -> Any:
        process = protocol.decode_process(request["process"])
        process = self._claimed.get(_key(process), process)
        what = f"build({process!r})"
        made = Local(
            guarded(what, None, lambda: self._target.build(process), "CON-1", self._claim.refusals),
            self._claim.refusals,
        )
        return protocol.encode(Handle(self._keep(made), tuple(name for name in protocol.NAMES if made.has(name))))

    def _call(self, request: Message) -> Any:
        method = request["method"]
        what = "the denoiser of fit" if method == "denoiser" else method
        arguments = [self._argument(value) for value in request["arguments"]]
        result = self._objects[request["object"]].ask(what, method, arguments, None)
        return protocol.encode(result, self._lend if method == "fit" else None)

    def _argument(self, value: Any) -> Any:
        decoded = protocol.decode(value)
        return self._borrowed(decoded) if isinstance(decoded, Handle) else decoded

    def _lend(self, denoiser: Callable[..., Any]) -> int:
        return self._keep(Local(Trained(denoiser), self._claim.refusals))

    def _keep(self, made: Local) -> int:
        self._numbers += 1
        self._objects[self._numbers] = made
        return self._numbers

    def _borrowed(self, handle: Handle) -> Callable[[Any, Any], Any]:
        """Return a denoiser of the suite's as a function."""

        def denoiser(x_t: Any, t: Any) -> Any:
            arguments = [protocol.encode(protocol.as_array(x)) for x in (x_t, t)]
            request = {"do": "call", "object": handle.number, "method": "denoiser", "arguments": arguments}
            self._pipe.send({"id": 0, **request})
            answer = self._pipe.receive() or {}
            if "result" not in answer:
                raise CallbackFailed(answer.get("error", {}).get("message", "the suite has gone"))
            return protocol.decode(answer["result"]).copy()

        return denoiser


def serve(spec: str, folder: str | None = None) -> None:
    """Load the target, say what it claims, and answer until the suite is gone. Does not return."""
    pipe = Pipe()
    with suppress(Exception):
        faulthandler.enable()
    try:
        target, claim = load(spec, None, Path(folder) if folder else None)
        pipe.send({"protocol": protocol.VERSION, "claim": protocol.encode_claim(claim)})
    except (ContractViolation, ConfigError) as failure:
        clause = failure.clause if isinstance(failure, ContractViolation) else "CON-1"
        pipe.send({"protocol": protocol.VERSION, "error": {"clause": clause, "message": str(failure)}})
    except KeyboardInterrupt as error:
        message = f"loading {spec} raised {one_line(error)}"
        pipe.send({"protocol": protocol.VERSION, "error": {"clause": "CON-1", "message": message}})
    else:
        with suppress(BrokenPipeError):
            Host(target, claim, pipe).serve()
    # Without the threads and the handlers that the target may have left.
    os._exit(0)


def _key(process: Process) -> bytes:
    return protocol.pack(protocol.encode_process(process))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m refdiff.conformance.host package.module:factory")
    serve(sys.argv[1], str(Path.cwd()))
