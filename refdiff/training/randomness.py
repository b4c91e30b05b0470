"""All randomness as a function of (seed, stream, step, shard): nothing to save, nothing to restore (TRN-9)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Generator

Stream: TypeAlias = Literal["weights", "order", "times", "noise", "dropout", "samples", "split", "floor"]
_STREAMS: tuple[Stream, ...] = ("weights", "order", "times", "noise", "dropout", "samples", "split", "floor")


def generator(seed: int, stream: Stream, count: int = 0, *, device: torch.device | str = "cpu") -> Generator:
    """Return the generator of the count-th use of a stream: for shards, step times shards plus shard."""
    return Generator(device).manual_seed(number(seed, stream, count))


def number(seed: int, stream: Stream, count: int = 0) -> int:
    """Return the 64 bits that seed the count-th use of a stream.

    torch's CPU generator looks at the low 32 only. There the uses of one stream are consecutive from a random start, so
    that no two of 2^32 are the same, which 32 random bits would be for 1 pair or two among 100,000.
    """
    start, high = _origin(seed, stream)
    return (high << 32) | ((start + count) % 2**32)


@lru_cache(maxsize=64)
def _origin(seed: int, stream: Stream) -> tuple[int, int]:
    """Return what the low bits of a stream count from, and its high bits."""
    start, high = np.random.SeedSequence([seed, _STREAMS.index(stream)]).generate_state(2, np.uint32)
    return int(start), int(high)
