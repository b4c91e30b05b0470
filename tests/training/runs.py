"""Small runs for the tests, importable by the processes that tests start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refdiff.nn import Architecture
from refdiff.training.config import (
    BatchConfig,
    ConditionConfig,
    Config,
    MonitorConfig,
    OptimizerConfig,
    RuntimeConfig,
    TimesConfig,
)
from refdiff.training.distributed import joined
from refdiff.training.run import Result, train

QUIET = MonitorConfig(log_every=0, picture_every=0, eval_every=0, save_every=0)
SMALL = Architecture(width=8, multipliers=(1, 2), groups=4)


def images(folder: Path, count: int = 40) -> str:
    """Write bytes (count, 1, 8, 8) whose rows are all different, with labels of 3 classes, and return their file."""
    drawn = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    path = folder / "images.npy"
    np.save(path, drawn)
    np.save(folder / "images.labels.npy", np.arange(count) % 3)
    return str(path)


def config(data: str, **changes: Any) -> Config:
    """Return a run of a second, with a learning rate that moves the weights from the first step."""
    given: dict[str, Any] = {
        "data": data,
        "steps": 20,
        "network": SMALL,
        "batch": BatchConfig(size=16, shards=4),
        "optimizer": OptimizerConfig(warmup=0, lr_schedule="constant"),
        "monitor": QUIET,
    }
    return Config(**(given | changes))


class Affine(nn.Module):
    """A denoiser that is affine in x and t, for examples of any shape."""

    def __init__(self, event: tuple[int, ...]) -> None:
        """Take the shape of one example."""
        super().__init__()
        size = torch.Size(event).numel()
        self.inner = nn.Linear(size + 1, size)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return a prediction shaped as x."""
        seen = torch.cat([x.flatten(1), t[:, None].to(x.dtype)], dim=1)
        out: Tensor = self.inner(seen).reshape(x.shape)
        return out


class Hungry(nn.Module):
    """A network that asks for more memory than there is at its first step, whose batch has 16 examples."""

    def __init__(self) -> None:
        """Keep one weight."""
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return zeros, or fail to allocate."""
        if len(x) == 16 and torch.is_grad_enabled():
            torch.empty(2**60, dtype=torch.uint8, device=x.device)
        return x * self.scale


def quiet(_: str) -> None:
    """Say nothing."""


def run(how: Config, out: Path, *, resume: bool = False) -> Result:
    """Train without a word, on one thread."""
    torch.set_num_threads(1)
    return train(how, out, resume=resume, say=quiet)


def resumed(how: Config, out: Path) -> None:
    """Train to the end from whatever is there: what a supervisor does that restarts what was killed."""
    run(how, out, resume=any((out / "checkpoints").glob("step-*.pt")))


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the L2 distance of all parameters over the norm of the first."""
    apart = sum(float((one[name].double() - other[name].double()).square().sum()) for name in one)
    return float((apart / sum(float(value.double().square().sum()) for value in one.values())) ** 0.5)


OPTIMIZERS = {
    "sgd": OptimizerConfig(kind="sgd", lr=0.05, warmup=0, lr_schedule="constant"),
    "adam": OptimizerConfig(kind="adam", warmup=0, lr_schedule="constant"),
}
CASES: dict[str, dict[str, Any]] = {
    f"{name} {precision}": {"optimizer": descent, "runtime": RuntimeConfig(precision=precision)}
    for name, descent in OPTIMIZERS.items()
    for precision in ("float32", "float64")
}
CASES |= {
    "dropout": {
        "network": Architecture(width=8, multipliers=(1, 2), groups=4, dropout=0.3),
        "runtime": RuntimeConfig(precision="float64"),
    },
    "attention": {
        "network": Architecture(width=8, multipliers=(1, 2), groups=4, attention=(1, 2), heads=2),
        "runtime": RuntimeConfig(precision="float64"),
    },
    "labels": {
        "condition": ConditionConfig(labels=True, dropout=0.3),
        "runtime": RuntimeConfig(precision="float64"),
    },
    "second moment": {
        "times": TimesConfig(sampler="second_moment", cells=4, history=2),
        "runtime": RuntimeConfig(precision="float64"),
    },
}
"""Settings whose results must be the same on one process and several."""


def weights(out: Path, cases: dict[str, dict[str, Any]], data: str, **changes: Any) -> None:
    """Train every case, each in a folder of its own: what torchrun runs."""
    for name, case in cases.items():
        run(config(data, **(case | changes)), out / name.replace(" ", "-"))


def bound(name: str) -> float:
    """Return how far two runs may be apart after 20 steps (TRN-10)."""
    return 1e-5 if name.endswith("32") else 1e-12


def main(arguments: list[str]) -> None:
    """Run all cases in one group of processes: out, data."""
    with joined("cpu"):
        weights(Path(arguments[0]), CASES, arguments[1])


def rows(out: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
