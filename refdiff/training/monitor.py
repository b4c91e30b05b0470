"""Metrics as JSON lines, and pictures. Nothing here changes the training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from time import perf_counter
from typing import Any, final

import torch

from refdiff.times import TimeSampler
from refdiff.training import files
from refdiff.training.distributed import World
from refdiff.training.errors import CheckpointError
from refdiff.training.irreducible import BucketLosses
from refdiff.training.page import Course, page
from refdiff.training.plot import plot
from refdiff.training.step import StepStats

Row = dict[str, Any]
EVERY = 10.0
"""Seconds between two writings of the page of a run that goes on."""


@final
@dataclass(slots=True, eq=False)
class Monitor:
    """Collects the statistics of steps and writes rows of their means (TRN-13)."""

    out: Path
    world: World
    times: TimeSampler
    buckets: int
    irreducible: BucketLosses | None
    """Irreducible loss on the training examples; None if it was not computed."""
    trivial: float
    """Mean loss of predicting 0."""
    rows: list[Row] = field(default_factory=list)
    _seen: list[StepStats] = field(default_factory=list)
    _since: float = field(default_factory=perf_counter)
    _paged: float = -inf
    """When the page was written last."""

    def record(self, seen: StepStats) -> None:
        """Store the statistics of a step, for the next summary."""
        self._seen.append(seen)

    def summary(self, step: int, rate: float) -> Row:
        """Return the means over all steps recorded since the last summary and over all ranks, and clear them."""
        t, loss, weight = (torch.cat([getattr(seen, name) for seen in self._seen]) for name in ("t", "loss", "weight"))
        position, loss, weight = self.times.position(t), loss.double(), weight.double()
        sums = torch.zeros(5, self.buckets, dtype=torch.float64, device=loss.device)
        squared = weight.square()
        each = torch.stack([weight, weight * loss, squared, squared * loss, squared * loss.square()])
        sums.index_add_(1, (position * self.buckets).long(), each)
        weighted_loss = weight * loss
        ends = torch.stack([weighted_loss.sum(), weighted_loss.square().sum(), torch.ones_like(loss).sum()])
        buckets = [_mean(part) for part in self.world.total(sums).T.tolist()]
        total, squares, seen = self.world.total(ends).tolist()
        mean = total / seen
        norms = [seen.norm for seen in self._seen]
        seconds = perf_counter() - self._since
        self._seen.clear()
        self._since = perf_counter()
        return {
            "kind": "train",
            "step": step,
            "loss": mean,
            "loss_error": sqrt(max(squares / seen - mean**2, 0.0) / seen),
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

    def is_page_due(self) -> bool:
        """Return whether the page of a run that goes on was written long enough ago."""
        return perf_counter() - self._paged >= EVERY

    def page(self, course: Course, settings: Row) -> None:
        """Write `run.html`."""
        files.write(self.out / "run.html", page(course, self.rows, settings, self.out).encode())
        self._paged = perf_counter()

    def plot(self) -> None:
        """Write `run.png`: losses, gradient norm, learning rate and measures of samples."""
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
