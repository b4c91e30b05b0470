"""Processes that work for a command, and end when it does, even if it is killed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread


def processes(jobs: int, *, tasks: int | None = None) -> ProcessPoolExecutor:
    """Return an executor of new processes, each of which ends after so many tasks, and with its parent.

    Args:
        jobs: Number of processes.
        tasks: Tasks of one process; with 1 its CPU time is that of the task. By default any number.
    """
    return ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_end_with_parent, max_tasks_per_child=tasks
    )


def _end_with_parent() -> None:
    """Watch the parent from a thread: a killed one stops no worker, which then takes CPU time from the next command."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
