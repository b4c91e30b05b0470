"""Advice on training, measured on the digits: each row changes one setting of a short run.

    python -m validation.tools.advice [--seeds N] [--jobs N] [--steps N] [--out FILE]

Every run is added to the record, `validation/records/advice.json`, and is not repeated, so an interrupted command
continues where it stopped. At the end the table is printed.

| column | of the moving average of the weights, after the last step |
|---|---|
| Fréchet | distance of 500 samples (DDIM, 50 steps) to the 297 held-out digits, over that of 500 training digits |
| loss | mean of min(SNR, 1) |x_0_hat - x_0|^2 per pixel of held-out digits, the same functional for every row |
| seconds | CPU time of training on one thread |

The loss is a mean over the noise levels of the cosine schedule at uniform times, whatever the process of the row, and
its weight is bounded for every prediction. Both are compared with the run of the reference row that has the same seed,
hence the same split of the data, weights before training, and order of the examples. Intervals are those of Student's
t over seeds, at 95 % for each row by itself. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import exp, inf, log, sqrt
from pathlib import Path
from statistics import fmean, stdev
from time import process_time
from typing import Any, TypeAlias, final

import torch
from scipy import stats
from tabulate import tabulate
from torch import Tensor

from refdiff.loss import Objective
from refdiff.nn import Architecture
from refdiff.schedule import CosineSchedule, NoiseProcess, Schedule
from refdiff.training import generate, quality
from refdiff.training.config import Config, RuntimeConfig
from refdiff.training.data import Examples, load, split
from refdiff.training.distributed import World
from refdiff.training.randomness import generator
from refdiff.training.step import Loop
from refdiff.weighting import MinSNR
from validation.tools.workers import processes

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "validation" / "records" / "advice.json"
STEPS, SEEDS, LEVEL = 400, 5, 0.95
SAMPLES = 500
DRAWS = 32
"""Noise levels for each held-out digit."""
BASE = Config(network=Architecture(width=16, multipliers=(1, 2)), runtime=RuntimeConfig(device="cpu"))
"""The reference row: the defaults of the trainer, with a network that trains in some 30 s."""

Run: TypeAlias = dict[str, Any]
Change: TypeAlias = dict[str, dict[str, Any]]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One change of a setting."""

    subject: str
    name: str
    change: Change
    against: str = "defaults"
    """The row that it is compared with."""
    batch: int = 128
    """Examples per step; the number of steps keeps the number of examples."""

    def config(self, steps: int, seed: int) -> Config:
        """Return the settings of a run."""
        tables: dict[str, Any] = {table: replace(getattr(BASE, table), **new) for table, new in self.change.items()}
        tables["batch"] = replace(BASE.batch, size=self.batch)
        return replace(BASE, **tables, steps=max(1, steps * 128 // self.batch), seed=seed)


def _predicts(kind: str, weight: str = "uniform", **more: float) -> Change:
    return {"objective": {"prediction": kind, "weight": weight, **more}}


def _optimizes(**new: Any) -> Change:
    return {"optimizer": new}


MASSES = (2.2, 1.5, 1.2, 1.0, 1.0, 0.9, 0.8, 0.7)
"""Density of the importance sampler, in eighths of the range of times."""
ROWS = (
    Row("reference", "defaults", {}),
    Row("prediction", "eps", _predicts("eps")),
    Row("prediction", "eps, t_max 0.99", {"times": {"t_max": 0.99}, **_predicts("eps")}),
    Row("prediction", "x_0", _predicts("x_0")),
    Row("prediction", "score", _predicts("score")),
    Row("schedule", "linear", {"process": {"kind": "linear"}}),
    Row("schedule", "linear, eps", {"process": {"kind": "linear"}, **_predicts("eps")}, "linear"),
    Row("times", "uniform", {"times": {"sampler": "uniform"}}),
    Row("times", "importance", {"times": {"sampler": "importance", "masses": MASSES}}),
    Row("times", "second moment", {"times": {"sampler": "second_moment"}}),
    Row("weight of eps", "1/SNR", _predicts("eps", "inverse_snr", clip=100.0), "eps"),
    Row("weight of eps", "min-SNR", _predicts("eps", "min_snr"), "eps"),
    Row("weight of eps", "likelihood", _predicts("eps", "likelihood"), "eps"),
    Row("average", "none", {"ema": {"decay": 0.0}}),
    *(
        Row("average", f"{decay}, no warmup", {"ema": {"decay": decay, "warmup": False}})
        for decay in (0.99, 0.999, 0.9999)
    ),
    *(Row("batch", str(size), {}, batch=size) for size in (32, 64, 256, 512)),
    Row("learning rate", "constant", _optimizes(lr_schedule="constant")),
    Row("learning rate", "1e-4", _optimizes(lr=1e-4)),
    Row("learning rate", "1e-4, constant", _optimizes(lr=1e-4, lr_schedule="constant")),
    Row("learning rate", "no warmup", _optimizes(warmup=0)),
)
BY_NAME = {row.name: row for row in ROWS}


def run(name: str, seed: int, steps: int) -> Run:
    """Train one row with one seed, and return what was measured."""
    torch.set_num_threads(1)
    how = BY_NAME[name].config(steps, seed)
    data, held_out = split(load(how.data, how.preprocess), how.preprocess.held_out, seed)
    loop = Loop.build(how, data, world=World(device=torch.device("cpu")))
    start = process_time()
    for _ in range(how.steps):
        loop.step()
    seconds = process_time() - start
    model = loop.state.ema.module
    made = generate.samples(model, loop.objective, loop.state.times, data.event, SAMPLES, seed=seed)
    unseen = held_out.take(slice(None))
    return {
        "row": name,
        "seed": seed,
        "steps": steps,
        "frechet": quality.frechet(made.float(), unseen) / baseline(data, held_out, seed).mean,
        "loss": held_out_loss(model, loop.objective, held_out, seed),
        "seconds": round(seconds, 2),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "torch": torch.__version__,
    }


def baseline(data: Examples, held_out: Examples, seed: int, count: int = SAMPLES) -> quality.Baseline:
    """Return the Fréchet distance of as many training examples as samples, as the trainer measures it."""
    rows = torch.randperm(len(data), generator=generator(seed, "split", 1)).numpy()
    drawn = generator(seed, "split", 2)
    return quality.baseline(data.take(rows), held_out.take(slice(None)), count, drawn=drawn)


def held_out_loss(model: torch.nn.Module, objective: Objective, held_out: Examples, seed: int) -> float:
    """Return the mean of min(SNR, 1) |x_0_hat - x_0|^2 per pixel, over the noise levels of the cosine schedule."""
    common = Objective(
        process=objective.process, prediction=objective.prediction, weight=MinSNR(gamma=1.0), features="mean"
    )
    drawn, examples = torch.Generator().manual_seed(seed), held_out.take(slice(None))
    count = DRAWS * len(examples)
    # One position in each of `count` equal parts of the times, in random order over the examples.
    uniform = (torch.randperm(count, generator=drawn) + torch.rand(count, generator=drawn).double()) / count
    losses = []
    with torch.no_grad():
        for position in uniform.reshape(DRAWS, len(examples)):
            eps = torch.randn(examples.shape, generator=drawn)
            losses.append(common(model, examples, eps, time_of(objective.process, position).float()).double().mean())
    return float(torch.stack(losses).mean())


def time_of(process: NoiseProcess, position: Tensor) -> Tensor:
    """Return the times at which a schedule has the log-SNR that the cosine schedule has at these positions."""
    if not isinstance(process, Schedule):
        raise TypeError(f"expected a schedule, got {type(process).__name__}")
    t_min, t_max = BASE.times.t_min, BASE.times.t_max
    log_snr = CosineSchedule().log_snr(t_min + (t_max - t_min) * position)
    least, most = process.log_snr(torch.tensor([t_max, t_min], dtype=torch.float64))
    return process.time_of_log_snr(log_snr.clamp(least, most)).clamp(t_min, t_max)


def read(path: Path) -> list[Run]:
    """Return the runs of the record."""
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def _write(path: Path, runs: Sequence[Run]) -> None:
    rows = list(BY_NAME)
    content = sorted(runs, key=lambda run: (rows.index(run["row"]), run["steps"], run["seed"]))
    partial = path.with_suffix(".partial")
    partial.write_text("[\n" + ",\n".join(" " + json.dumps(run) for run in content) + "\n]\n", encoding="utf-8")
    partial.replace(path)


def missing(runs: Sequence[Run], names: Sequence[str], seeds: int, steps: int) -> Iterator[tuple[str, int, int]]:
    """Yield what the record lacks, seed by seed, so that all rows have about equally many runs."""
    known = {(run["row"], run["seed"], run["steps"]) for run in runs}
    for seed in range(seeds):
        yield from ((name, seed, steps) for name in names if (name, seed, steps) not in known)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the length of Student's interval; infinite for a single value."""
    if len(values) < 2:
        return fmean(values), inf
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values), half


def factor(runs: Sequence[Run], row: Row, steps: int, quantity: str) -> tuple[float, float, float]:
    """Return the factor from the reference of a row to the row, geometric mean over common seeds, and its interval."""
    logs = {(run["row"], run["seed"]): log(run[quantity]) for run in runs if run["steps"] == steps}
    pairs = [
        found - logs[row.against, seed]
        for (name, seed), found in logs.items()
        if name == row.name and (row.against, seed) in logs
    ]
    mean, half = interval(pairs)
    return exp(mean), exp(mean - half), exp(min(mean + half, 700.0))


def verdict(low: float, high: float) -> str:
    """Return what the interval of a factor says."""
    return "better" if high < 1.0 else "worse" if low > 1.0 else "no difference seen"


def table(runs: Sequence[Run], steps: int) -> str:
    """Return a table with one line for each row, in Markdown."""
    lines = []
    for row in ROWS:
        mine = [run for run in runs if run["row"] == row.name and run["steps"] == steps]
        if not mine:
            continue
        cells = [row.subject, row.name, str(len(mine))]
        for quantity in ("frechet", "loss"):
            mean, half = interval([run[quantity] for run in mine])
            compared = "" if row.name == row.against else _compared(*factor(runs, row, steps, quantity))
            cells += [f"{mean:.4g} ± {half:.2g}", compared]
        lines.append([*cells, f"{fmean(run['seconds'] for run in mine):.0f}"])
    heads = ("setting", "value", "seeds", "Fréchet", "against reference", "loss", "against reference", "seconds")
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def _compared(mean: float, low: float, high: float) -> str:
    return f"{verdict(low, high)}, {mean:.3g} ({low:.3g} to {high:.3g})"


def main(arguments: Sequence[str] | None = None, train: Callable[[str, int, int], Run] = run) -> int:
    """Run what the record lacks, and print the table."""
    parser = argparse.ArgumentParser(prog="advice", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each row")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the reference row")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one thread")
    parser.add_argument("--rows", nargs="*", choices=list(BY_NAME), default=list(BY_NAME), help="by default all")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record")
    asked = parser.parse_args(arguments)
    runs = read(asked.out)
    todo = list(missing(runs, asked.rows, asked.seeds, asked.steps))
    with processes(asked.jobs) as pool:
        for done in as_completed([pool.submit(train, *one) for one in todo]):
            runs.append(done.result())
            _write(asked.out, runs)
            print(f"{len(runs)} runs: {runs[-1]}", file=sys.stderr)
    print(table(runs, asked.steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
