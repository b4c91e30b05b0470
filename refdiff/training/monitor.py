"""Metrics as JSON lines, pictures of samples, and a plot of a run. Nothing here changes the training."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Any, final

import torch

from refdiff.training import files
from refdiff.training.distributed import World
from refdiff.training.errors import CheckpointError
from refdiff.training.irreducible import BucketLosses
from refdiff.training.step import StepStats

Row = dict[str, Any]


@final
@dataclass(slots=True, eq=False)
class Monitor:
    """Collects the statistics of steps and writes rows of their means (TRN-13)."""

    out: Path
    world: World
    buckets: int
    irreducible: BucketLosses | None
    """Irreducible loss on the training examples; None if it was not computed."""
    trivial: float
    """Mean loss of predicting 0."""
    rows: list[Row] = field(default_factory=list)
    _seen: list[StepStats] = field(default_factory=list)
    _since: float = field(default_factory=perf_counter)

    def record(self, seen: StepStats) -> None:
        """Store the statistics of a step, for the next summary."""
        self._seen.append(seen)

    def summary(self, step: int, rate: float) -> Row:
        """Return the means over all steps recorded since the last summary and over all ranks, and clear them."""
        position, loss, weight = (
            torch.cat([getattr(seen, name).double() for seen in self._seen]) for name in ("position", "loss", "weight")
        )
        sums = torch.zeros(5, self.buckets, dtype=torch.float64, device=loss.device)
        squared = weight.square()
        each = torch.stack([weight, weight * loss, squared, squared * loss, squared * loss.square()])
        sums.index_add_(1, (position * self.buckets).long(), each)
        ends = torch.stack(
            [(weight * loss).sum(), torch.tensor(float(len(loss)), dtype=torch.float64, device=loss.device)]
        )
        buckets = [_mean(part) for part in self.world.total(sums).T.tolist()]
        weighted, seen = self.world.total(ends).tolist()
        norms = [seen.norm for seen in self._seen]
        seconds = perf_counter() - self._since
        self._seen.clear()
        self._since = perf_counter()
        return {
            "kind": "train",
            "step": step,
            "loss": weighted / seen,
            "trivial": self.trivial,
            "bucket_loss": [mean for mean, _ in buckets],
            "bucket_loss_error": [error for _, error in buckets],
            "bucket_irreducible": self.irreducible and self.irreducible.loss,
            "bucket_irreducible_error": self.irreducible and self.irreducible.error,
            "gradient_norm": sum(norms) / len(norms),
            "gradient_norm_max": max(norms),
            "learning_rate": rate,
            "examples_per_second": seen / seconds,
        }

    def write(self, row: Row) -> None:
        """Append a row to `metrics.jsonl`."""
        self.rows.append(row)
        if self.world.first:
            files.append(self.out / "metrics.jsonl", json.dumps(row))

    def has(self, kind: str, step: int) -> bool:
        """Return whether there is a row of this kind for this step."""
        return any(row.get("kind") == kind and row.get("step") == step for row in self.rows)

    def resume(self, step: int) -> None:
        """Load the rows of the run so far, and drop those of steps that will be repeated."""
        path = self.out / "metrics.jsonl"
        lines = _lines(path) if files.is_present(path) else []
        self.rows = [row for row in map(_parsed, lines) if row is not None and row.get("step", step + 1) <= step]
        if self.world.first and files.is_present(path):
            files.write(path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())

    def picture(self, name: str, content: bytes) -> None:
        """Write a PNG."""
        files.write(self.out / name, content)

    def plot(self) -> None:
        """Write `run.png`: loss, loss by time, gradient norm, learning rate and Frechet distance."""
        files.write(self.out / "run.png", plot(self.rows))


def _mean(sums: list[float]) -> tuple[float | None, float | None]:
    """Return sum w l / sum w, the mean over uniform times, and its standard error; None without data."""
    w, wl, ww, wwl, wwll = sums
    if w == 0.0:
        return None, None
    mean = wl / w
    return mean, sqrt(max(wwll - 2.0 * mean * wwl + mean**2 * ww, 0.0)) / w


def _lines(path: Path) -> list[str]:
    try:
        with files.opened(path) as file:
            return file.read().decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise CheckpointError(f"expected to read {path}, got: {files.reason(error)} (TRN-11)") from None


def _parsed(line: str) -> Row | None:
    """Return a row, or None for a line that a crash truncated."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def plot(rows: list[Row]) -> bytes:
    """Return the plot of a run as PNG."""
    from matplotlib.figure import Figure  # lazy import: takes half a second, only needed here

    trained = [row for row in rows if row["kind"] == "train"]
    evaluated = [row for row in rows if row["kind"] == "evaluation"]
    figure = Figure(figsize=(11, 7), layout="constrained")
    course, time, slope, quality = figure.subplots(2, 2).ravel()
    steps = [row["step"] for row in trained]
    course.plot(steps, [row["loss"] for row in trained])
    course.set(title="loss, mean over all times", xlabel="step", yscale="log")
    if trained:
        course.axhline(trained[-1]["trivial"], color="grey", ls=":", label="loss of predicting 0")
        course.legend()
        last = [loss if loss is not None else 0.0 for loss in trained[-1]["bucket_loss"]]
        middles = [(i + 0.5) / len(last) for i in range(len(last))]
        time.bar(middles, last, width=0.9 / len(last), color="C0", alpha=0.6, label="training")
        if held := next((row["bucket_loss"] for row in reversed(rows) if row["kind"] == "held_out"), None):
            time.plot(middles, held, "C1o", label="held out, EMA weights")
        if least := trained[-1]["bucket_irreducible"]:
            error = trained[-1]["bucket_irreducible_error"]
            time.errorbar(middles, least, error, fmt="k_", ms=20, mew=2, label="irreducible loss (training examples)")
        time.legend()
    time.set(title="loss by time, at the end", xlabel="position in the range of times", xlim=(0, 1))
    slope.plot(steps, [row["gradient_norm"] for row in trained], label="gradient norm, mean")
    slope.plot(steps, [row["learning_rate"] for row in trained], label="learning rate")
    slope.set(title="gradient norm and learning rate", xlabel="step", yscale="log")
    slope.legend()
    quality.plot([row["step"] for row in evaluated], [row["frechet"] for row in evaluated], "o-", label="samples")
    if evaluated:
        quality.axhline(evaluated[-1]["baseline"], color="grey", ls=":", label="baseline: training examples")
        quality.legend()
    quality.set(title="Fréchet distance to held-out examples", xlabel="step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
