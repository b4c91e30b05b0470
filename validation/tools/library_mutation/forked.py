"""A function in a fork of this process, which leaves no trace here: what it changes in memory ends with it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any


class Lost(Exception):
    """The fork ended without a result."""


class Late(Exception):
    """The fork was ended because it took too long, which says nothing of what it runs."""


def forked(call: Callable[[], Any], seconds: float) -> Any:
    """Return what a function returns in a fork, by JSON. Raises Lost if nothing comes, Late if it is too late."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads, which do not exist in the fork: it must not need them, and torch runs on one.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    try:
        text = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not text:
        raise Lost("expected a result from the fork, got none")
    answer = json.loads(text)
    if "error" in answer:
        raise Lost(answer["error"])
    return answer["result"]


def _answer(call: Callable[[], Any], writing: int) -> None:
    """Write the result, and end the process."""
    try:
        text = json.dumps({"result": call()})
    except BaseException:  # noqa: BLE001  # all that the function raises is told to the parent
        text = json.dumps({"error": traceback.format_exc()})
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        stream.write(text)
    # Without the handlers of the parent, and without the end of its threads.
    os._exit(0)


def _read(reading: int, until: float) -> str:
    found = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(reading, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not waiting.select(left):
                break
            part = os.read(reading, 1 << 16)
            if not part:
                return found.decode()
            found += part
    raise Late("expected the fork to end in time, got no end")
