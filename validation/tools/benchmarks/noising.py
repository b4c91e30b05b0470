"""Cost of noising a batch, as ratios of two implementations timed alternately.

    python -m validation.tools.benchmarks.noising [--rounds N] [--strict]

| column | numerator | denominator | bar |
|---|---|---|---|
| drawn | times by `Continuous(Stratified())`, `torch.randn`, `perturb` | `torch.randn_like`, `torch.addcmul` | 1.15 |
| given | `perturb` of the noise and times given | diffusers' `DDPMScheduler.add_noise` of the same | 0.75 |

`torch.addcmul(x_0, scale, noise)`, one scale for each example, is the one pass that any noising needs at least: it
reads x_0 and noise once and writes x_t once. x_0 keeps its own scale, 1, so that it is no noising yet.

Each round times both, in turn first and second, each after a call that is not timed, and gives one ratio; shown are
the median of the rounds and their quartiles. With one thread the clock is the CPU's, which a neighbour moves only by
way of the caches; with more it is the wall's, since threads that wait for each other burn CPU. The memory allocator is
as in a program that has trained for a while. The bars are for the first row's batch. `--strict` exits with 1 where one
is missed.
Needs the extra `diffusers`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter, process_time
from typing import Literal, TypeAlias, final

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from tabulate import tabulate

from refdiff import LinearSchedule, perturb
from refdiff.positions import Stratified
from refdiff.times import Continuous

from .timing import Call, Ratio, asked_for, compare, settle

Comparison: TypeAlias = Literal["drawn", "given"]

BARS: dict[Comparison, float] = {"drawn": 1.15, "given": 0.75}
THREADS = (2, 1)


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Data to be noised."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.shape} {str(self.dtype).removeprefix('torch.')}"


BATCHES = (
    Batch(shape=(64, 3, 64, 64)),
    Batch(shape=(128, 1, 8, 8)),
    Batch(shape=(16, 3, 256, 256)),
    Batch(shape=(4096, 2)),
    Batch(shape=(64, 3, 64, 64), dtype=torch.float16),
    Batch(shape=(64, 3, 64, 64), dtype=torch.bfloat16),
)


def sides(comparison: Comparison, batch: Batch) -> tuple[Call, Call]:
    """Return the two ways that a column compares: ours, theirs."""
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(batch.shape, generator=generator).to(batch.dtype)
    eps = torch.randn(batch.shape, generator=generator).to(batch.dtype)
    k = torch.randint(1000, batch.shape[:1], generator=generator)
    t, scale = (k + 1) / 1000, torch.rand(batch.shape[0], *(1 for _ in batch.shape[1:])).to(batch.dtype)
    schedule, times, scheduler = LinearSchedule(), Continuous(sampler=Stratified()), DDPMScheduler()

    def drawn() -> object:
        t, _ = times(len(x_0), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
        return perturb(schedule, x_0, noise, t)

    if comparison == "drawn":
        return drawn, lambda: torch.addcmul(x_0, scale, torch.randn_like(x_0))
    return lambda: perturb(schedule, x_0, eps, t), lambda: scheduler.add_noise(x_0, eps, k)


def measure(batch: Batch, *, rounds: int, threads: int) -> dict[Comparison, Ratio]:
    """Return both ratios, with so many threads of torch."""
    calls = min(100, max(1, 2_000_000 // prod(batch.shape)))
    clock = process_time if threads == 1 else perf_counter
    settle()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {c: compare(*sides(c, batch), rounds=rounds, calls=calls, clock=clock) for c in BARS}
    finally:
        torch.set_num_threads(before)


def main(
    arguments: Sequence[str] | None = None, batches: Sequence[Batch] = BATCHES, threads: Sequence[int] = THREADS
) -> int:
    """Print the table, and what it says of the bars; return the exit code."""
    asked = asked_for("noising", __doc__, arguments)
    rows, verdicts, missed = [], [], False
    for number in threads:
        for batch in batches:
            found = measure(batch, rounds=asked.rounds, threads=number)
            rows.append((number, str(batch), *map(str, found.values())))
            if batch is batches[0]:
                for name, bar in BARS.items():
                    met = found[name].median <= bar
                    missed |= not met
                    sign = "met" if met else "MISSED"
                    verdicts.append(f"{name}, {batch}, threads {number}: {found[name].median:.2f}, bar {bar}: {sign}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads by default; median ratio (quartiles)")
    print(tabulate(rows, ("threads", "batch", *BARS), tablefmt="github"))
    print(*verdicts, sep="\n")
    return int(asked.strict and missed)


if __name__ == "__main__":
    sys.exit(main())
