"""refdiff.times: ranges, strata, weights and the resampler."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refdiff.errors import ConfigError, DomainError
from refdiff.times import Continuous, Discrete, Importance, Sampler, SecondMoment, Stratified, Uniform

SAMPLERS: list[Sampler] = [
    Uniform(),
    Stratified(),
    Importance.of(lambda u: 0.1 + u),
    Importance(torch.tensor([1.0, 5.0, 2.0]), base=Stratified()),
    SecondMoment(7),
]


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (1e-3, 1.0), (0.3, 0.7), (1e-5, 0.9999)])
def test_range_is_half_open_in_every_dtype(dtype: torch.dtype, ends: tuple[float, float]) -> None:
    """TIM-1: [t_min, t_max) holds after rounding, for many n, of every sampler."""
    for sampler in SAMPLERS:
        times = Continuous(sampler=sampler, t_min=ends[0], t_max=ends[1], dtype=dtype)
        for n in (1, 2, 49, 98, 103, 4096):
            t, weight = times(n, generator=seeded(n))
            assert t.shape == weight.shape == (n,)
            assert t.dtype == dtype
            assert bool(((t.double() >= ends[0]) & (t.double() < ends[1])).all())
            assert bool(((weight > 0) & torch.isfinite(weight)).all())


@pytest.mark.parametrize("n", [1, 2, 3, 49, 98, 103, 1000, 1999])
def test_every_stratum_is_hit_once(n: int) -> None:
    """TIM-3: one position in each [i/n, (i + 1)/n), in an order that is not the strata's; k = 1..N are all hit."""
    positions, weight = Stratified()(n, generator=seeded())
    assert torch.equal((positions * n).long().sort().values, torch.arange(n))
    assert bool((weight == 1).all())
    assert n < 4 or not torch.equal(positions, positions.sort().values)
    k, _ = Discrete(steps=n, sampler=Stratified())(n, generator=seeded())
    assert torch.equal(k.sort().values, torch.arange(1, n + 1))


@given(
    masses=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=20),
    f=st.lists(st.floats(-5.0, 5.0), min_size=20, max_size=20),
)
def test_importance_is_unbiased_by_exact_sums(masses: list[float], f: list[float]) -> None:
    """TIM-5: sum over cells of probability times weight times f is the mean of f: no draws, 2^-45 for 20 terms."""
    sampler = Importance(torch.tensor(masses, dtype=torch.float64))
    values = torch.tensor(f[: len(masses)], dtype=torch.float64)
    # One draw in each cell tells its weight: stratified levels of equal probability mass.
    cells = len(masses)
    weights = (1.0 / cells) / sampler.masses
    found, drawn = sampler(256, generator=seeded())
    assert torch.allclose(drawn, weights[(found * cells).long()], rtol=2.0**-45, atol=0.0)
    mean = (sampler.masses * weights * values).sum()
    assert abs(mean - values.mean()) <= 2.0**-45 * values.abs().max()


def test_importance_inverts_its_distribution_function() -> None:
    """TIM-5: with one draw in each of n strata of probability, the share of draws in a cell is its mass, to 1/n."""
    sampler = Importance(torch.tensor([1.0, 5.0, 2.0, 0.1]), base=Stratified())
    positions, _ = sampler(10_000, generator=seeded())
    counts = torch.bincount((positions * 4).long(), minlength=4) / 10_000
    assert bool(((counts - sampler.masses).abs() <= 2e-4).all())


def _naive(losses: list[tuple[float, float]], cells: int, history: int) -> list[list[float]]:
    """Remember the last losses of each cell, one at a time."""
    kept: list[list[float]] = [[] for _ in range(cells)]
    for position, loss in losses:
        kept[int(position * cells)].append(loss)
    return [values[-history:] for values in kept]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.0, 0.999), st.floats(0.0, 9.0)), min_size=1, max_size=30), min_size=1, max_size=6
    )
)
def test_resampler_remembers_the_last(batches: list[list[tuple[float, float]]]) -> None:
    """TIM-6: updates in batches remember what updates one by one do, also where a batch meets a cell often."""
    sampler = SecondMoment(4, history=3)
    for batch in batches:
        positions, losses = (torch.tensor(column, dtype=torch.float64) for column in zip(*batch, strict=True))
        sampler.update(positions, losses)
    kept = _naive([pair for batch in batches for pair in batch], 4, 3)
    if all(len(values) == 3 for values in kept):
        roots = torch.tensor([(sum(x * x for x in values) / 3) ** 0.5 for values in kept], dtype=torch.float64)
        if float(roots.sum()) > 0.0:
            want = 0.999 * roots / roots.sum() + 0.001 / 4
            torch.testing.assert_close(sampler.masses, want, rtol=1e-12, atol=1e-15)
    else:
        assert sampler.masses.tolist() == [0.25] * 4


def test_resampler_adapts_and_comes_back() -> None:
    """TIM-6: a sampler that logs but never adapts, or is lost at a checkpoint, draws otherwise than this one."""
    sampler = SecondMoment(10)
    positions = torch.arange(10).repeat(10) / 10 + 0.05
    sampler.update(positions, positions**4)
    assert sampler.masses[9] > 15 * sampler.masses[4]
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    other = SecondMoment(10)
    other.load_state_dict(torch.load(file, weights_only=True))
    for drawn, again in zip(sampler(64, generator=seeded()), other(64, generator=seeded()), strict=True):
        assert torch.equal(drawn, again)
    assert not torch.equal(SecondMoment(10)(64, generator=seeded())[0], sampler(64, generator=seeded())[0])
    wrong: list[Any] = [{}, {"losses": torch.zeros(3, 10), "counts": torch.zeros(3)}, {"losses": 1, "counts": 2}]
    for state in wrong:
        with pytest.raises(ConfigError, match="TIM-6 wants a state of 10 cells"):
            other.load_state_dict(state)


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_position_leads_back_to_the_cell(steps: int) -> None:
    """TIM-6: the position of an index, or of a time, is in the cell that it was drawn from."""
    k = torch.arange(1, steps + 1)
    assert torch.equal((Discrete(steps=steps).position(k) * steps).long() + 1, k)
    times = Continuous(t_min=0.1, t_max=0.9, dtype=torch.float64)
    t, _ = times(1000, generator=seeded())
    again = times.position(t)
    assert bool(((again >= 0) & (again < 1)).all())
    torch.testing.assert_close(0.1 + 0.8 * again, t, rtol=2.0**-50, atol=0.0)


def test_generator_decides_everything() -> None:
    """The same generator state gives the same draws; another gives others."""
    for sampler in SAMPLERS:
        first, second, third = (Continuous(sampler=sampler)(32, generator=seeded(s))[0] for s in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, third)


def test_what_is_refused() -> None:
    """Empty ranges, empty chains, no times, masses that are not positive, losses that are not finite."""
    for ends in ((0.5, 0.5), (0.7, 0.3), (-0.1, 1.0), (0.0, 1.5)):
        with pytest.raises(DomainError, match="TIM-1 wants 0 <= t_min < t_max <= 1"):
            Continuous(t_min=ends[0], t_max=ends[1])
    with pytest.raises(DomainError, match=r"TIM-1 wants a number of torch.bfloat16"):
        Continuous(t_min=0.9985, t_max=0.999, dtype=torch.bfloat16)
    with pytest.raises(DomainError, match="TIM-1 wants n >= 1"):
        Continuous()(0)
    with pytest.raises(DomainError, match="TIM-1 wants N >= 1"):
        Discrete(steps=0)
    for masses in ([1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")]):
        with pytest.raises(DomainError, match="TIM-5 wants masses in"):
            Importance(torch.tensor(masses))
    with pytest.raises(DomainError, match="TIM-5 wants masses of shape"):
        Importance(torch.ones(0))
    sampler = SecondMoment(4)
    for positions, losses in (([0.5], [float("nan")]), ([0.5], [-1.0]), ([1.0], [1.0])):
        with pytest.raises(DomainError, match="TIM-6 wants"):
            sampler.update(torch.tensor(positions), torch.tensor(losses))
    assert sampler.masses.tolist() == [0.25] * 4
    for wrong in ({"cells": 0}, {"cells": 2, "history": 0}, {"cells": 2, "uniform": 0.0}):
        with pytest.raises(DomainError, match="TIM-6 wants"):
            SecondMoment(**wrong)
