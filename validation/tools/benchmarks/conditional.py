"""Share of conditional samples that a classifier recognises as their class, on scikit-learn's digits.

    python -m validation.tools.benchmarks.conditional [--run FOLDER] [--samples N] [--guidance W] [--strict]

It trains with labels and the default settings, unless `--run` names the folder of such a run, draws N samples a class,
and asks a support vector machine, trained on the same training digits, for their classes. Each share has its exact
95 % interval (Clopper & Pearson 1934). The bars: the machine recognises at least 97 % of the held-out digits and of the
samples. `--strict` exits with 1 where a bar is missed. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.svm import SVC
from tabulate import tabulate
from torch import Tensor

from refdiff.training import labels
from refdiff.training.config import ConditionConfig, Config, MonitorConfig
from refdiff.training.data import Examples, load, split
from refdiff.training.generate import Trained
from refdiff.training.run import train

BAR = 0.97
DEFAULT = Config(condition=ConditionConfig(labels=True), monitor=MonitorConfig(eval_every=0, picture_every=0))


def digits(how: Config) -> tuple[Examples, Examples]:
    """Return the training and the held-out examples of a run, with labels."""
    examples = load(how.data, how.preprocess)
    read = labels.read(how.data, how.condition, len(examples))
    return split(
        Examples(examples.raw, examples.rows, examples.low, examples.high, examples.pad, read),
        how.preprocess.held_out,
        how.seed,
    )


def taught(training: Examples) -> SVC:
    """Return the classifier, trained on pixels."""
    every = slice(None)
    return SVC(kernel="rbf").fit(_flat(training.take(every)), training.label(every))


def share(right: npt.NDArray[np.bool_]) -> str:
    """Return a share in per cent, with its exact 95 % interval."""
    found = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, "exact")
    return f"{100 * right.mean():.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _flat(x: Tensor) -> npt.NDArray[Any]:
    flat: npt.NDArray[Any] = x.flatten(1).numpy()
    return flat


def measure(run: Path, samples: int, guidance: float) -> tuple[list[tuple[str, str]], bool]:
    """Return rows of shares, and whether both bars are met."""
    trained = Trained(run)
    training, held_out = digits(trained.config)
    classifier, every = taught(training), slice(None)
    known = classifier.predict(_flat(held_out.take(every))) == np.asarray(held_out.label(every))
    made = trained.samples(samples, seed=1, sampler="ddim", steps=50, labels=["all"], guidance=guidance)
    wanted = np.arange(len(trained.names)).repeat(samples)
    right = classifier.predict(_flat(made)) == wanted
    rows = [("held-out digits", share(known)), ("samples", share(right))]
    rows += [(f"samples of {name}", share(right[wanted == i])) for i, name in enumerate(trained.names)]
    return rows, bool(min(known.mean(), right.mean()) >= BAR)


def main(arguments: Sequence[str] | None = None, how: Config = DEFAULT) -> int:
    """Print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="conditional", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--strict", action="store_true")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        if asked.run is None:
            train(how, Path(folder))
        rows, met = measure(asked.run or Path(folder), asked.samples, asked.guidance)
    print(tabulate(rows, ("digits", "recognised, %"), tablefmt="github", disable_numparse=True))
    print(f"guidance {asked.guidance:g}, bar {100 * BAR:g} %: {'met' if met else 'MISSED'}")
    return int(asked.strict and not met)


if __name__ == "__main__":
    sys.exit(main())
