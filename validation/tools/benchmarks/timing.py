"""Two calls, timed side by side in one process."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import TypeAlias, final

import torch

Call: TypeAlias = Callable[[], object]


@final
@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The quartiles of the ratios of the rounds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def compare(ours: Call, theirs: Call, *, rounds: int, calls: int, clock: Callable[[], float]) -> Ratio:
    """Return what `ours` takes in units of `theirs`; a round times `calls` calls of each, the first in turn."""
    ratios = []
    for i in range(rounds):
        if i % 2:
            below = timed(theirs, calls, clock)
            ratios.append(timed(ours, calls, clock) / below)
        else:
            ratios.append(timed(ours, calls, clock) / timed(theirs, calls, clock))
    low, median, high = quantiles(ratios, n=4, method="inclusive")
    return Ratio(low=low, median=median, high=high)


def settle() -> None:
    """Free one block of nearly 32 MiB, as any training has: glibc then keeps what is freed, up to twice as much.

    In a fresh process it returns blocks of 6 MiB to the kernel, and whoever asks next pays 1.2 ms for 3 MiB, ten times
    what a pass over them takes: which side that is, small allocations in between decide.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def asked_for(name: str, about: str, arguments: Sequence[str] | None) -> Namespace:
    """Return what a benchmark's command line asks for: `rounds` and `strict`."""
    parser = ArgumentParser(prog=f"python -m validation.tools.benchmarks.{name}", description=about.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41, help="ratios for each median (default 41)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a bar is missed")
    return parser.parse_args(arguments)


def timed(call: Call, calls: int, clock: Callable[[], float]) -> float:
    """Return what `calls` calls take, after one that is not timed."""
    call()
    start = clock()
    for _ in range(calls):
        call()
    return clock() - start
