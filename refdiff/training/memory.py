"""Available memory: what cannot fit is refused before it is allocated, and an allocation that fails is told (TRN-8).

Before a run only lower bounds are known. What a network keeps for its gradient, for instance, shows at the first step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from refdiff.errors import ConfigError, RefdiffError

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Limit and use of memory of a container, in bytes: of version 2 and of version 1 of control groups."""


def available(device: torch.device | None = None) -> int | None:
    """Return the bytes that can be allocated on a device, by default the CPU; None where nothing says so."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device is not None and device.type != "cpu":
        return None
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    info = _lines(Path("/proc/meminfo"))
    yield from (int(line.split()[1]) * 1024 for line in info if line.startswith("MemAvailable:"))
    if not info and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit, used in _CGROUPS:
        numbers = [lines[0] for lines in (_lines(limit), _lines(used)) if lines and lines[0].isdigit()]
        if len(numbers) == 2:
            yield max(0, int(numbers[0]) - int(numbers[1]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except (OSError, ValueError):
        return []


def need(
    size: int, what: str, device: torch.device | None = None, *, kind: Callable[[str], RefdiffError] = ConfigError
) -> None:
    """Raise ConfigError, or an error of this kind, if an allocation of this many bytes does not fit.

    what: what needs it, and which setting lowers it.
    """
    free = available(device)
    if free is not None and size > free:
        raise kind(
            f"expected at most the {_gib(free)} of memory available, got {_gib(size)} at least for {what} (TRN-8)"
        )


@contextmanager
def explained(device: torch.device, what: str) -> Iterator[None]:
    """Raise ConfigError in place of the error of an allocation that fails in this block.

    what: what needs the memory, and which setting lowers it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        raise ConfigError(
            f"expected enough memory on {device}, got too little, beside what else uses it, for {what} (TRN-8)"
        ) from None


def _is_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether an allocation failed; that of a CPU is a plain RuntimeError of torch."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
