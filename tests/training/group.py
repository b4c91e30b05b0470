"""Several processes that train one model, forked from one that has imported torch: torchrun takes seconds to launch."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it without saying so

from refdiff.__main__ import main

from . import runs

LIMIT = 60.0
"""Seconds after which a launch counts as hanging."""


class Group:
    """Processes of one launch, and what they print."""

    def __init__(self, processes: Sequence[BaseProcess], folder: Path) -> None:
        """Take the processes, each of which prints to a file of the folder."""
        self.processes, self.folder = processes, folder

    def printed(self) -> str:
        """Return what all have printed so far, by rank."""
        return "".join(path.read_text("utf-8") for path in sorted(self.folder.glob("rank-*.txt")))

    def wait_for(self, text: str) -> None:
        """Wait until one of them has printed this text."""
        end = monotonic() + LIMIT
        while text not in self.printed():
            assert monotonic() < end, self.printed()
            self.processes[0].join(0.02)

    def codes(self) -> list[int | None]:
        """Wait for the end of all, and return their exit statuses; None for one that had to be killed."""
        end = monotonic() + LIMIT
        for process in self.processes:
            process.join(max(end - monotonic(), 0.0))
        return [process.exitcode for process in self.processes]


@contextmanager
def started(size: int, folder: Path, target: Callable[..., int], *arguments: Any) -> Iterator[Group]:
    """Start target(rank, *arguments) in `size` processes, with the environment that torchrun gives them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.group", "torchmetrics.image.fid", "matplotlib.figure", "sklearn"])
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    folder.mkdir(parents=True, exist_ok=True)
    processes = [
        context.Process(target=_enter, args=(rank, size, store.port, str(folder), target, arguments))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        yield Group(processes, folder)
    finally:
        for process in processes:
            process.kill()
            process.join()


def ended(size: int, folder: Path, target: Callable[..., int], *arguments: Any) -> tuple[list[int | None], str]:
    """Return exit statuses and output of target(rank, *arguments) in `size` processes."""
    with started(size, folder, target, *arguments) as group:
        return group.codes(), group.printed()


def _enter(
    rank: int, size: int, port: int, folder: str, target: Callable[..., int], arguments: tuple[Any, ...]
) -> None:
    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in launch.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True")
    printed = os.open(Path(folder, f"rank-{rank}.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(printed, stream)
    torch.set_num_threads(1)
    sys.exit(target(rank, *arguments))


def command(rank: int, arguments: list[str], others: dict[int, list[str]] | None = None) -> int:
    """Run `python -m refdiff` with arguments, and with more on some ranks."""
    return main([*arguments, *(others or {}).get(rank, [])])


def command_on_full_disk(rank: int, arguments: list[str]) -> int:
    """Run `python -m refdiff` where rank 0 cannot write more than 4,096 bytes to a file."""
    if rank == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return main(arguments)


def all_cases(_: int, out: str, data: str) -> int:
    """Train all cases of `runs` in one group of processes."""
    runs.main([out, data])
    return 0


class Faulty(nn.Module):
    """A denoiser that fails in its third step, on rank 1 only."""

    def __init__(self, event: tuple[int, ...]) -> None:
        """Take the shape of one example."""
        super().__init__()
        self.inner, self.steps = runs.Affine(event), 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return a prediction."""
        out: Tensor = self.inner(x, t)
        self.steps += self.training and torch.is_grad_enabled()
        if self.steps == 3 and self.training and os.environ["RANK"] == "1":
            return self.fail(out)
        return out

    def fail(self, out: Tensor) -> Tensor:
        """Fail."""
        raise NotImplementedError


class Raises(Faulty):
    """Raises an exception."""

    def fail(self, out: Tensor) -> Tensor:
        """Raise."""
        raise ZeroDivisionError("a mistake\nin two lines")


class ReturnsNaN(Faulty):
    """Gives a gradient that is not finite."""

    def fail(self, out: Tensor) -> Tensor:
        """Return NaN."""
        return out * float("nan")


class IsKilled(Faulty):
    """Ends without a word."""

    def fail(self, out: Tensor) -> Tensor:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        return out


class Hangs(Faulty):
    """Never ends its step."""

    def fail(self, out: Tensor) -> Tensor:
        """Wait for a signal, which never comes."""
        signal.pause()
        return out


def halves() -> nn.Module:
    """Return features of one's own: the means of the left and the right half of an image."""
    return Halves()


class Halves(nn.Module):
    """Means of the left and the right half of an image."""

    num_features = 2

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 2)."""
        left, right = x.double().chunk(2, dim=-1)
        return torch.stack([left.flatten(1).mean(1), right.flatten(1).mean(1)], dim=1)
