"""Data-parallel training: rank, share of the work, collective operations, and threads of a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from refdiff.errors import ConfigError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that train one model."""

    rank: int = 0
    """Index of this process."""
    size: int = 1
    """Number of processes."""
    device: torch.device
    """Device of this process."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the process that writes files."""
        return self.rank == 0

    def shards(self, count: int) -> range:
        """Return the shards of this process, a contiguous range, so that gathering keeps their order."""
        if count % self.size:
            raise ConfigError(
                f"expected a number of shards divisible by the {self.size} processes, got {count}: "
                "set --batch.shards (TRN-10)"
            )
        each = count // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model wrapped to average gradients over processes, or the model itself for one process."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def no_sync(self, network: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Return a context without gradient synchronisation, except in the last micro-batch of a step."""
        if last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        context: AbstractContextManager[None] = network.no_sync()
        return context

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def gathered(self, value: Tensor) -> Tensor:
        """Return the values of all processes, concatenated; each of the same shape."""
        if self.size == 1:
            return value
        parts = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Wait until all processes reach this call."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the process group of torchrun, if there is one, and leave it on exit, if it was joined here."""
    size, rank, local = (int(os.environ.get(name, default)) for name, default in _ENVIRONMENT)
    chosen = _device(device, local)
    if size == 1:
        yield World(device=chosen)
        return
    joining = not dist.is_initialized()
    if joining:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        yield World(rank=rank, size=size, device=chosen)
    finally:
        if joining:
            dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))


def _device(name: str, local: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local}" if name == "cuda" else name)
        torch.zeros(1, device=device).tolist()  # meta has no values
    except Exception as error:  # noqa: BLE001 - each backend that is missing raises a type of its own
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"expected an available device, got {name}: {said} (TRN-10)") from None
    if device.type == "cpu" and device.index:
        raise ConfigError(f"expected the device cpu, which has no index, got {name} (TRN-10)")
    return device


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: a small network is not faster on two, and much slower on shared cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
