"""All randomness as a function of (seed, stream, step, shard): nothing to save, nothing to restore (TRN-9).

    number = 2^32 seed + 2^29 stream + count      seed < 2^32, stream < 2^3, count < 2^29

Two uses have two numbers. An accelerator's generator is keyed by all 64 bits of a seed, so the number is its seed.
torch's CPU generator looks at 32 bits of a seed; its 624 words of state are therefore written by Philox, with one key
and the counter (i, count, stream, seed). Philox maps counters to blocks one to one, so two uses have two states.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Philox
from torch import Generator, Tensor

from refdiff.errors import DomainError

Stream: TypeAlias = Literal["weights", "order", "times", "noise", "dropout", "samples", "split", "floor"]
_STREAMS: tuple[Stream, ...] = ("weights", "order", "times", "noise", "dropout", "samples", "split", "floor")
USES = 2**29
"""Uses of one stream: steps times shards, epochs, or parts of the samples."""
_WORDS = slice(24, 24 + 624 * 8)
"""Where the bytes of torch's CPU state hold the words of the Mersenne Twister, 64 bits for each 32."""
_PHILOX, _ONE_AT_A_TIME = Philox(key=0), Lock()


def generator(seed: int, stream: Stream, count: int = 0, *, device: torch.device | str = "cpu") -> Generator:
    """Return the generator of the count-th use of a stream: for shards, step times shards plus shard."""
    made = Generator(device)
    if made.device.type == "cpu":
        made.set_state(_cpu_state(seed, stream, count))
    else:
        made.manual_seed(number(seed, stream, count))
    return made


def seed_default(seed: int, stream: Stream, count: int = 0) -> None:
    """Set torch's own generators, of every device, to a use of a stream."""
    torch.manual_seed(number(seed, stream, count))
    torch.default_generator.set_state(_cpu_state(seed, stream, count))


def number(seed: int, stream: Stream, count: int = 0) -> int:
    """Return the 64 bits that name a use of a stream. Raises DomainError where they do not suffice."""
    if not 0 <= seed < 2**32:
        raise DomainError("TRN-9", "a seed in 0..2^32-1", seed)
    if not 0 <= count < USES:
        raise DomainError("TRN-9", "fewer than 2^29 uses of a stream", count)
    return (seed << 32) | (_STREAMS.index(stream) << 29) | count


def _cpu_state(seed: int, stream: Stream, count: int) -> Tensor:
    """Return the state of a CPU generator: the words by Philox, and before the first draw."""
    name = number(seed, stream, count)
    with _ONE_AT_A_TIME:
        state = _PHILOX.state
        state["state"]["counter"][:] = (0, name % USES, (name >> 29) % 8, name >> 32)
        state["buffer_pos"] = len(state["buffer"])  # nothing is left of the last block
        _PHILOX.state = state
        words = _PHILOX.random_raw(624 // 2)
    written = _fresh().copy()
    written[_WORDS].view(np.uint64)[:] = words.view(np.uint32)
    return torch.from_numpy(written)


@cache
def _fresh() -> npt.NDArray[np.uint8]:
    """Return a state in which nothing was drawn. Raises RuntimeError if torch keeps it in an unknown form."""
    state = Generator().manual_seed(5489).get_state().numpy()
    known = np.random.RandomState(5489).get_state(legacy=False)["state"]["key"]
    if not np.array_equal(state[_WORDS].view(np.uint64), known):
        raise RuntimeError(
            f"expected 624 words of state at byte 24, got other bytes of torch {torch.__version__} (TRN-9)"
        )
    return state
