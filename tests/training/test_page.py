"""run.html: what it shows of a run, while it goes on and at its end."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from refdiff.training.config import Config
from refdiff.training.drawing import MOST, Line, chart
from refdiff.training.page import BYTES, PICTURES, Course, flat, page, pictures
from tests.conformance.browser import opened
from tests.training import runs

COURSE = Course(says="training on 4 examples", step=2, steps=10)


def train(step: int, **more: Any) -> dict[str, Any]:
    """Return a row of metrics."""
    row = {
        "kind": "train", "step": step, "loss": 1.0 / step, "trivial": 2.0, "bucket_loss": [0.5, None, 0.25],
        "bucket_irreducible": [0.1, 0.2, 0.3], "gradient_norm": 1.0, "gradient_norm_max": 3.0, "learning_rate": 1e-3,
    }  # fmt: skip
    return row | more


def evaluation(step: int) -> dict[str, Any]:
    """Return a row of measures of samples."""
    shares = {"precision": 0.5, "recall": 0.25, "coverage": 0.125}
    return {
        "kind": "evaluation", "step": step, "frechet": 3.0, "baseline": 1.5, "neighbours": shares,
        "neighbours_baseline": shares, "duplicates": 0.0, "duplicates_held_out": 0.0, "near_copies": 0.1,
        "near_copies_held_out": 0.2,
    }  # fmt: skip


ROWS = [
    train(1),
    train(2),
    evaluation(2),
    {"kind": "finding", "step": 2, "finding": "stuck", "says": "<b>stuck</b>\x1b"},
    {"kind": "held_out", "step": 2, "bucket_loss": [0.4, 0.5, 0.6]},
]


def test_page_of_a_run_that_goes_on(tmp_path: Path) -> None:
    """Progress and floor in a sentence, the charts, findings, measures and settings; it loads itself again."""
    shown = page(COURSE, ROWS, asdict(Config()), tmp_path)
    assert "Running: step 2 of 10, loss 0.5, of which 0.2 is irreducible." in shown
    for part in ("Loss beside its floor", "Loss by time", "Fréchet distance", "50% (50%)", "optimizer.lr", "held out"):
        assert part in shown
    assert 'http-equiv="refresh"' in shown
    assert 'http-equiv="refresh"' not in page(replace(COURSE, end="finished"), ROWS, {}, tmp_path)
    assert "Running: step 2 of 10." in page(COURSE, [], {}, tmp_path)


def test_what_a_run_quotes_is_text(tmp_path: Path) -> None:
    """Names of files and of classes may hold anything."""
    shown = page(replace(COURSE, says="<script>"), ROWS, {"data": {"path": "<img src=x>\x1b"}}, tmp_path)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>stuck" not in shown
    assert "\x1b" not in shown


def test_pictures_are_in_the_page_and_bounded(tmp_path: Path) -> None:
    """The first and the last and some between, without the large ones; what is no file is left out."""
    (tmp_path / "samples").mkdir()
    assert pictures(tmp_path) == []
    for step in range(20):
        (tmp_path / "samples" / f"step-{step:09d}.png").write_bytes(b"x" * (BYTES // 10))
    (tmp_path / "samples" / "step-000000019.png").unlink()
    (tmp_path / "samples" / "step-000000019.png").mkdir()
    found = [name for name, _ in pictures(tmp_path)]
    assert found[0] == "samples/step-000000000.png"
    assert len(found) == PICTURES - 1
    (tmp_path / "samples.png").write_bytes(b"x" * (BYTES + 1))
    assert "samples.png" not in [name for name, _ in pictures(tmp_path)]
    assert len(page(COURSE, ROWS, {}, tmp_path)) < 2_000_000


def test_chart_of_many_points_is_bounded() -> None:
    """What is no number, or not above 0 on a logarithmic axis, is left out; nothing to draw is no chart."""
    one = chart("t", [Line("a", "solid", [(float(i), 1.0 / (i + 1)) for i in range(10_000)])], across="step")
    assert one is not None
    assert one.svg.count("L") == MOST - 1
    assert chart("t", [Line("a", "solid", [(1.0, float("nan"))])], across="step") is None
    assert chart("t", [Line("a", "solid", [(1.0, -1.0)])], across="step", logarithmic=True) is None
    low, high = (
        chart("t", [Line("a", "dots", [(1.0, y), (2.0, 1.0)])], across="step", logarithmic=True) for y in (1e-42, 1e-4)
    )
    assert low == high
    single = chart("t", [Line("a<", "dots", [(1.0, 1.0)]), Line("b", "dots", [])], across="step", logarithmic=True)
    assert single is not None
    assert single.legend == "dots: a<"


def test_settings_are_flat() -> None:
    """A table's setting has the table in front."""
    assert flat({"seed": 1, "optimizer": {"lr": 0.1, "kind": "adam"}}) == {
        "seed": "1", "optimizer.lr": "0.1", "optimizer.kind": "adam",
    }  # fmt: skip


def test_a_run_writes_its_page_as_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its end, and at its end; the page of a run needs no network, logs nothing, and fits a phone."""
    states: list[str] = []

    def seen(*given: Any) -> str:
        found = page(*given)
        states.append(re.search(r"<title>refdiff run: (\w+)", found)[1])  # type: ignore[index]  # every page has a title
        return found

    monkeypatch.setattr("refdiff.training.monitor.page", seen)
    watched = replace(Config().monitor, log_every=1, picture_every=1, eval_every=0, picture_samples=1, sampling_steps=2)
    (tmp_path / "data").mkdir()
    runs.run(runs.config(runs.images(tmp_path / "data"), steps=2, monitor=watched), tmp_path / "run")
    assert (states[0], states[-1]) == ("running", "finished")
    with opened(tmp_path / "run" / "run.html", 360) as (shown, told):
        window: Any = shown
        assert window.evaluate("document.documentElement.scrollWidth") <= 360
        assert window.locator("img").count() == 3
        assert window.locator("img").first.evaluate("one => one.naturalWidth") > 0
        assert told == []
