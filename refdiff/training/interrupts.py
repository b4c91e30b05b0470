"""Interruption of a run by SIGINT or SIGTERM, at the end of a step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


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
        signal.signal(kind, before[signal.Signals(kind)])

    for kind in kinds:
        signal.signal(kind, defer)
    try:
        yield lambda: bool(caught)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
