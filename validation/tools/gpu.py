"""Tests and training throughput on a GPU, recorded by one command.

    python -m validation.tools.gpu [--out FILE] [--jobs N] [--commit HASH]

Runs `pytest -m gpu` of the tests for a GPU, measures images per second of training on 32 x 32 x 3 in each of `WAYS` and
`SIZES`, and writes both to `validation/records/gpu.json`; a test compares README's Limits with it. What trains is
refdiff's trainer, and a loop with diffusers' U-Net of that size (`gpu_peer`), in turn, `ROUNDS` times; the record has
the medians, and the sizes of both networks. A step of the smaller size is so short that starting its kernels takes most
of it. Exits with 2 and writes nothing without a GPU, and with 1 if a test fails. Needs a clone with the extra `dev`;
without git, name the commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from refdiff.nn import Architecture, UNet
from refdiff.training import files
from refdiff.training.config import BatchConfig, Config, RuntimeConfig
from refdiff.training.data import Examples

from . import gpu_peer
from .benchmarks.trainer import trainer

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "validation" / "records" / "gpu.json"
TESTS = ("-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py", "tests/training/test_gpu.py")
WAYS = {
    "float32": RuntimeConfig(device="cuda"),
    "bfloat16": RuntimeConfig(device="cuda", precision="bfloat16"),
    "bfloat16, channels_last": RuntimeConfig(device="cuda", precision="bfloat16", channels_last=True),
    "bfloat16, channels_last, compile": RuntimeConfig(
        device="cuda", precision="bfloat16", channels_last=True, compile=True
    ),
}
SIZES = ((64, 128), (128, 512))
"""Width of refdiff's network, and size of the batch."""
STEPS, ROUNDS = 50, 3
"""Steps that are timed in each round."""


def record(commit: str | None = None, *, jobs: int = 1, steps: int = STEPS) -> dict[str, Any]:
    """Return test outcomes, and the throughput on the first CUDA device."""
    described = ("git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return {
        "device": torch.cuda.get_device_name(0),
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0],
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
        "commit": commit or _said(*described),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tests": outcomes("-n", str(jobs)),
        "sizes": [
            {
                "batch": batch,
                "networks": {name: size(network) for name, network in networks(width).items()},
                "images_per_second": {
                    name: throughput(machine, width, batch, steps=steps) for name, machine in WAYS.items()
                },
            }
            for width, batch in SIZES
        ],
    }


def outcomes(*more: str) -> dict[str, str]:
    """Run the tests that need a GPU, and return the outcome of each: passed, failed or skipped."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        command = [sys.executable, *TESTS, f"--junitxml={file}", *more]
        env = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        subprocess.run(command, cwd=ROOT, check=False, env=env)  # noqa: S603 - pytest, with fixed arguments
        cases = ElementTree.parse(file).iter("testcase")  # noqa: S314 - written by pytest in the line above
        return {f"{case.get('classname')}::{case.get('name')}": _outcome(case) for case in cases}


def networks(width: int) -> dict[str, nn.Module]:
    """Return a network of each library, of one size."""
    return {"refdiff": UNet(3, Architecture(width=width)), "diffusers": gpu_peer.network(gpu_peer.widths(width))}


def size(network: nn.Module) -> dict[str, float]:
    """Return the number of parameters, in millions, and of operations for an image, in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32), torch.zeros(1))
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"parameters, M": round(parameters / 1e6, 2), "operations, G": round(counter.get_total_flops() / 1e9, 2)}


def throughput(
    machine: RuntimeConfig, width: int, batch: int, *, steps: int = STEPS, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return images per second of training on random images, for each library, after untimed steps."""
    raw = np.random.default_rng(0).integers(0, 256, (2048, 3, 32, 32), dtype=np.uint8)
    data = Examples(raw, np.arange(len(raw)), 0.0, 255.0)
    how = Config(network=Architecture(width=width), batch=BatchConfig(size=batch), runtime=machine)
    with TemporaryDirectory() as out:
        theirs = gpu_peer.stepper(machine, data.take(slice(None)), batch, gpu_peer.widths(width))
        loops: dict[str, Callable[[], object]] = {
            "refdiff": _deterministic(trainer(how, data, Path(out))),
            "diffusers": theirs,
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(rounds):
            for name, step in loops.items():
                seconds[name].append(_timed(step, steps))
    return {name: round(steps * batch / median(found), 1) for name, found in seconds.items()}


def _deterministic(step: Callable[[], object]) -> Callable[[], None]:
    """Return a step as a run takes it on an accelerator."""

    def taken() -> None:
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            step()
        finally:
            torch.use_deterministic_algorithms(before)

    return taken


def _timed(step: Callable[[], object], steps: int) -> float:
    for _ in range(max(1, steps // 5)):
        step()
    start = _clock()
    for _ in range(steps):
        step()
    return _clock() - start


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


def _outcome(case: ElementTree.Element) -> str:
    for name, found in {"failure": "failed", "error": "failed", "skipped": "skipped"}.items():
        if case.find(name) is not None:
            return found
    return "passed"


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed commands


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the record atomically."""
    files.write(path, (json.dumps(content, indent=1) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Test, measure and write; return the exit code."""
    parser = ArgumentParser(prog="python -m validation.tools.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RECORD, help="the record (default validation/records/gpu.json)")
    parser.add_argument("--jobs", type=int, default=1, help="tests at a time")
    parser.add_argument("--commit", help="the commit that is measured (default: what git says)")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("expected a CUDA device, got none: nothing was measured", file=sys.stderr)
        return 2
    found = record(asked.commit, jobs=asked.jobs)
    write(asked.out, found)
    print(json.dumps(found, indent=1))
    passed = bool(found["tests"]) and set(found["tests"].values()) == {"passed"}
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
