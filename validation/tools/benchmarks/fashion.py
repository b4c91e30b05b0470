"""Quality and time of one run on Fashion-MNIST at 28 x 28, on the cores of this machine.

    python -m validation.tools.benchmarks.fashion OUT [--steps N]

Trains with the settings of `HOW` into the folder OUT, as `python -m refdiff train` does, with its pictures and
checkpoints, and draws OUT/fashion.png: samples above, and training examples below. The figure is the Fréchet distance
of 1,000 samples by DDIM in 50 steps to the 10,000 held-out pictures over that of 1,000 training pictures, that of
`peers --data fashion-mnist`, to whose record the run is added. Bar: 20 minutes on two cores. Needs the extra `train`,
and Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

import torch

from refdiff.nn import Architecture
from refdiff.training import files, generate
from refdiff.training.config import BatchConfig, Config, MonitorConfig, PreprocessConfig
from refdiff.training.data import load, split
from refdiff.training.generate import Trained
from refdiff.training.run import train

from . import peers
from .peers_rows import DDIM

MINUTES = 20
"""Bar, on two cores."""
SOURCE = peers.SOURCES["fashion-mnist"]
HOW = Config(
    data=SOURCE.data,
    steps=3000,
    network=Architecture(width=32, multipliers=(1, 2)),
    batch=BatchConfig(size=32),
    preprocess=PreprocessConfig(held_out=SOURCE.held_out),
    monitor=MonitorConfig(eval_every=0),
)
SHOWN = 32
"""Samples, and training examples, in the picture."""


def main(arguments: Sequence[str] | None = None, how: Config = HOW, source: peers.Source = SOURCE) -> int:
    """Train, measure, draw and record; return the exit code: 1 if it took longer than the bar."""
    parser = ArgumentParser(prog="fashion", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder of the run")
    parser.add_argument("--steps", type=int, default=how.steps, help="optimizer steps")
    asked = parser.parse_args(arguments)
    how = replace(how, steps=asked.steps)
    start = perf_counter()
    state = train(how, asked.out).state
    seconds = perf_counter() - start
    data, held_out = split(load(how.data, how.preprocess), how.preprocess.held_out, how.seed)
    spent = process_time()
    made = Trained(asked.out).samples(source.samples, seed=how.seed, sampler="ddim", steps=DDIM.steps)
    sampling = {"sampling_seconds": round(process_time() - spent, 1)}
    measured = peers.measure(made, data, held_out, how.seed)
    shown = torch.cat([made[:SHOWN], data.take(slice(0, SHOWN))])
    files.write(asked.out / "fashion.png", generate.png(shown, columns=16))
    runs = [run for run in peers.read(source.record) if run["row"] != "refdiff"]
    ours = {
        "row": "refdiff",
        "seed": how.seed,
        "budget": max(source.seconds),
        "threads": torch.get_num_threads(),
        "settings": {"network": asdict(how.network), "batch": how.batch.size},
        "samplings": {str(DDIM): measured | sampling},
        "seconds": round(seconds, 2),
        "steps": how.steps,
        "planned": how.steps,
        "parameters": sum(weight.numel() for weight in state.model.parameters()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": {"torch": version("torch")},
    }
    peers.write(source.record, [*runs, ours])
    took = f"{seconds / 60.0:.1f} minutes on {torch.get_num_threads()} threads, bar {MINUTES}"
    print(f"{measured['ratio']:.3f} times the Fréchet distance of training pictures; {took}")
    return int(seconds > 60.0 * MINUTES)


if __name__ == "__main__":
    sys.exit(main())
