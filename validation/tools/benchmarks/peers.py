"""Quality after the same seconds of training: refdiff's trainer, and those of two other libraries.

    python -m validation.tools.benchmarks.peers [--data NAME] [--seeds N] [--seconds S ...] [--rows ...] [--jobs N]
        [--out FILE] [--plot FILE] [--pictures FOLDER]

Every row trains on the same 1,500 digits of 8 x 8 pixels (scikit-learn), split by the seed as refdiff splits them, with
a network of about 1.5 M parameters. `peers_rows` states the settings: first those that each library documents, then
for the two others refdiff's settings, as far as they can be set. The record repeats them. `--data fashion-mnist` trains
on 50,000 pictures of clothes instead, 28 x 28 pixels, and measures 1,000 samples against the 10,000 others.

| what | how |
|---|---|
| budget | CPU time of optimizer steps, on one thread of torch: the wall time of a core of its own |
| runs | one for each budget, with as many steps as fit, by the rate of a few steps of another run |
| Fréchet | of 500 samples to the 297 held-out digits, over that of 500 training digits; pixels in [-1, 1] |
| samplers | each library's DDIM with 50 steps; at the largest budget also the sampler of its own example |

A schedule of the learning rate thus ends with the budget; a run that is slower than its rate stops at the budget.
No row writes checkpoints or pictures, or evaluates, while it trains. Every run is added to the record of the data,
`validation/records/peers.json` for digits, and is not repeated, so an interrupted command continues where it stopped;
short budgets come first. At the end the table is printed, and for digits the README's sentences, and the plot is drawn.
Needs the extra `peers`, in an environment of its own, as torchvision fixes the version of torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from math import inf
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, TypeAlias, final

import torch
from tabulate import tabulate
from torch import Tensor

from refdiff.training import generate, quality
from refdiff.training.config import PreprocessConfig
from refdiff.training.data import Examples, load, split
from validation.tools import workers
from validation.tools.advice import baseline, interval

from .peers_plot import draw, svg
from .peers_rows import BY_NAME, DDIM, ROWS, Library, Sampler
from .peers_trainers import DenoisingDiffusion, Diffusers, Plan, Refdiff, Settings, Trainer

ROOT = Path(__file__).parents[3]
RECORDS, PLOT = ROOT / "validation" / "records", ROOT / "spec" / "figures" / "peers.svg"
SECONDS = (30.0, 60.0, 150.0, 300.0)


@final
@dataclass(frozen=True, slots=True)
class Source:
    """What the rows train on, and how they are measured."""

    data: str
    """Name of the data for refdiff."""
    held_out: int | None
    """Examples held out, by default refdiff's number."""
    samples: int
    seconds: tuple[float, ...]
    """Budgets."""
    documented_from: float
    """Least budget at which the sampler of a library's own example is measured too, which may take long."""
    record: Path


SOURCES = {
    source.data: source
    for source in (
        Source("digits", None, 500, SECONDS, max(SECONDS), RECORDS / "peers.json"),
        Source("fashion-mnist", 10_000, 1000, (1200.0,), inf, RECORDS / "peers_fashion_mnist.json"),
    )
}
DIGITS = SOURCES["digits"]
WARM = 0.05
"""Part of the budget spent on measuring the rate beforehand; it does not count."""
NEEDED = ("denoising_diffusion_pytorch", "diffusers", "accelerate", "torchvision")
COMMAND = "validation.tools.benchmarks.peers"
PACKAGES = ("torch", "denoising-diffusion-pytorch", "diffusers", "accelerate")
TRAINERS: dict[Library, Callable[[Settings, Plan], Trainer]] = {
    "refdiff": Refdiff,
    "denoising-diffusion-pytorch": DenoisingDiffusion,
    "diffusers": Diffusers,
}

Run: TypeAlias = dict[str, Any]


def run(
    name: str,
    seed: int,
    budget: float,
    *,
    with_documented: bool,
    source: Source = DIGITS,
    pictures: Path | None = None,
) -> Run:
    """Train one row for one budget, and return what was measured."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the libraries, on what their CPU path does not use
    row = BY_NAME[name]
    data, held_out = split(load(source.data, PreprocessConfig()), source.held_out, seed)
    with TemporaryDirectory() as scratch:
        build = TRAINERS[row.library]
        (trial := Path(scratch, "trial")).mkdir()
        (folder := Path(scratch, "run")).mkdir()
        steps = max(1, int(budget * rate(build(row.settings, Plan(data, 10**6, seed, trial)), WARM * budget)))
        trainer = build(row.settings, Plan(data, steps, seed, folder))
        taken, spent = train(trainer, steps, budget)
        samplers = dict.fromkeys((DDIM, row.documented) if with_documented else (DDIM,))
        samplings = {}
        for sampler in samplers:
            start = process_time()
            made = trainer.samples(source.samples, sampler)
            spent_sampling = process_time() - start
            samplings[str(sampler)] = {
                **measure(made, data, held_out, seed),
                "sampling_seconds": round(spent_sampling, 1),
            }
            if pictures is not None:
                title = f"{name}, {budget:g} s, seed {seed}, {sampler}".replace(" ", "_")
                (pictures / f"{title}.png").write_bytes(generate.png(made[:64]))
    return {
        "row": name,
        "seed": seed,
        "budget": budget,
        "samplings": samplings,
        "seconds": round(spent, 2),
        "steps": taken,
        "planned": steps,
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": {package: version(package) for package in PACKAGES},
    }


def rate(trial: Trainer, seconds: float, clock: Callable[[], float] = process_time) -> float:
    """Return steps per second, measured over some seconds after the first steps, which allocate."""
    trial.advance(2)
    start, steps = clock(), 0
    while (spent := clock() - start) < seconds or not steps:
        trial.advance(1)
        steps += 1
    return steps / spent


def train(trainer: Trainer, steps: int, budget: float, clock: Callable[[], float] = process_time) -> tuple[int, float]:
    """Take the planned steps, or those that fit; return their number and the seconds."""
    start, taken = clock(), 0
    while (spent := clock() - start) < budget and taken < steps:
        trainer.advance(1)
        taken += 1
    return taken, spent


def measure(made: Tensor, data: Examples, held_out: Examples, seed: int) -> dict[str, float]:
    """Return the distance of samples, that of as many training examples, and their ratio."""
    found = quality.frechet(made, held_out.take(slice(None)))
    base = baseline(data, held_out, seed, len(made)).mean
    return {"frechet": found, "baseline": base, "ratio": found / base}


def read(path: Path) -> list[Run]:
    """Return the runs of the record."""
    return list(json.loads(path.read_text("utf-8"))["runs"]) if path.exists() else []


def write(path: Path, runs: Sequence[Run]) -> None:
    """Write the record: what was set and why, and the runs."""
    rows = list(BY_NAME)
    ordered = sorted(runs, key=lambda run: (rows.index(run["row"]), run["budget"], run["seed"]))
    said = ",\n".join(f'  "{row.name}": {json.dumps({"why": row.why, "settings": row.settings})}' for row in ROWS)
    lines = ",\n".join(f"  {json.dumps(run)}" for run in ordered)
    partial_file = path.with_suffix(".partial")
    partial_file.write_text(f'{{\n "rows": {{\n{said}\n }},\n "runs": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    partial_file.replace(path)


def missing(
    runs: Sequence[Run], names: Sequence[str], seeds: int, seconds: Sequence[float]
) -> Iterator[tuple[str, int, float]]:
    """Yield what the record lacks: seed by seed, and for each the short budgets first."""
    known = {(run["row"], run["seed"], run["budget"]) for run in runs}
    for seed in range(seeds):
        for budget in sorted(seconds):
            yield from ((name, seed, budget) for name in names if (name, seed, budget) not in known)


def ratios(runs: Sequence[Run], name: str, budget: float, sampler: Sampler) -> list[float]:
    """Return the ratios of a row at a budget, one for each seed."""
    return [
        run["samplings"][str(sampler)]["ratio"]
        for run in runs
        if (run["row"], run["budget"]) == (name, budget) and str(sampler) in run["samplings"]
    ]


def table(runs: Sequence[Run]) -> str:
    """Return a table with one line for each row and sampler, in Markdown."""
    budgets, lines = sorted({run["budget"] for run in runs}), []
    for row in ROWS:
        mine = [run for run in runs if run["row"] == row.name]
        for sampler in dict.fromkeys((DDIM, row.documented)):
            those = [run for run in mine if str(sampler) in run["samplings"]]
            if those:
                longest = max(those, key=lambda run: float(run["budget"]))
                cells = [_cell(ratios(runs, row.name, budget, sampler)) for budget in budgets]
                sampling = fmean(run["samplings"][str(sampler)]["sampling_seconds"] for run in those)
                pace = longest["steps"] / longest["seconds"]
                lines.append(
                    [row.name, f"{longest['parameters']:,}", f"{pace:.3g}", *cells, str(sampler), f"{sampling:.3g}"]
                )
    heads = ("row", "parameters", "steps per second", *(f"{b:g} s" for b in budgets), "sampler", "s for 500")
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, half = interval(values)
    return f"{mean:.2f}" + (f" ± {half:.2f} ({len(values)})" if len(values) > 1 else "")


def sentences(runs: Sequence[Run]) -> str:
    """Return what the README says of the record: nothing before each library was trained for the largest budget."""
    budget = max(SECONDS)
    found = {row.name: ratios(runs, row.name, budget, DDIM) for row in ROWS}
    if not all(found[name] for name in TRAINERS):
        return ""
    means = {name: f"{fmean(values):.2f}" for name, values in found.items() if values}
    seeds = min(len(found[name]) for name in TRAINERS)
    ours, *others = TRAINERS
    theirs = " and ".join(f"{name} {means[name]}" for name in others)
    said = (
        f"After {budget:g} s on one thread, {ours} reaches {means[ours]} times the distance of training digits, "
        f"{theirs} ({seeds} {'seed' if seeds == 1 else 'seeds'}).\n"
        f"All have their documented settings and sample by {DDIM}"
    )
    own = [ratios(runs, name, budget, BY_NAME[name].documented) for name in others]
    if all(own):
        said += f"; by those of their examples the others reach {' and '.join(f'{fmean(x):.2f}' for x in own)}"
    tuned = [means[name] for other in others if (name := f"{other}, refdiff's settings") in means]
    if len(tuned) == len(others):
        said += f".\nWith refdiff's settings the others reach {' and '.join(tuned)} by {DDIM}"
    return f"{said} (`{COMMAND}`)."


def processes(jobs: int) -> Executor:
    """Return an executor that runs each task in a process of its own, whose CPU time is that of the task."""
    return workers.processes(jobs, tasks=1)


def main(
    arguments: Sequence[str] | None = None,
    train_one: Callable[..., Run] = run,
    executor: Callable[[int], Executor] = processes,
    needed: Sequence[str] = NEEDED,
) -> int:
    """Run what the record lacks, print the table, and write the plot; return the exit code."""
    asked = _asked(arguments)
    source = SOURCES[asked.data]
    record = asked.out or source.record
    runs = read(record)
    seconds = source.seconds if asked.seconds is None else asked.seconds
    todo = list(missing(runs, asked.rows, asked.seeds, seconds))
    if train_one is run:
        train_one = partial(run, source=source, pictures=asked.pictures)
    if todo and (absent := [name for name in needed if find_spec(name) is None]):
        print(f"expected {', '.join(absent)}: pip install 'refdiff[peers]', got none", file=sys.stderr)
        return 2
    for folder in (record.parent, asked.pictures):
        if folder is not None:  # before the runs, which take long
            folder.mkdir(parents=True, exist_ok=True)
    with executor(asked.jobs) as pool:
        tasks = [pool.submit(train_one, *one, with_documented=one[2] >= source.documented_from) for one in todo]
        try:
            for done in as_completed(tasks):
                runs.append(done.result())
                write(record, runs)
                print(f"{len(runs)} runs: {runs[-1]}", file=sys.stderr)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error, its message would wait for all runs
    if runs:
        print(table(runs))
        if source is DIGITS:
            print("", sentences(runs), sep="\n")
            asked.plot.write_bytes(svg(draw(runs)))
    return 0


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row and budget")
    parser.add_argument("--data", choices=SOURCES, default=DIGITS.data, help="what is trained on")
    parser.add_argument("--seconds", type=float, nargs="*", help="budgets; none: only print")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one thread")
    parser.add_argument("--rows", nargs="*", choices=list(BY_NAME), default=list(BY_NAME), help="by default all")
    parser.add_argument("--out", type=Path, help="the record; by default that of the data")
    parser.add_argument("--plot", type=Path, default=PLOT, help="the plot of digits, SVG")
    parser.add_argument("--pictures", type=Path, help="a folder for 64 samples of each run, PNG")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
