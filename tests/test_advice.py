"""Advice on training: what is compared is comparable, and no run is repeated."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import stats

from refdiff import convert
from refdiff.loss import Denoiser
from refdiff.parameterization import Parameterization
from refdiff.schedule import CosineSchedule, LinearSchedule
from refdiff.tensors import Data, Time
from refdiff.training import build
from refdiff.training.config import Config
from refdiff.training.data import Examples
from validation.tools import advice
from validation.tools.advice import BASE, ROWS, Row


def _measured(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Stand for a run: rows differ by a factor, and seeds by another."""
    value = (2.0 if name == "eps" else 1.0) * (1.0 + seed)
    return {"row": name, "seed": seed, "steps": steps, "frechet": value, "loss": value, "seconds": 1.0}


def test_rows_name_their_reference() -> None:
    """Every row has a name of its own, is compared with a row, and has valid settings and as many examples."""
    assert len(advice.BY_NAME) == len(ROWS)
    for row in ROWS:
        how = row.config(400, seed=3)
        assert row.against in advice.BY_NAME
        assert how.steps * how.batch.size == 400 * 128
        assert (how == replace(BASE, steps=400, seed=3)) == (row.name == "defaults")


@pytest.mark.parametrize("process", [CosineSchedule(), LinearSchedule()])
def test_noise_levels_are_those_of_the_cosine(process: CosineSchedule | LinearSchedule) -> None:
    """Whatever the process, the noise levels are the same, where the process has them."""
    position = torch.linspace(0.05, 0.9, 30, dtype=torch.float64)
    reached = process.log_snr(advice.time_of(process, position))
    wanted = CosineSchedule().log_snr(BASE.times.t_min + (BASE.times.t_max - BASE.times.t_min) * position)
    torch.testing.assert_close(reached, wanted, rtol=1e-9, atol=1e-9)
    ends = advice.time_of(process, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert bool(((ends >= BASE.times.t_min) & (ends <= BASE.times.t_max)).all())


def test_loss_does_not_depend_on_the_prediction() -> None:
    """One denoiser, stated as eps, x_0, v or score, has one loss."""
    process, rows = CosineSchedule(), np.random.default_rng(0).uniform(-1, 1, (40, 3))
    examples = Examples(rows, np.arange(40), -np.inf, np.inf)

    class Stated(torch.nn.Module):
        def __init__(self, kind: Parameterization) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, x_t: Data, t: Time) -> Data:
            return convert(process, 0.3 * x_t, x_t, t, source="x_0", to=self.kind)

    found = {}
    for kind in get_args(Parameterization):
        objective = build.objective(replace(BASE.objective, prediction=kind), process)
        denoiser: Denoiser = Stated(kind)
        assert isinstance(denoiser, torch.nn.Module)
        found[kind] = advice.held_out_loss(denoiser, objective, examples, seed=1)
    assert len(found) >= 4
    np.testing.assert_allclose(list(found.values()), found["x_0"], rtol=1e-3)


def test_runs_are_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second command runs what the first did not, and the record holds each run once."""
    record = tmp_path / "advice.json"
    command = ["--out", str(record), "--rows", "defaults", "eps"]
    assert advice.main([*command, "--seeds", "1"], _measured) == 0
    assert advice.main([*command, "--seeds", "3"], _measured) == 0
    runs = json.loads(record.read_text())
    assert [(run["row"], run["seed"]) for run in runs] == [(row, s) for row in ("defaults", "eps") for s in range(3)]
    assert "worse, 2 (2 to 2)" in capsys.readouterr().out


def test_factors_are_paired_by_seed() -> None:
    """A row that is twice its reference for every seed is worse with certainty, however much the seeds differ."""
    runs = [_measured(name, seed, 400) for name in ("defaults", "eps") for seed in range(5)]
    assert advice.factor(runs, advice.BY_NAME["eps"], 400, "loss") == pytest.approx((2.0, 2.0, 2.0))
    assert [advice.verdict(*ends) for ends in ((0.5, 0.9), (0.9, 1.1), (1.1, 2.0))] == [
        "better",
        "no difference seen",
        "worse",
    ]


def test_interval_is_that_of_student() -> None:
    """Mean and half width, by SciPy's own interval."""
    values = [1.0, 4.0, 2.0, 5.0, 3.5]
    mean, half = advice.interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


PAGE = (Path(__file__).parents[1] / "spec" / "advice.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("steps", [400, 1600])
def test_page_holds_the_tables_of_the_record(steps: int) -> None:
    """Both tables of the page are what the command prints of the committed record, with five and three seeds."""
    runs = advice.read(advice.RECORD)
    assert advice.table(runs, steps) in PAGE
    seeds = [{run["seed"] for run in runs if (run["row"], run["steps"]) == (row, steps)} for row in advice.BY_NAME]
    assert {len(found) for found in seeds if found} == {5 if steps == 400 else 3}
    assert steps != 400 or all(seeds)


def test_page_states_the_defaults() -> None:
    """The second column of the table of defaults has the values of `Config()`."""
    how = Config()
    stated = dict(re.findall(r"^\| `([a-z_.]+)`[^|]*\| ([^|]+) \|", PAGE.split("## Defaults")[1], re.M))
    rate, times, batch = how.optimizer, how.times, how.batch
    assert (rate.kind, rate.lr) == ("adamw", 2e-3)
    assert stated == {
        "objective.prediction": how.objective.prediction,
        "objective.weight": how.objective.weight,
        "process": f"{how.process.kind}, s = {how.process.s}",
        "times": f"{times.sampler} in [{times.t_min}, {times.t_max}]",
        "batch": f"{batch.size} in {batch.shards} shards",
        "optimizer.lr": f"2e-3, {rate.lr_schedule} to 0",
        "optimizer.warmup": f"{rate.warmup} steps",
        "optimizer.kind": f"AdamW, {rate.betas}, {rate.weight_decay}, {rate.max_grad_norm:g}",
        "ema": f"{how.ema.decay}, {'with' if how.ema.warmup else 'without'} warm-up",
        "network": f"width {how.network.width}, multipliers {', '.join(map(str, how.network.multipliers))}",
        "steps": str(how.steps),
        "monitor.sampler": f"{how.monitor.sampler.upper()}, {how.monitor.sampling_steps}",
    }


def test_intervals_hold_what_they_say() -> None:
    """Of 400 factors without a difference, 10 to 34 are seen as one; another number has a probability below 1e-2."""
    drawn, seen = np.random.default_rng(5), 0
    row = Row("", "eps", {})
    for _ in range(400):
        runs = [
            {"row": name, "seed": seed, "steps": 1, "loss": float(np.exp(drawn.normal()))}
            for name in ("defaults", "eps")
            for seed in range(5)
        ]
        seen += advice.verdict(*advice.factor(runs, row, 1, "loss")[1:]) != "no difference seen"
    assert 10 <= seen <= 34
    assert log(stats.binom.cdf(9, 400, 0.05) + stats.binom.sf(34, 400, 0.05)) < log(1e-2)
