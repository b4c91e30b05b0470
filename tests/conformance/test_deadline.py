"""The time limit stops Python, whatever it catches, and leaves no alarm behind."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from refdiff.conformance.deadline import Overrun, deadline


def test_stops_a_loop_that_catches_everything() -> None:
    """A bare except eats the first alarm; the next one comes."""
    caught: list[int] = []

    def careless() -> None:
        while True:
            try:
                while True:
                    pass
            except Overrun:
                if caught:
                    raise
                caught.append(1)

    with pytest.raises(Overrun), deadline(0.05):
        careless()


def test_leaves_nothing_behind() -> None:
    """Afterwards the handler is the one before, and no alarm is pending."""
    before = signal.getsignal(signal.SIGALRM)
    with deadline(10.0):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_elsewhere_there_is_no_limit() -> None:
    """Off the main thread a signal cannot be set, and the body runs as it is."""
    done = []

    def body() -> None:
        with deadline(0.001):
            time.sleep(0.01)
            done.append(1)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done
