"""World size, gradient accumulation and shards change only the order of sums."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from refdiff.errors import ConfigError
from refdiff.training.config import BatchConfig
from refdiff.training.distributed import World, joined

from . import runs


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the runs of one process, and their data."""
    folder = tmp_path_factory.mktemp("alone")
    data = runs.images(folder)
    runs.weights(folder, runs.CASES, data)
    return folder, data


def _of(folder: Path, name: str, kind: str = "model") -> dict[str, Tensor]:
    return load_file(folder / name.replace(" ", "-") / f"{kind}.safetensors")


@pytest.mark.parametrize("size", [2, 4])
def test_world_size_changes_only_sums(alone: tuple[Path, str], tmp_path: Path, size: int) -> None:
    """TRN-10: with two and four processes under gloo, 20 steps end where one process ends, to 1e-5 and 1e-12."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(size), "-m", "tests.training.runs"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(tmp_path), alone[1]],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in runs.CASES:
        for kind in ("model", "ema"):
            assert runs.distance(_of(alone[0], name, kind), _of(tmp_path, name, kind)) <= runs.bound(name), name


@pytest.mark.parametrize("passes", [2, 4])
def test_accumulation_changes_only_sums(alone: tuple[Path, str], tmp_path: Path, passes: int) -> None:
    """TRN-10: gradients of 2 and 4 micro-batches sum to that of the batch."""
    runs.weights(tmp_path, runs.CASES, alone[1], batch=BatchConfig(size=16, shards=4, accumulation=passes))
    for name in runs.CASES:
        assert runs.distance(_of(alone[0], name), _of(tmp_path, name)) <= runs.bound(name), name


def test_bound_detects_a_wrong_gradient(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-10: a learning rate off by 1e-4 of itself, as a count off by one in 10,000, is seen."""
    case = runs.CASES["sgd float64"]
    rate = case["optimizer"].lr * (1.0 + 1e-4)
    moved = {**case, "optimizer": type(case["optimizer"])(kind="sgd", lr=rate, warmup=0, lr_schedule="constant")}
    runs.weights(tmp_path, {"sgd float64": moved}, alone[1])
    assert runs.distance(_of(alone[0], "sgd float64"), _of(tmp_path, "sgd float64")) > 100 * 1e-12


def test_shards_are_partitioned() -> None:
    """TRN-10: every shard belongs to one process, in order."""
    for size in (1, 2, 3, 4):
        worlds = [World(rank=rank, size=size, device=torch.device("cpu")) for rank in range(size)]
        assert [shard for world in worlds for shard in world.shards(12)] == list(range(12))
    with pytest.raises(
        ConfigError, match=r"expected a number of shards divisible by the 3 processes, got 4.* \(TRN-10\)$"
    ):
        World(rank=0, size=3, device=torch.device("cpu")).shards(4)


def test_unavailable_device_is_refused() -> None:
    """TRN-10: a device that this machine lacks is named in one sentence."""
    with (
        pytest.raises(ConfigError, match=r"expected an available device, got nowhere.* \(TRN-10\)$"),
        joined("nowhere"),
    ):
        raise AssertionError("joined")
