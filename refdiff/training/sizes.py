"""Lower bounds of the memory that the settings of a run need; what cannot fit is refused before it is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch

from refdiff.errors import ConfigError
from refdiff.schedule import NoiseProcess
from refdiff.training import build, memory
from refdiff.training.config import Config

_COPIES = {"adam": 5, "adamw": 5, "sgd": 3}
"""Numbers for each parameter: weight, gradient and average, and two moments where the optimizer has them."""
_BATCH = 5
"""Numbers for each number of a batch: x_0, eps, x_t, the target and the prediction."""


class Part(NamedTuple):
    """A part of what a run needs."""

    size: int
    """Bytes, at least."""
    what: str
    """What needs them, and which setting lowers them."""


def check(config: Config, event: tuple[int, ...], device: torch.device, *, processes: int, own_network: bool) -> None:
    """Raise ConfigError if a part of a run, or all parts together, cannot fit in the memory.

    Args:
        config: settings.
        event: shape of one example.
        device: device of the computation.
        processes: number of processes that share a batch.
        own_network: whether the network is the user's, whose size is not known.
    """
    one = Part(8 * prod(event), f"one example of shape {event}: lower preprocess.pad or preprocess.size")
    on_host = [one, *_samples(config, event), *_statistics(config)]
    on_device = list(_batch(config, event, processes))
    if not own_network:
        on_device.append(_parameters(config, event))
    for parts, where in ((on_host, None), (on_device, device)):
        for part in parts:
            memory.need(part.size, part.what, where)
        largest = max(parts)
        memory.need(sum(part.size for part in parts), f"all settings, most of it for {largest.what}", where)


def check_samples(count: int, event: tuple[int, ...]) -> None:
    """Raise ConfigError if this many samples cannot fit in the memory: the samples, and their picture."""
    memory.need(8 * count * prod(event), f"{count:,} samples: lower --num")


def _itemsize(config: Config) -> int:
    return 8 if config.runtime.precision == "float64" else 4


def _batch(config: Config, event: tuple[int, ...], processes: int) -> Iterator[Part]:
    batch, numbers = config.batch, prod(event)
    shards = max(1, batch.shards // processes)
    at_once = batch.size // batch.shards * -(-shards // min(batch.accumulation, shards))
    what = f"a batch of {at_once:,} examples of shape {event}: lower batch.size, or raise batch.accumulation"
    yield Part(_itemsize(config) * _BATCH * at_once * numbers, what)


def _samples(config: Config, event: tuple[int, ...]) -> Iterator[Part]:
    watch, numbers = config.monitor, prod(event)
    if watch.eval_every:
        yield Part(8 * watch.eval_samples * numbers, f"{watch.eval_samples:,} samples: lower monitor.eval_samples")
    if watch.picture_every and len(event) == 3:
        what = f"a picture of {watch.picture_samples:,} samples: lower monitor.picture_samples"
        yield Part(8 * watch.picture_samples * numbers, what)


def _statistics(config: Config) -> Iterator[Part]:
    yield Part(40 * config.monitor.buckets, "the losses of buckets of time: lower monitor.buckets")
    if config.times.sampler == "second_moment":
        what = "the losses of cells of time: lower times.cells or times.history"
        yield Part(8 * config.times.cells * config.times.history, what)


def _parameters(config: Config, event: tuple[int, ...]) -> Part:
    table = "network.width, network.multipliers or network.blocks" if len(event) == 3 else "mlp.width or mlp.depth"
    count = count_parameters(config, event, build.process(config.process), table)
    what = f"a network of {count:,} parameters: lower {table}"
    return Part(_itemsize(config) * _COPIES[config.optimizer.kind] * count, what)


def count_parameters(config: Config, event: tuple[int, ...], noise: NoiseProcess, table: str) -> int:
    """Return the number of parameters of the default network, of which nothing is allocated."""
    try:
        with torch.device("meta"):
            model = build.network(event, noise, config.network, config.mlp)
    except (RuntimeError, OverflowError):  # the size of a tensor exceeds 64 bits
        raise ConfigError(
            f"expected a network that memory can hold, got larger tensors: lower {table} (TRN-8)"
        ) from None
    return sum(parameter.numel() for parameter in model.parameters())
