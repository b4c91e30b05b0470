"""Tests and training throughput on a GPU, recorded by one command.

    python -m validation.tools.gpu [--out FILE]

Runs `pytest -m gpu tests`, measures images per second of the trainer (32 x 32 x 3, batch 128, width 64) in each of
`WAYS`, and writes both to `validation/records/gpu.json`; a test compares README's Limits with it. Exits with 2 and
writes nothing without a GPU, and with 1 if a test fails. Needs a clone with the extra `dev`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from refdiff.nn import Architecture
from refdiff.training import files
from refdiff.training.config import BatchConfig, Config, RuntimeConfig
from refdiff.training.data import Examples

from .benchmarks.trainer import trainer

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "validation" / "records" / "gpu.json"
TESTS = ("-m", "pytest", "-q", "-m", "gpu", "tests")
WAYS = {
    "float32": RuntimeConfig(device="cuda"),
    "bfloat16": RuntimeConfig(device="cuda", precision="bfloat16"),
    "bfloat16, channels_last": RuntimeConfig(device="cuda", precision="bfloat16", channels_last=True),
    "bfloat16, channels_last, compile": RuntimeConfig(
        device="cuda", precision="bfloat16", channels_last=True, compile=True
    ),
}
STEPS = 200
"""That are timed."""


def record(steps: int = STEPS) -> dict[str, Any]:
    """Return test outcomes and throughput on the first CUDA device."""
    return {
        "device": torch.cuda.get_device_name(0),
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0],
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tests": outcomes(),
        "images_per_second": {name: round(throughput(machine, steps=steps), 1) for name, machine in WAYS.items()},
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


def throughput(machine: RuntimeConfig, *, steps: int = STEPS, width: int = 64, batch: int = 128) -> float:
    """Return images per second of training on random 32 x 32 x 3 images, after an untimed tenth of `steps`."""
    raw = np.random.default_rng(0).integers(0, 256, (2048, 3, 32, 32), dtype=np.uint8)
    how = Config(network=Architecture(width=width), batch=BatchConfig(size=batch), runtime=machine)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # as a run does on an accelerator
    try:
        with TemporaryDirectory() as out:
            step = trainer(how, Examples(raw, np.arange(len(raw)), 0.0, 255.0), Path(out))
            for _ in range(max(1, steps // 10)):
                step()
            start = _clock()
            for _ in range(steps):
                step()
            return steps * batch / (_clock() - start)
    finally:
        torch.use_deterministic_algorithms(before)


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
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("expected a CUDA device, got none: nothing was measured", file=sys.stderr)
        return 2
    found = record()
    write(asked.out, found)
    print(json.dumps(found, indent=1))
    passed = bool(found["tests"]) and set(found["tests"].values()) == {"passed"}
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
