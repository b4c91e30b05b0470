"""The comparison with other trainers: its record, table, sentence and plot, and what the README says of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor, nn

from refdiff.training.config import PreprocessConfig
from refdiff.training.data import load
from validation.tools.benchmarks import peers
from validation.tools.benchmarks.peers_plot import draw, svg
from validation.tools.benchmarks.peers_rows import BY_NAME, DDIM, ROWS, Sampler
from validation.tools.benchmarks.peers_trainers import write_images

README = Path(__file__).parents[1] / "README.md"
NAMES = tuple(row.name for row in ROWS)


def _measured(name: str, seed: int, budget: float, *, with_documented: bool) -> dict[str, Any]:
    """Stand for a run: row i has the ratio 100 (i + 1) (1 + seed) / budget, half of it with the library's sampler."""
    ratio = 100.0 * (NAMES.index(name) + 1) * (1 + seed) / budget
    found = {"frechet": 0.7 * ratio, "baseline": 0.7, "ratio": ratio, "sampling_seconds": 2.0}
    samplings = {str(DDIM): found}
    if with_documented:
        samplings = {str(BY_NAME[name].documented): {**found, "ratio": ratio / 2}, **samplings}
    return {
        "row": name,
        "seed": seed,
        "budget": budget,
        "samplings": samplings,
        "seconds": budget,
        "steps": int(10 * budget),
        "planned": int(10 * budget),
        "parameters": 1_500_000,
        "date": "2000-01-01",
        "versions": {},
    }


def _planted(budgets: tuple[float, ...] = (30.0, 300.0), seeds: int = 1) -> list[dict[str, Any]]:
    return [
        _measured(name, seed, budget, with_documented=budget == 300.0)
        for name in NAMES
        for seed in range(seeds)
        for budget in budgets
    ]


def test_runs_are_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second command runs what the first did not; the record holds each run once, and what was set."""
    record, plot, asked = tmp_path / "records" / "peers.json", tmp_path / "peers.svg", []

    def train(name: str, seed: int, budget: float, *, with_documented: bool) -> dict[str, Any]:
        asked.append((name, seed, budget))
        return _measured(name, seed, budget, with_documented=with_documented)

    def command(*more: str) -> int:
        fixed = ["--out", str(record), "--plot", str(plot), "--rows", *NAMES[:2], "--seconds", "6", "3"]
        return peers.main([*fixed, *more], train, ThreadPoolExecutor, ())

    assert command() == 0
    assert command("--seeds", "2") == 0
    assert asked == [(name, seed, budget) for seed in range(2) for budget in (3.0, 6.0) for name in NAMES[:2]]
    runs = peers.read(record)
    assert sorted((run["row"], run["seed"], run["budget"]) for run in runs) == sorted(asked)
    assert json.loads(record.read_text("utf-8"))["rows"].keys() == set(NAMES)
    assert not list(record.parent.glob("*.partial"))
    assert plot.read_bytes().startswith(b"<?xml")
    assert capsys.readouterr().out.count("| refdiff ") == 2


def test_an_error_ends_the_command(tmp_path: Path) -> None:
    """The error of a run is raised, and the runs that wait for their turn never start."""
    record, started, cancelled = tmp_path / "peers.json", [], Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            if cancel_futures:
                cancelled.set()
            super().shutdown(wait=wait)

    def train(name: str, seed: int, budget: float, *, with_documented: bool) -> dict[str, Any]:
        started.append(budget)
        if budget == 2.0:
            raise ValueError("no such luck")
        if budget == 3.0:
            cancelled.wait(30.0)
        return _measured(name, seed, budget, with_documented=with_documented)

    command = ["--out", str(record), "--plot", str(tmp_path / "peers.svg"), "--rows", NAMES[0], "--seconds"]
    with pytest.raises(ValueError, match="no such luck"):
        peers.main([*command, "1", "2", "3", "4"], train, Pool, ())
    assert started in ([1.0, 2.0], [1.0, 2.0, 3.0])


def test_absent_libraries_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the libraries nothing runs, and nothing is written; what is recorded is printed without them."""
    record = tmp_path / "peers.json"
    command = ["--out", str(record), "--plot", str(tmp_path / "peers.svg")]
    assert peers.main(command, _measured, ThreadPoolExecutor, ("no_such_library",)) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "expected no_such_library: pip install 'refdiff[peers]', got none\n")
    assert not list(tmp_path.iterdir())
    peers.write(record, _planted())
    assert peers.main([*command, "--seconds"], _measured, ThreadPoolExecutor, ("no_such_library",)) == 0
    assert "| refdiff " in capsys.readouterr().out


def test_table_has_a_line_for_each_row_and_sampler() -> None:
    """Ratios by budget, with an interval where there are several seeds, and a line more for another sampler."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in peers.table(_planted()).splitlines()]
    assert lines[0][3:5] == ["30 s", "300 s"]
    assert [(line[0], line[5]) for line in lines[2:]] == [
        (row.name, str(sampler)) for row in ROWS for sampler in dict.fromkeys((DDIM, row.documented))
    ]
    assert lines[2][1:5] == ["1,500,000", "10", "3.33", "0.33"]
    assert lines[4][3:5] == ["", "0.33"]
    several = peers.table(_planted(seeds=3)).splitlines()[2]
    assert "| 6.67 ± 8.28 (3)" in several  # of 10/3, 20/3 and 10: 4.303 s/sqrt(3), with s = 10/3


def test_sentences_compare_at_the_largest_budget() -> None:
    """They compare at 300 s, without refdiff's settings if a row is absent; without a library they say nothing."""
    command, shown = "(`validation.tools.benchmarks.peers`)", _planted(seeds=2)
    assert peers.sentences(_planted()).splitlines() == [
        "After 300 s on one thread, refdiff reaches 0.33 times the distance of training digits, "
        "denoising-diffusion-pytorch 0.67 and diffusers 1.00 (1 seed).",
        "All have their documented settings and sample by DDIM 50; "
        "by those of their examples the others reach 0.33 and 0.50.",
        f"With refdiff's settings the others reach 1.33 and 1.67 by DDIM 50 {command}.",
    ]
    assert peers.sentences([run for run in shown if run["row"] in NAMES[:4]]).splitlines() == [
        "After 300 s on one thread, refdiff reaches 0.50 times the distance of training digits, "
        "denoising-diffusion-pytorch 1.00 and diffusers 1.50 (2 seeds).",
        "All have their documented settings and sample by DDIM 50; "
        f"by those of their examples the others reach 0.50 and 0.75 {command}.",
    ]
    assert peers.sentences([run for run in shown if (run["row"], run["budget"]) != (NAMES[2], 300.0)]) == ""


def _points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def test_plot_shows_every_run() -> None:
    """For each row a line of geometric means, the points of its runs, and those of another sampler, hollow."""
    runs = _planted(seeds=2)
    (axes,) = draw(runs).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = {str(line.get_label()): line for line in axes.get_lines()}
    for i, name in enumerate(NAMES):
        assert _points(drawn[name]) == [pytest.approx((b, 2**0.5 * 100 * (i + 1) / b)) for b in (30, 300)]
    shown = {point for line in axes.get_lines() if line.get_linestyle() == "None" for point in _points(line)}
    assert shown == {(run["budget"], found["ratio"]) for run in runs for found in run["samplings"].values()}
    assert len({(line.get_marker(), line.get_linestyle()) for line in map(drawn.get, NAMES) if line}) == len(NAMES)
    assert {"diffusers: DDPM 1000 steps", "denoising-diffusion-pytorch: DDIM 250 steps"} <= drawn.keys()
    written = svg(draw(runs))
    assert written == svg(draw(runs))
    assert len(written) < 100_000


class _Paced:
    """A trainer, each step of which moves its own clock by a second."""

    def __init__(self) -> None:
        self.network, self.seconds = nn.Identity(), 0.0

    def advance(self, steps: int) -> None:
        self.seconds += steps

    def samples(self, count: int, sampler: Sampler) -> Tensor:
        return torch.zeros(count)


@pytest.mark.parametrize(("steps", "budget", "taken"), [(7, 100.0, 7), (100, 7.0, 7), (100, 6.5, 7)])
def test_training_ends_with_the_plan_or_the_budget(steps: int, budget: float, taken: int) -> None:
    """The planned steps, or as many as start within the budget, whichever are fewer."""
    trainer = _Paced()
    assert peers.train(trainer, steps, budget, lambda: trainer.seconds) == (taken, float(taken))


@pytest.mark.parametrize("asked", [0.0, 5.0])
def test_rate_is_steps_per_second(asked: float) -> None:
    """One step per second, over at least the seconds asked for, and at least one step."""
    trainer = _Paced()
    assert peers.rate(trainer, asked, lambda: trainer.seconds) == 1.0
    assert trainer.seconds >= asked + 1.0


def test_images_are_the_digits_exactly(tmp_path: Path) -> None:
    """What the other library reads from its folder, scaled to [-1, 1], is the trainer's data to the bit."""
    data = load("digits", PreprocessConfig())
    data = replace(data, rows=data.rows[::20])
    write_images(data, tmp_path / "digits")
    paths = sorted((tmp_path / "digits").glob("*.tiff"))
    read = np.stack([np.asarray(Image.open(path)) for path in paths])[:, None] * np.float32(2) - np.float32(1)
    np.testing.assert_array_equal(read, data.take(slice(None)).numpy())


def test_readme_says_what_the_record_shows() -> None:
    """The README has the sentences and the plot of the record; no plot as long as the record lacks a library there."""
    readme, said = README.read_text("utf-8"), peers.sentences(peers.read(peers.DIGITS.record))
    assert ("](spec/figures/peers.svg)" in readme) == bool(said)
    assert said in readme
    assert not said or 1_000 < peers.PLOT.stat().st_size < 100_000


def test_record_is_of_these_rows() -> None:
    """The record repeats what each row sets, and its networks have within 5 % of the parameters of refdiff's."""
    rows, runs = json.loads(peers.DIGITS.record.read_text("utf-8"))["rows"], peers.read(peers.DIGITS.record)
    for row in ROWS:
        assert rows[row.name] == json.loads(json.dumps({"why": row.why, "settings": asdict(row)["settings"]}))
    own = {run["parameters"] for run in runs if run["row"] == "refdiff"}
    assert len(own) == 1
    assert all(abs(run["parameters"] / max(own) - 1.0) <= 0.05 for run in runs)


def test_guide_says_what_the_record_of_clothes_shows() -> None:
    """The guide has the picture, and the ratio of each library in the record."""
    guide = (Path(__file__).parents[1] / "refdiff" / "training" / "README.md").read_text("utf-8")
    section = guide.partition("**Fashion-MNIST.**")[2].partition("\n## ")[0]
    runs = peers.read(peers.SOURCES["fashion-mnist"].record)
    assert {run["row"] for run in runs} == {"refdiff", "denoising-diffusion-pytorch", "diffusers"}
    assert all(f"{run['samplings'][str(DDIM)]['ratio']:.2f}" in section for run in runs)
    assert "](../../spec/figures/fashion.png)" in section
