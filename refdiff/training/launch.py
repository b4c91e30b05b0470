"""Launch of several processes, as torchrun describes it in environment variables; the process that fails first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import final

from torch.distributed import (  # type: ignore[attr-defined]  # torch exports them without saying so
    PrefixStore,
    Store,
    TCPStore,
)

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training.errors import PeerError

_FAILED = "refdiff/failed"
_PATIENCE = timedelta(seconds=10)
"""Time to connect to the store for a message of failure."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Place of this process among those that train one model."""

    rank: int = 0
    """Index of this process."""
    size: int = 1
    """Number of processes."""
    local: int = 0
    """Index of this process on its machine, and of its accelerator."""
    address: str = ""
    """Host of the store in which processes find each other."""
    port: int = 0
    """Port of that store."""

    @staticmethod
    def of_environment() -> Launch:
        """Return the place that the environment names. Raises ConfigError for values that fit no launch."""
        size, rank, local = (_integer(name, default) for name, default in _INTEGERS.items())
        here = _integer("LOCAL_WORLD_SIZE", size)
        _need(size >= 1, "WORLD_SIZE of at least 1", size)
        _need(0 <= rank < size, f"RANK in 0..{size - 1}", rank)
        _need(0 <= local < max(here, 1), f"LOCAL_RANK in 0..{here - 1}", local)
        if size == 1:
            return Launch(local=local)
        address, port = os.environ.get("MASTER_ADDR", ""), _integer("MASTER_PORT", 0)
        _need(bool(address), f"MASTER_ADDR, the host of rank 0, for {size} processes", "none")
        _need(1 <= port <= 65535, f"MASTER_PORT in 1..65535 for {size} processes", port or "none")
        return Launch(rank=rank, size=size, local=local, address=address, port=port)

    def store(self, timeout: timedelta) -> Store:
        """Return the store of the launch; rank 0 serves it, unless torchrun does. Raises DistError."""
        serves = self.rank == 0 and not _is_served()
        # Not to wait for the others here: the process group does, with the same timeout.
        store = TCPStore(self.address, self.port, self.size, serves, timeout, wait_for_workers=False)
        run, attempt = os.environ.get("TORCHELASTIC_RUN_ID", ""), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"refdiff/{run}/{attempt}", store)


_INTEGERS = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0}


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"expected an integer in the environment variable {name}, got {text!r} (TRN-10)") from None


def _is_served() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def first_failure(store: Store, rank: int, sentence: str) -> str | None:
    """Return the message of the process that failed before this one, or None if this is the first to fail."""
    mine = f"rank {rank}: {sentence}"
    try:
        said: str = store.compare_set(_FAILED, "", mine).decode()
    except RuntimeError:  # the process that served the store is gone
        return None
    return None if said == mine else said


def failed_before(sentence: str) -> bool:
    """Return whether another process of this launch failed before this one, so that the user has its sentence.

    For failures without a process group, such as a wrong option, which all processes find.
    """
    try:
        launch = Launch.of_environment()
        # Where rank 0 serves the store, it may have ended, and another would wait for it.
        if launch.size == 1 or not _is_served():
            return False
        return first_failure(launch.store(_PATIENCE), launch.rank, sentence) is not None
    except (ConfigError, RuntimeError):
        return False


def tell_torchrun(error: RefdiffError) -> None:
    """Write why this process ends where torchrun looks for it, so that its report ends with the reason.

    The cause of an error, such as an exception in a user's network, is written with its traceback.
    """
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler  # lazy import: only needed here

        try:
            raise RefdiffError(str(error)) from (None if isinstance(error, PeerError) else error.__cause__)
        except RefdiffError as told:  # the handler takes the exception that is being handled
            get_error_handler().record_exception(told)


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {got} (TRN-10)")
