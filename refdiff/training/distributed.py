"""Data-parallel training: rank, share of the work, collective operations, and threads of a process."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]  # torch exports it without saying so
from torch.nn.parallel import DistributedDataParallel

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training.errors import PeerError, TrainingError
from refdiff.training.launch import Launch, first_failure


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

    def texts(self, text: str) -> list[str]:
        """Return the texts of all processes, in order of rank."""
        if self.size == 1:
            return [text]
        content = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        sizes = self.gathered(torch.tensor([len(content)], device=self.device)).tolist()
        padded = nn.functional.pad(content, (0, max(sizes) - len(content)))
        rows = self.gathered(padded[None]).cpu()
        return [bytes(row[:size].tolist()).decode() for row, size in zip(rows, sizes, strict=True)]

    def shared(self, make: Callable[[], str]) -> str:
        """Return, in all processes, the text that rank 0 makes; the others wait for it."""
        return self.texts(make() if self.first else "")[0]

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Wait until all processes reach this call."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str, timeout: float = 600.0) -> Iterator[World]:
    """Join the process group of torchrun, if there is one, and leave it on exit, if it was joined here.

    Args:
        device: name of the device, or auto.
        timeout: largest time to wait for another process, in seconds.

    Raises:
        ConfigError: the environment describes no launch, or the device is not available.
        TrainingError: this process is the first to fail, or another one did not answer in time.
        PeerError: another process failed before this one.
    """
    launch = Launch.of_environment()
    chosen = find_device(device, launch.local)
    if dist.is_initialized():  # by the script that calls the trainer
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=chosen)
        return
    if launch.size == 1:
        yield World(device=chosen)
        return
    store: Store | None = None
    try:
        store = _connect(launch, chosen, timedelta(seconds=timeout))
        yield World(rank=launch.rank, size=launch.size, device=chosen)
    except Exception as error:  # an error of any kind on one rank ends all, with one message
        said = error if isinstance(error, RefdiffError) else _explained(error, launch, timeout)
        # Before the group is left: then the others fail, and must find this message.
        earlier = first_failure(store, launch.rank, str(said)) if store else None
        if earlier is not None:
            raise PeerError(f"expected all {launch.size} processes to go on, got an error on {earlier}") from error
        raise said from (None if said is error else error)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _connect(launch: Launch, device: torch.device, timeout: timedelta) -> Store:
    """Join the process group, and return the store of the launch, where a failing process leaves its message."""
    store = launch.store(timeout)
    # A group of gloo and one of NCCL would wait for each other.
    kind = store.compare_set("device", "", device.type).decode()
    if kind != device.type:
        raise ConfigError(f"expected one kind of device in all processes, got {kind} and {device.type} (TRN-10)")
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size, timeout=timeout)
    return store


def _explained(error: Exception, launch: Launch, timeout: float) -> TrainingError:
    """Return the error of a process in one sentence: another process is gone, or this one raised."""
    reason, all_of_them = " ".join(str(error).split()), f"all {launch.size} processes"
    if isinstance(error, dist.DistError) or "gloo" in reason or "NCCL" in reason:
        if "imed out" in reason or "timeout" in reason:
            need = f"an answer of {all_of_them} within {timeout:g} s (--runtime.timeout)"
            return TrainingError(f"expected {need}, got none of at least one (TRN-10)")
        if "onnection" in reason:
            return TrainingError(f"expected {all_of_them} to go on, got one that ended without a message (TRN-10)")
        return TrainingError(f"expected {all_of_them} to communicate, got: {reason[:200]} (TRN-10)")
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return TrainingError(f"expected no exception, got {type(error).__name__} at {where}: {reason} (TRN-10)")


def find_device(name: str, local: int = 0) -> torch.device:
    """Return the device of this name, which has been used once; of several CUDA devices the one with this number.

    name: a name of torch's, or auto: CUDA if it is available, else the CPU.

    Raises:
        ConfigError: the device is not available.
    """
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
