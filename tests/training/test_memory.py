"""refdiff.training.memory and .sizes: what cannot fit is refused before it is allocated, and what fits is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from refdiff.errors import ConfigError
from refdiff.nn import MLP, Architecture, Layers, UNet
from refdiff.schedule import CosineSchedule
from refdiff.training import memory, sizes
from refdiff.training.config import BatchConfig, Config, MonitorConfig, OptimizerConfig
from refdiff.training.run import train

from . import runs

CPU = torch.device("cpu")


def limited(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let this many bytes be available."""
    monkeypatch.setattr(memory, "available", lambda device=None: size)


def test_the_least_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-8: memory of the machine, or what a container has left, whichever is less; no limit is none."""
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       8 kB\n")
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "current").write_text("1000\n")
    lines = memory._lines
    monkeypatch.setattr(
        memory, "_lines", lambda path: lines(tmp_path / "meminfo" if str(path) == "/proc/meminfo" else path)
    )
    for limit, expected in (("5000", 4000), ("max", 8192), ("900", 0), ("99999", 8192)):
        (tmp_path / "max").write_text(limit)
        monkeypatch.setattr(memory, "_CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
        assert memory.available() == expected


def test_parameters_are_counted_without_allocation() -> None:
    """TRN-8: as many as the network has, for an image and for a point; 10^12 of them are counted too."""
    noise = CosineSchedule()
    how = Config(network=Architecture(width=8, groups=4, multipliers=(1, 2)), mlp=Layers(width=7, depth=3))
    for event, model in (((3, 8, 8), UNet(3, how.network)), ((5,), MLP((5,), how.mlp))):
        want = sum(parameter.numel() for parameter in model.parameters())
        assert sizes.count_parameters(how, event, noise, "") == want
    vast = Config(network=Architecture(width=2**20, multipliers=(1,)))
    assert sizes.count_parameters(vast, (1, 8, 8), noise, "") > 10**12


def test_each_part_is_refused_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-8: with one byte less than its lower bound, by the name of its setting; the least run fits in its own."""
    quiet = MonitorConfig(eval_every=0, picture_every=0)
    points, small = Config(batch=BatchConfig(size=1024, shards=1), monitor=quiet), BatchConfig(size=1, shards=1)
    cases = [
        (points, 4 * 5 * 1024 * 2, "batch.size"),
        (Config(batch=small, monitor=MonitorConfig(eval_samples=10**6)), 8 * 10**6 * 2, "monitor.eval_samples"),
        (
            Config(batch=small, monitor=quiet, mlp=Layers(width=1000), optimizer=OptimizerConfig(kind="sgd")),
            4 * 3 * (3 * 1000 + 1000 + 1000 * 1000 + 1000 + 2 * 1000 + 2),
            "mlp.width",
        ),
    ]
    for config, need, setting in cases:
        limited(monkeypatch, need - 1)
        with pytest.raises(ConfigError, match=rf"^expected at most .* available, got .*lower .*{setting}.* \(TRN-8\)$"):
            sizes.check(config, (2,), CPU, processes=1, own_network=False)
        limited(monkeypatch, need + 2**20)
        sizes.check(config, (2,), CPU, processes=1, own_network=False)


def test_micro_batches_need_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-8: four micro-batches, or four processes, hold a quarter of the batch at once."""
    quiet = MonitorConfig(eval_every=0, picture_every=0)
    limited(monkeypatch, 4 * 5 * 2**18 + 2**17)
    for accumulation, processes in ((4, 1), (1, 4)):
        batch = BatchConfig(size=2**19, shards=4, accumulation=accumulation)
        sizes.check(Config(batch=batch, monitor=quiet), (2,), CPU, processes=processes, own_network=False)
    whole = Config(batch=BatchConfig(size=2**19, shards=4), monitor=quiet)
    with pytest.raises(ConfigError, match=r"batch\.accumulation"):
        sizes.check(whole, (2,), CPU, processes=1, own_network=False)


def test_an_allocation_that_fails_in_training_is_told(tmp_path: Path) -> None:
    """TRN-8: as one sentence with the device and what to lower, not as an error of torch's allocator."""
    how = runs.config(runs.images(tmp_path), batch=BatchConfig(size=16, shards=4))
    with pytest.raises(ConfigError, match=r"^expected enough memory on cpu, got .* lower batch.size.*\(TRN-8\)$"):
        train(how, tmp_path / "out", denoiser=lambda event: runs.Hungry(), say=runs.quiet)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1")])
def test_each_failed_allocation_is_told(error: Exception) -> None:
    """TRN-8: Python's own and that of an accelerator too."""
    says = r"^expected enough memory on cpu, got too little.* for a picture \(TRN-8\)$"
    with pytest.raises(ConfigError, match=says), memory.explained(CPU, "a picture"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), ValueError("DefaultCPUAllocator")])
def test_other_errors_are_not_called_a_lack_of_memory(error: Exception) -> None:
    """TRN-8: they pass unchanged."""
    with pytest.raises(type(error)) as caught, memory.explained(CPU, "a picture"):
        raise error
    assert caught.value is error
