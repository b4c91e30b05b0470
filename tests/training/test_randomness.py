"""Every draw of a run is a function of (seed, stream, step, shard), and of nothing else (TRN-9)."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from refdiff.errors import DomainError
from refdiff.training.config import BatchConfig, Config, Precision, RuntimeConfig, TimesConfig
from refdiff.training.data import Examples, Order
from refdiff.training.distributed import World
from refdiff.training.randomness import Stream, generator, number, seed_default
from refdiff.training.step import DTYPES, Loop

from . import runs

SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(0, 2**29 - 1)
STREAMS: tuple[Stream, ...] = get_args(Stream)
CPU = World(device=torch.device("cpu"))
TIMES = {
    "uniform": TimesConfig(sampler="uniform"),
    "stratified": TimesConfig(sampler="stratified"),
    "importance": TimesConfig(sampler="importance", masses=(1.0, 2.0, 3.0)),
    "second_moment": TimesConfig(sampler="second_moment", cells=4, history=2),
}


def _drawn(made: Generator) -> list[float]:
    return torch.rand(4, generator=made, dtype=torch.float64).tolist()


@given(SEEDS, st.sampled_from(STREAMS), COUNTS, st.integers(0, 100))
def test_generator_is_a_function_of_its_use(seed: int, stream: Stream, count: int, others: int) -> None:
    """TRN-9: whatever else was drawn before, of this generator's making or of torch's own."""
    first = _drawn(generator(seed, stream, count))
    torch.rand(others)
    _drawn(generator(seed, stream, count + 1))
    assert _drawn(generator(seed, stream, count)) == first


def _before(block: list[int]) -> list[int]:
    """Return the counter that Philox-4x64-10 with key 0 maps to a block: its rounds undone, last first."""
    m, w, most = (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B), 2**64
    for i in reversed(range(10)):
        a = block[3] * pow(m[0], -1, most) % most
        c = block[1] * pow(m[1], -1, most) % most
        b = block[0] ^ (m[1] * c >> 64) ^ (w[0] * i % most)
        d = block[2] ^ (m[0] * a >> 64) ^ (w[1] * i % most)
        block = [a, b, c, d]
    return block


@given(SEEDS, st.sampled_from(STREAMS), COUNTS)
def test_different_uses_have_different_states(seed: int, stream: Stream, count: int) -> None:
    """TRN-9: the state of a CPU generator tells its seed, stream and count; so does the seed of an accelerator's.

    The words 8 to 15 of 624 suffice. What can be read back from the state of every use is the same of no two.
    """
    words = generator(seed, stream, count).get_state().numpy()[24 : 24 + 624 * 8].view(np.uint64)
    second = words[8:16].astype(np.uint32).view(np.uint64)
    place = STREAMS.index(stream)
    assert _before([int(word) for word in second]) == [2, count, place, seed]
    name = number(seed, stream, count)
    assert (name >> 32, (name >> 29) % 8, name % 2**29) == (seed, place, count)


def test_streams_that_collided_in_32_bits() -> None:
    """TRN-9: noise of use 2,149,850 and times of use 0 of seed 69 were one draw while 32 bits were all they had."""
    assert _drawn(generator(69, "noise", 2_149_850)) != _drawn(generator(69, "times", 0))


@given(SEEDS, st.sampled_from(STREAMS), COUNTS, COUNTS)
def test_uses_draw_different_numbers(seed: int, stream: Stream, one: int, other: int) -> None:
    """TRN-9: no two counts of a stream share their draws."""
    assume(one != other)
    assert _drawn(generator(seed, stream, one)) != _drawn(generator(seed, stream, other))


@given(SEEDS, COUNTS)
def test_streams_draw_different_numbers(seed: int, count: int) -> None:
    """TRN-9: no two streams share their draws."""
    drawn = [_drawn(generator(seed, stream, count)) for stream in STREAMS]
    assert all(one != other for one, other in combinations(drawn, 2))


@given(SEEDS, SEEDS, st.sampled_from(STREAMS), COUNTS)
def test_seeds_draw_different_numbers(one: int, other: int, stream: Stream, count: int) -> None:
    """TRN-9: no two seeds share their draws, neighbours neither."""
    assume(one != other)
    drawn = [_drawn(generator(seed, stream, count)) for seed in (one, other, (one + 1) % 2**32)]
    assert drawn[0] not in drawn[1:]


@given(SEEDS, st.integers(1, 2**31 - 1))
def test_torch_uses_32_bits_of_a_seed(low: int, high: int) -> None:
    """Why the state is written: on the CPU seeds that differ in the high bits alone draw the same numbers."""
    plain, lifted = Generator().manual_seed(low), Generator().manual_seed((high << 32) | low)
    assert _drawn(plain) == _drawn(lifted)


@given(SEEDS, st.sampled_from(STREAMS), COUNTS)
def test_the_state_is_that_of_a_mersenne_twister(seed: int, stream: Stream, count: int) -> None:
    """TRN-9: torch draws from the words that were written what NumPy draws from them."""
    made = generator(seed, stream, count)
    words = made.get_state().numpy()[24 : 24 + 624 * 8].view(np.uint64).astype(np.uint32)
    twister = np.random.MT19937(0)
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    wanted = twister.random_raw(3) % 2**31  # int32 draws leave the sign bit out
    assert torch.empty(3, dtype=torch.int32).random_(generator=made).tolist() == wanted.tolist()


def test_seed_default_seeds_the_default_generator() -> None:
    """TRN-9: what draws from torch's own generator, as dropout does, draws a use of its stream."""
    with torch.random.fork_rng():
        seed_default(3, "dropout", 5)
        drawn = torch.rand(4, dtype=torch.float64).tolist()
    assert drawn == _drawn(generator(3, "dropout", 5))


@pytest.mark.parametrize(("seed", "count"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**29)])
def test_out_of_range_uses_are_refused(seed: int, count: int) -> None:
    """TRN-9: where 64 bits do not tell uses apart there are none."""
    with pytest.raises(DomainError, match="TRN-9"):
        generator(seed, "noise", count)


def _loop(
    seed: int = 0,
    *,
    shards: int = 4,
    step: int = 0,
    times: str = "stratified",
    precision: Precision = "float32",
    examples: int = 40,
) -> Loop:
    """Return a loop of batches of 16 over images that are all different."""
    how = Config(
        seed=seed,
        batch=BatchConfig(size=16, shards=shards),
        times=TIMES[times],
        runtime=RuntimeConfig(precision=precision),
    )
    raw = np.arange(examples * 4, dtype=np.float32).reshape(examples, 1, 2, 2)
    data = Examples(raw, np.arange(examples), 0.0, float(raw.max()))
    built = Loop.build(how, data, world=CPU, factory=runs.Affine)
    built.state.step = step
    return built


def _bits(drawn: tuple[Tensor, ...]) -> list[bytes]:
    return [part.numpy().tobytes() for part in drawn]


@st.composite
def _groupings(draw: st.DrawFn) -> tuple[int, list[range]]:
    """Draw a number of shards of a batch of 16, and a cut of them into passes."""
    shards = draw(st.sampled_from([1, 2, 4, 8, 16]))
    cuts = sorted({0, shards, *draw(st.lists(st.integers(0, shards), max_size=4))})
    return shards, [range(a, b) for a, b in pairwise(cuts)]


@settings(max_examples=50)
@given(SEEDS, st.integers(0, 10**6), _groupings(), st.sampled_from(sorted(TIMES)), st.sampled_from([*DTYPES]))
def test_draws_do_not_depend_on_how_shards_are_grouped(
    seed: int, step: int, grouping: tuple[int, list[range]], times: str, precision: Precision
) -> None:
    """TRN-9: all shards at once, or in any passes: x_0, eps, t and weight are the same to the bit."""
    shards, passes = grouping
    loop = _loop(seed, shards=shards, step=step, times=times, precision=precision)
    whole = _bits(loop.draw(range(shards)))
    parts = zip(*(loop.draw(part) for part in passes), strict=True)
    assert _bits(tuple(torch.cat(part) for part in parts)) == whole


@settings(max_examples=50)
@given(SEEDS, st.integers(0, 10**6), st.sampled_from(sorted(TIMES)))
def test_draws_differ_between_shards_steps_and_seeds(seed: int, step: int, times: str) -> None:
    """TRN-9: noise and times of two shards, of two steps, of two seeds share no number."""
    drawn = [
        part
        for loop in (_loop(seed, step=step, times=times), _loop(seed, step=step + 1, times=times))
        for part in (loop.draw([shard]) for shard in range(4))
    ]
    drawn.append(_loop((seed + 1) % 2**32, step=step, times=times).draw([0]))
    for place in (1, 2):
        assert len({part[place].numpy().tobytes() for part in drawn}) == len(drawn)
    rows = {row.numpy().tobytes() for part in drawn for row in part[1]}
    assert len(rows) == 4 * len(drawn)


def test_weights_are_those_of_the_times() -> None:
    """TRN-9: a shard's times are drawn by itself, so that each has one in each of its strata."""
    loop = _loop(shards=2)
    for shard in range(2):
        position = loop.state.times.position(loop.draw([shard])[2])
        assert sorted((position * 8).long().tolist()) == list(range(8))


@settings(max_examples=50)
@given(SEEDS, st.integers(1, 60), st.sampled_from([(1, 1), (6, 3), (16, 4), (7, 7), (64, 2)]))
def test_each_epoch_visits_every_example_once(seed: int, examples: int, batch: tuple[int, int]) -> None:
    """TRN-9: shard after shard and step after step, also where a batch straddles epochs, or is several."""
    size, shards = batch
    order = Order(seed, examples, size, shards)
    steps = range(-(-3 * examples // size))
    visited = np.concatenate([order.rows(step, shard) for step in steps for shard in range(shards)])
    for epoch in range(3):
        assert sorted(visited[epoch * examples : (epoch + 1) * examples]) == list(range(examples))


@pytest.mark.parametrize("other", [(0, 1), (1, 0)], ids=["epoch", "seed"])
def test_epochs_and_seeds_have_their_own_orders(other: tuple[int, int]) -> None:
    """TRN-9: one of 40! orders each."""
    seed, epoch = other
    assert Order(0, 40, 40, 1).rows(0, 0).tolist() != Order(seed, 40, 40, 1).rows(epoch, 0).tolist()


@given(SEEDS, st.integers(0, 1000), st.sampled_from([1, 2, 4, 8]))
def test_the_order_does_not_depend_on_the_shards(seed: int, step: int, shards: int) -> None:
    """TRN-10: a batch holds the same examples in the same places, however it is dealt."""
    dealt = Order(seed, 40, 16, shards)
    rows = np.concatenate([dealt.rows(step, shard) for shard in range(shards)])
    assert rows.tolist() == Order(seed, 40, 16, 1).rows(step, 0).tolist()
