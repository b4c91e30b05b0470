"""Calibration of the statistical tests: whether their p-values are uniform over independent seeds.

    python -m validation.tools.calibrate --runs 200

repeats every statistical test of the suite with 200 seeds: the evidence tests, and the checks applied to refdiff
itself. The p-values of each are compared with uniform ones by Kolmogorov's exact distribution, with a false-alarm rate
of 1e-3 in total. If a design allows for a bias, or a statistic is discrete, p-values may be larger than uniform.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import final

import numpy as np
from scipy import stats
from tabulate import tabulate

from refdiff.conformance.judge import Judge, Settings

from ..checks.suite import checks
from ..statistics.design import Floats, recorded
from ..statistics.experiments import CHECKS, EXPERIMENTS, Experiment

FALSE_ALARM = 1e-3
"""False-alarm rate of the whole calibration."""


@final
@dataclass(frozen=True, slots=True)
class P:
    """One p-value."""

    experiment: str
    value: float
    exact: bool
    """Whether it is uniform for a correct implementation; otherwise it is stochastically larger."""
    passed: bool = True
    """Whether the design accepted the sample."""


def once(seed: int) -> list[P]:
    """Return the p-values of every statistical test, with this seed."""
    found = []
    for experiment in _experiments():
        outcome = experiment.design.judge(experiment.draw(seed))
        found.append(P(experiment.name, outcome.p, experiment.design.bias == 0.0, outcome.passed))
    judge = Judge.of("refdiff.conformance.reference:target", Settings(seed=seed))
    for check, body in checks():
        if body in CHECKS:
            with recorded() as records:
                judge.run(check, body)
            for i, (_, outcome) in enumerate(records):
                found.append(P(f"{body.__name__}[{i}]", outcome.p, exact=False, passed=outcome.passed))
    return found


def _experiments() -> list[Experiment]:
    for path in sorted((Path(__file__).parents[1] / "evidence").glob("test_*.py")):
        import_module(f"..evidence.{path.stem}", __package__)
    return EXPERIMENTS


@final
@dataclass(frozen=True, slots=True)
class Row:
    """Calibration result of one experiment."""

    experiment: str
    runs: int
    distance: float
    """Kolmogorov distance from uniform; if p-values are not exact, one-sided, towards small p-values."""
    limit: float
    smallest: float
    refused: int
    """Number of runs that failed; 0 is expected at a false-alarm rate of one in a million."""

    @property
    def passed(self) -> bool:
        """Whether uniformity of the p-values is not rejected, and no run failed."""
        return self.distance <= self.limit and self.refused == 0


def judged(found: Iterable[P]) -> list[Row]:
    """Return a row for each experiment, and one for the exact ones together."""
    by_name: dict[str, list[P]] = {}
    for p in found:
        by_name.setdefault(p.experiment, []).append(p)
    pooled = [P("all exact ones together", p.value, exact=True) for ps in by_name.values() for p in ps if p.exact]
    groups = [*by_name.values(), *([pooled] if pooled else [])]
    return [_row(group, FALSE_ALARM / len(groups)) for group in groups]


def _row(group: list[P], false_alarm: float) -> Row:
    values: Floats = np.array([p.value for p in group])
    exact = all(p.exact for p in group)
    # D+ is how far the sample's distribution function rises above the uniform one: too many small p-values.
    found = stats.kstest(values, "uniform", alternative="two-sided" if exact else "greater")
    law = stats.kstwo if exact else stats.ksone
    refused = sum(not p.passed for p in group)
    limit = float(law.isf(false_alarm, len(values)))
    return Row(group[0].experiment, len(values), float(found.statistic), limit, float(values.min()), refused)


def main(arguments: list[str] | None = None) -> int:
    """Run, print a table, and return 1 if any experiment is off."""
    parser = argparse.ArgumentParser(prog="python -m validation.tools.calibrate", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=1_000_000, help="seeds are this one and those after it")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    seeds = range(options.first_seed, options.first_seed + options.runs)
    with ProcessPoolExecutor(options.jobs, initializer=_single) as pool:
        found = [p for ps in pool.map(once, seeds) for p in ps]
    rows = judged(found)
    table = [
        (r.experiment, r.runs, f"{r.distance:.4f}", f"{r.limit:.4f}", f"{r.smallest:.2g}", r.refused, _word(r))
        for r in rows
    ]
    print(tabulate(table, ["experiment", "p-values", "distance", "limit", "smallest p", "failed", ""], "github"))
    off = [row.experiment for row in rows if not row.passed]
    print(f"{len(rows) - len(off)} of {len(rows)} uniform, in {time.monotonic() - started:.0f} s")
    return 1 if off else 0


def _word(row: Row) -> str:
    return "uniform" if row.passed else "OFF"


def _single() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
