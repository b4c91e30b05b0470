"""Interruption by SIGINT or SIGTERM: at the end of a step, or before anything began."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of the signal, as shells count."""
received: list[int] = []
"""Signals deferred so far in this process, in their order."""


def leave_at_once() -> None:
    """End the process at Ctrl-C with one sentence, from now on; for the time in which modules are imported."""

    def leave(kind: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal prescribes the signature
        os.write(2, b"refdiff: interrupted before the command began; nothing was saved\n")
        os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell ignores it for jobs in the background
        signal.signal(signal.SIGINT, leave)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Defer SIGINT and SIGTERM, and yield a function that returns whether one arrived.

    The same signal again ends the process at once. Outside the main thread, signals are left alone.
    """
    caught: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def defer(kind: int, _: FrameType | None) -> None:
        caught.append(kind)
        received.append(kind)
        signal.signal(kind, before[signal.Signals(kind)])

    for kind in kinds:
        signal.signal(kind, defer)
    try:
        yield lambda: bool(caught)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
