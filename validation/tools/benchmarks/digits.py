"""Quality and time of the default run, `python -m refdiff train`, on scikit-learn's digits, over several seeds.

    python -m validation.tools.benchmarks.digits [--seeds N] [--strict]

Each seed trains with the default settings, in this process, with its pictures, evaluations and checkpoints. The figure
is the Fréchet distance of 500 samples to the 297 held-out digits over that of 500 training digits, after the last step
(the protocol of chapter 8), as a mean over 4 draws of samples: one draw deviates by some 7 %. The mean over seeds has
its 95 % interval of Student's t. Bars: 165 s, and a mean of 1.05.
`--strict` exits with 1 where a bar is missed. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
from tabulate import tabulate

from refdiff.training.config import Config
from refdiff.training.data import load, split
from refdiff.training.generate import Trained
from refdiff.training.quality import frechet
from refdiff.training.run import train
from validation.tools.advice import interval

SECONDS, RATIO = 165.0, 1.05
DRAWS = 4
"""Sets of samples of each run, the trainer's own among them."""


def measure(how: Config) -> tuple[float, float, float]:
    """Return the ratio of Fréchet distances, seconds, and seconds of CPU time of one run."""
    with TemporaryDirectory() as folder:
        wall, used = perf_counter(), process_time()
        rows = train(how, Path(folder)).rows
        wall, used = perf_counter() - wall, process_time() - used
        last = [row for row in rows if "frechet" in row][-1]
        distances = [last["frechet"], *_others(how, Path(folder))]
    return fmean(distances) / last["baseline"], wall, used


def _others(how: Config, folder: Path) -> Iterator[float]:
    """Yield the distances of further draws of samples, by the seeds of other runs."""
    _, held_out = split(load(how.data, how.preprocess), how.preprocess.held_out, how.seed)
    unseen, trained, watch = held_out.take(slice(None)), Trained(folder), how.monitor
    for draw in range(1, DRAWS):
        seed = how.seed + 1000 * draw
        made = trained.samples(watch.eval_samples, seed=seed, sampler=watch.sampler, steps=watch.sampling_steps)
        yield frechet(made, unseen)


def main(arguments: Sequence[str] | None = None, how: Config | None = None) -> int:
    """Print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="digits", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strict", action="store_true")
    asked = parser.parse_args(arguments)
    found = [measure(replace(how or Config(), seed=seed)) for seed in range(asked.seeds)]
    rows = [(seed, f"{ratio:.3f}", f"{wall:.0f}", f"{used:.0f}") for seed, (ratio, wall, used) in enumerate(found)]
    heads = ("seed", "Fréchet, of training digits", "seconds", "CPU seconds")
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    mean, half = interval([ratio for ratio, _, _ in found])
    seconds = fmean(wall for _, wall, _ in found)
    met = mean <= RATIO and seconds <= SECONDS
    about = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"mean {mean:.3f} ± {half:.3f}, bar {RATIO}; {seconds:.0f} s, bar {SECONDS:.0f} s: ", end="")
    print(f"{'met' if met else 'MISSED'} ({about})")
    return int(asked.strict and not met)


if __name__ == "__main__":
    sys.exit(main())
