"""World size, gradient accumulation and shards change only the order of sums."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from refdiff.errors import ConfigError
from refdiff.training import checkpoint
from refdiff.training.agreement import compare, described
from refdiff.training.config import BatchConfig, Config
from refdiff.training.data import Examples
from refdiff.training.distributed import World, joined
from refdiff.training.identity import Identity

from . import group, runs


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
    codes, printed = group.ended(size, tmp_path / "printed", group.all_cases, str(tmp_path), alone[1])
    assert codes == [0] * size, printed
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


def test_only_rank_0_makes_what_all_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-10: the digest of the data and the irreducible loss are computed once, and rank 1 takes those of rank 0."""
    made: list[str] = []

    def make() -> str:
        made.append("by this process")
        return made[-1]

    assert World(device=torch.device("cpu")).shared(make) == "by this process"
    monkeypatch.setattr(World, "texts", lambda self, text: ["by rank 0", text])
    assert World(rank=1, size=2, device=torch.device("cpu")).shared(make) == "by rank 0"
    assert len(made) == 1


def command(out: Path, data: str, **settings: object) -> list[str]:
    """Return a command that trains for 12 steps with every feature of the trainer that costs little."""
    given = {
        "data": data, "steps": 12, "network.width": 8, "network.groups": 4, "network.multipliers": "1 2",
        "network.dropout": 0.2, "times.sampler": "second_moment", "times.cells": 4, "times.history": 2,
        "batch.size": 16, "batch.accumulation": 2, "optimizer.warmup": 0, "optimizer.lr-schedule": "constant",
        "runtime.precision": "float64", "runtime.timeout": 300, "monitor.log-every": 4, "monitor.picture-every": 6,
        "monitor.eval-every": 3, "monitor.save-every": 4, "monitor.eval-samples": 8, "monitor.picture-samples": 4,
        "monitor.sampling-steps": 3, "features": "tests.training.group:halves",
    }  # fmt: skip
    pairs = {name.replace("_", "-"): value for name, value in (given | settings).items() if value is not None}
    options = [part for name, value in pairs.items() for part in (f"--{name}", *str(value).split())]
    return ["train", "--out", str(out), *options]


def trains(size: int, folder: Path, arguments: list[str]) -> str:
    """Run a command in `size` processes to its end, and return what they print."""
    codes, printed = group.ended(size, folder / "printed", group.command, arguments)
    assert codes == [0] * size, printed
    return printed


def _bits(folder: Path) -> list[bytes]:
    return [(folder / f"{kind}.safetensors").read_bytes() for kind in ("model", "ema", "best")]


def test_every_feature_works_on_several_processes(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-9, TRN-10: evaluations, pictures, saves and resuming give the numbers of one process, and the bits of two."""
    data, names = alone[1], ("one", "two", "cut", "grown")
    one, two, cut, grown = (tmp_path / name for name in names)
    trains(1, one, command(one, data))
    assert trains(2, two, command(two, data)).count("finished at step 12 of 12") == 1
    trains(2, cut, command(cut, data, steps=4))
    shutil.copytree(cut, grown)
    trains(2, cut, [*command(cut, data), "--resume"])
    assert trains(4, grown, [*command(grown, data), "--resume"]).count("resuming from step 4") == 1
    assert _bits(cut) == _bits(two)
    first = runs.rows(one)
    for folder in (two, grown):
        assert {path.name for path in one.iterdir()} == {path.name for path in folder.iterdir()}
        for kind in ("model", "ema"):
            weights = (load_file(path / f"{kind}.safetensors") for path in (one, folder))
            assert runs.distance(*weights) <= 1e-12, (folder, kind)
    for row, other in zip(first, runs.rows(two), strict=True):
        timeless = {name: value for name, value in row.items() if name != "examples_per_second"}
        assert _near(timeless, {name: other[name] for name in timeless}), (row, other)


def _near(one: Any, other: Any) -> bool:
    """Return whether numbers agree to 1e-9, and all else exactly."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_near(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_near, one, other))
    return one == other or (isinstance(one, float) and abs(one - other) <= 1e-9 * max(abs(one), 1.0))


def test_early_stopping_stops_all(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-13: where rank 0 finds no improvement, all processes stop after the same step."""
    still = command(tmp_path, alone[1], **{"optimizer.lr": 1e-30, "monitor.patience": 1, "monitor.eval-every": 1})
    assert "stopped early at step 2 of 12" in trains(2, tmp_path, still)


def test_signal_to_one_process_saves_and_ends_all(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-11: SIGTERM to rank 1 ends the step of all, and rank 0 saves and says how to continue."""
    endless = command(tmp_path, alone[1], steps=100_000, **{"monitor.log-every": 1, "monitor.eval-every": 0})
    with group.started(2, tmp_path / "printed", group.command, endless) as running:
        running.wait_for("step 3 of")
        running.processes[1].terminate()
        assert running.codes() == [0, 0], running.printed()
        assert running.printed().count("continue with --resume") == 1
    path = checkpoint.listed(tmp_path)[0]
    assert checkpoint.load(path)[1]["step"] == int(path.stem.removeprefix("step-")) >= 3


def assert_one_message(codes: list[int | None], printed: str, pattern: str) -> None:
    """Assert that no process succeeds, and that one message of all is printed."""
    assert 0 not in codes, printed
    said = [line for line in printed.splitlines() if line.startswith("refdiff: ")]
    assert len(said) == 1, printed
    assert re.fullmatch(f"refdiff: {pattern}", said[0]), said[0]
    assert "Traceback" not in printed, printed


FAULTS = {
    "Raises": r"expected no exception, got ZeroDivisionError at group\.py:\d+: a mistake in two lines \(TRN-10\)",
    "ReturnsNaN": r"expected finite gradients, got a norm of nan at step \d \(TRN-12\)",
    "IsKilled": r"expected all 2 processes to go on, got one that ended without a message \(TRN-10\)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_on_one_process_ends_all(alone: tuple[Path, str], tmp_path: Path, fault: str) -> None:
    """TRN-10, TRN-12: an exception, NaN or SIGKILL on rank 1 ends all processes, with one message of one sentence."""
    arguments = command(tmp_path, alone[1], denoiser=f"tests.training.group:{fault}")
    codes, printed = group.ended(2, tmp_path / "printed", group.command, arguments)
    assert_one_message(codes, printed, FAULTS[fault])
    assert None not in codes


def test_hanging_process_ends_the_others(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-10: where rank 1 never ends its step, rank 0 ends after --runtime.timeout; torchrun then ends rank 1."""
    arguments = command(tmp_path, alone[1], **{"denoiser": "tests.training.group:Hangs", "runtime.timeout": 2})
    with group.started(2, tmp_path / "printed", group.command, arguments) as running:
        running.processes[0].join(group.LIMIT)
        assert running.processes[1].is_alive()
        need = r"an answer of all 2 processes within 2 s \(--runtime\.timeout\)"
        codes = [running.processes[0].exitcode]
        assert_one_message(codes, running.printed(), rf"expected {need}, got none of at least one \(TRN-10\)")
        assert None not in codes


DIFFERENCES = {
    r"expected the same in all processes, got another seed on rank 1 than on rank 0: 1 instead of 0[^\n]* \(TRN-10\)": [
        "--seed",
        "1",
    ],
    r"expected [^\n]* as data source, got 'nowhere\.npy', which does not exist \(TRN-8\)": ["--data", "nowhere.npy"],
}


@pytest.mark.parametrize("pattern", DIFFERENCES)
def test_difference_between_processes_is_refused(alone: tuple[Path, str], tmp_path: Path, pattern: str) -> None:
    """TRN-10: another setting, or data that only one process cannot read, ends all before the first step."""
    arguments, others = command(tmp_path / "run", alone[1]), {1: DIFFERENCES[pattern]}
    codes, printed = group.ended(2, tmp_path / "printed", group.command, arguments, others)
    assert_one_message(codes, printed, pattern)
    assert not list((tmp_path / "run").glob("*"))


def test_other_data_of_one_process_is_refused(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-10: a file of the same name, and of the same shape, with other examples."""
    values = {"seed": 0, "first examples": "ab"}
    texts = [json.dumps(values), json.dumps(values | {"first examples": "cd"})]
    pattern = (
        r"^expected the same in all processes, got another first examples on rank 1 than on rank 0: cd instead of ab"
    )
    with pytest.raises(ConfigError, match=pattern):
        compare(texts)


def test_any_example_tells_the_data_of_two_processes_apart() -> None:
    """TRN-10: the comparison sees the last of 100 examples, of which the network is shown the first few."""
    rows, none = np.zeros((100, 2)), Examples(np.zeros((0, 2)), np.arange(0), -1.0, 1.0)
    other = rows.copy()
    other[-1] = 0.5
    few, model = torch.zeros(4, 2), runs.Affine((2,))
    found = []
    for raw in (rows, other):
        data = Examples(raw, np.arange(100), -1.0, 1.0)
        found.append(json.dumps(described(Config(), data, Identity.of(data, none), few, model, 0)))
    compare(found[:1] * 2)
    with pytest.raises(ConfigError, match="got another digest of the data on rank 1"):
        compare(found)


def test_full_disk_of_rank_0_ends_all(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-11: rank 0 writes the files; where it cannot, all processes end, with its message."""
    codes, printed = group.ended(
        2, tmp_path / "printed", group.command_on_full_disk, command(tmp_path / "run", alone[1])
    )
    assert_one_message(codes, printed, r"expected to write [^\n]*; earlier files are unchanged \(TRN-11\)")
    assert None not in codes


def test_wrong_setting_is_said_once(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-8: an option that every process refuses, before they have joined, is refused in one sentence for all."""
    codes, printed = group.ended(4, tmp_path / "printed", group.command, command(tmp_path, alone[1], seed=-1))
    assert codes == [2, 2, 2, 2]
    assert_one_message(codes, printed, r"expected a seed in 0\.\.2\^32-1, got -1 \(TRN-8\)")


@pytest.mark.parametrize(
    ("environment", "pattern"),
    [
        ({"WORLD_SIZE": "x"}, "expected an integer in the environment variable WORLD_SIZE, got 'x'"),
        ({"WORLD_SIZE": "0"}, "expected WORLD_SIZE of at least 1, got 0"),
        ({"WORLD_SIZE": "-1"}, "expected WORLD_SIZE of at least 1, got -1"),
        ({"RANK": "1"}, r"expected RANK in 0\.\.0, got 1"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, r"expected RANK in 0\.\.1, got -1"),
        ({"LOCAL_RANK": ""}, "expected an integer in the environment variable LOCAL_RANK, got ''"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "2"}, r"expected LOCAL_RANK in 0\.\.1, got 2"),
        ({"WORLD_SIZE": "2"}, "expected MASTER_ADDR, the host of rank 0, for 2 processes, got none"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "a"}, r"expected MASTER_PORT in 1\.\.65535 for 2 processes, got none"),
    ],
)
def test_wrong_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], pattern: str
) -> None:
    """TRN-10: variables that describe no launch are refused by name, before anything waits for another process."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{pattern} \(TRN-10\)$"), joined("cpu"):
        raise AssertionError("joined")


def test_torchrun_reports_the_reason(alone: tuple[Path, str], tmp_path: Path) -> None:
    """TRN-10: torchrun's status is not 0, and its report repeats the sentence that the trainer printed."""
    arguments = command(tmp_path, alone[1], denoiser="tests.training.group:ReturnsNaN")
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "refdiff"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=2 * group.LIMIT,
        check=False,
    )
    assert done.returncode not in (0, None)
    sentence = "expected finite gradients, got a norm of nan at step 2 (TRN-12)"
    assert done.stderr.count(f"\nrefdiff: {sentence}\n") == 1
    assert sentence in done.stderr.partition("Root Cause")[2]


def test_unavailable_device_is_refused() -> None:
    """TRN-10: a device that this machine lacks is named in one sentence."""
    with (
        pytest.raises(ConfigError, match=r"expected an available device, got nowhere.* \(TRN-10\)$"),
        joined("nowhere"),
    ):
        raise AssertionError("joined")
