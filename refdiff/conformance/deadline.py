"""A time limit on code that is not ours."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Overrun(BaseException):
    """The limit passed. Not an Exception, so that a target's own `except Exception` does not eat it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise Overrun in the body once `seconds` have passed.

    By SIGALRM, so only in the main thread of a POSIX process, and only between two Python
    bytecodes: a hang inside C is not interrupted. Elsewhere there is no limit.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Overrun

    before = signal.signal(signal.SIGALRM, ring)
    # Again every half second, should a bare `except:` swallow the first.
    others, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    started = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if others:
            # Somebody else's timer, of pytest-timeout perhaps: what is left of it.
            left = others - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3), interval)
