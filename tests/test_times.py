"""refdiff.times and refdiff.positions: ranges, strata, weights, the resampler, and grids."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refdiff import positions as module
from refdiff.errors import ConfigError, DomainError
from refdiff.positions import Importance, PositionSampler, SecondMoment, Stratified, UniformPositions
from refdiff.times import Continuous, Discrete, TimeSampler

SAMPLERS: list[PositionSampler] = [
    UniformPositions(),
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


ENDS = (0.0, 2.0**-53, 0.5, 1.0 - 2.0**-53)
"""Levels u that a generator can draw: the first, the next, the middle and the last."""


def _planted(monkeypatch: pytest.MonkeyPatch, u: float) -> None:
    """Let every uniform draw be u."""
    monkeypatch.setattr(module, "_uniform", lambda n, generator: torch.full((n,), u, dtype=torch.float64))


def _outside(x: torch.Tensor, i: torch.Tensor, n: int) -> bool:
    """Say whether any x, float64, is outside [i/n, (i + 1)/n) exactly: 26 and 27 bits times n < 2^26 do not round."""
    head = (x.view(torch.int64) & -(2**27)).view(torch.float64)
    below, above = ((head * n - edge) + (x - head) * n for edge in (i, i + 1.0))
    return bool(((below < 0.0) | (above >= 0.0)).any())


@pytest.mark.parametrize("u", ENDS)
def test_no_level_leaves_its_stratum(monkeypatch: pytest.MonkeyPatch, u: float) -> None:
    """TIM-3: i/n <= position < (i + 1)/n of real numbers, for every n to 2000 and every i, u at both of its ends.

    (i + u)/n itself is too low at 1/3, which floats round down, and too high at u just below 1.
    """
    _planted(monkeypatch, u)
    for n in (*range(1, 2001), 2**20 + 7):
        positions = Stratified()(n, generator=seeded())[0].sort().values
        assert not _outside(positions, torch.arange(n, dtype=torch.float64), n), n
        if n < 200 or n > 2000:
            assert torch.equal(Discrete(steps=n, sampler=Stratified())(n)[0].sort().values, torch.arange(1, n + 1))


def test_the_oracle_of_strata_agrees_with_fractions() -> None:
    """TIM-3: what the test above asks agrees with fractions, one number to either side of each end."""
    for n in (1, 3, 49, 98, 103, 1999):
        for i in range(0, n, 7):
            end = torch.tensor(i / n, dtype=torch.float64)
            for x in (end.nextafter(torch.tensor(-1.0)), end, end.nextafter(torch.tensor(2.0))):
                inside = Fraction(i, n) <= Fraction(x.item()) < Fraction(i + 1, n)
                assert _outside(x, torch.tensor(float(i)), n) is not inside
    assert _outside(torch.tensor(1 / 3, dtype=torch.float64), torch.tensor(1.0), 3), "floats have 1/3 too low"
    top = torch.tensor((62 + ENDS[-1]) / 64, dtype=torch.float64)
    assert _outside(top, torch.tensor(62.0), 64), "a sum that rounds up is too high"


@pytest.mark.parametrize("u", ENDS)
@pytest.mark.parametrize("cells", [3, 49, 98, 1000])
def test_a_position_is_in_the_cell_it_was_drawn_from(monkeypatch: pytest.MonkeyPatch, cells: int, u: float) -> None:
    """TIM-5, TIM-6: at both ends of every cell the weight is that cell's, and the loss is remembered there."""
    _planted(monkeypatch, u)
    masses = torch.arange(1, cells + 1, dtype=torch.float64)
    positions, weights = Importance(masses, base=Stratified())(4 * cells, generator=seeded())
    cell = Discrete(steps=cells, sampler=lambda n, *, generator=None: (positions, weights))(1)[0]
    assert not _outside(positions, cell - 1.0, cells)
    torch.testing.assert_close(weights, (masses.sum() / cells / masses)[cell - 1], rtol=2.0**-45, atol=0.0)
    sampler = SecondMoment(cells, history=1)
    sampler.update(Stratified()(cells, generator=seeded())[0], torch.ones(cells))
    assert sampler.state_dict()["counts"].tolist() == [1] * cells


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
def test_resampler_stores_the_last_losses_of_each_cell(batches: list[list[tuple[float, float]]]) -> None:
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


def test_resampler_adapts_and_its_state_can_be_loaded() -> None:
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


def _filled() -> SecondMoment:
    sampler = SecondMoment(3, history=2)
    sampler.update(torch.tensor([0.1, 0.2, 0.5, 0.6, 0.7, 0.9]), torch.arange(1.0, 7.0))
    return sampler


ZEROS, ONES = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({}, "a state of 3 cells with 2 losses"),
        ({"losses": ZEROS}, "a state of 3 cells"),
        ({"losses": ZEROS, "counts": ONES, "seed": ONES}, "a state of 3 cells"),
        ({"losses": 1, "counts": 2}, "a state of 3 cells"),
        ({"losses": ZEROS[:2], "counts": ONES[:2]}, "a state of 3 cells"),
        ({"losses": ZEROS.half(), "counts": ONES}, r"a state of 3 cells .* got .*float16"),
        ({"losses": ZEROS.long(), "counts": ONES}, r"a state of 3 cells .* got .*int64"),
        ({"losses": ZEROS, "counts": ONES.double()}, r"a state of 3 cells .* got .*float64"),
        ({"losses": ZEROS, "counts": ONES.bool()}, r"a state of 3 cells .* got .*bool"),
        ({"losses": ZEROS + nan, "counts": ONES}, r"a state whose losses are in \[0, inf\), got .*nan"),
        ({"losses": ZEROS + inf, "counts": ONES}, r"a state whose losses are in \[0, inf\), got .*inf"),
        ({"losses": ZEROS - 1.0, "counts": ONES}, r"a state whose losses are in \[0, inf\), got .*-1"),
        ({"losses": ZEROS, "counts": -ONES}, "a state whose counts are 0 or more, got .*-1"),
    ],
)
def test_an_invalid_state_is_refused_and_changes_nothing(state: dict[str, Any], says: str) -> None:
    """TIM-6: sizes, dtypes and values are those that a `state_dict` has; one that is refused changes nothing."""
    sampler, before = _filled(), _filled().state_dict()
    with pytest.raises(ConfigError, match=rf"expected {says}.* \(TIM-6\)$"):
        sampler.load_state_dict(state)
    assert all(torch.equal(value, before[name]) for name, value in sampler.state_dict().items())


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-10, 1.0, 1e200, 1e307])
def test_only_the_ratio_of_losses_counts(scale: float) -> None:
    """TIM-6: losses whose squares are infinite, or 0, give the masses of the same losses near 1, and draws."""
    shape = torch.tensor([1.0, 3.0, 2.0, 9.0, 4.0, 4.0, 8.0, 1.0], dtype=torch.float64)
    losses = shape * scale
    sampler = SecondMoment(4, history=2)
    sampler.update(torch.arange(8) // 2 / 4 + 0.1, losses)
    root = (losses / losses.max()).reshape(4, 2).square().mean(1).sqrt()
    torch.testing.assert_close(sampler.masses, 0.999 * root / root.sum() + 0.001 / 4, rtol=2.0**-48, atol=0.0)
    positions, weights = sampler(64, generator=seeded())
    assert bool((torch.isfinite(positions) & torch.isfinite(weights) & (weights > 0.0)).all())


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 1e300, 4e307])
def test_only_the_ratio_of_masses_counts(scale: float) -> None:
    """TIM-5: masses whose sum is infinite, or that are subnormal, are those of 1, 2, 4, 1."""
    sampler = Importance(torch.tensor([1.0, 2.0, 4.0, 1.0], dtype=torch.float64) * scale)
    assert sampler.masses.tolist() == [0.125, 0.25, 0.5, 0.125]
    assert sorted(set(sampler(64, generator=seeded())[1].tolist())) == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_time_outside_has_no_position(device: str) -> None:
    """TIM-1: refused on the CPU with clause, range and time; where no value can be looked at, nothing is raised."""
    calls: list[tuple[Callable[[torch.Tensor], torch.Tensor], list[torch.Tensor], str]] = [
        (
            Continuous(t_min=0.1, t_max=0.9).position,
            [torch.tensor([0.5, bad]) for bad in (0.0999, 0.9001, -1.0, nan, inf)],
            r"expected t in \[0.1, 0.9\), got (0.099|0.900|-1.0|nan|inf)\d* \(TIM-1\)$",
        ),
        (Continuous(t_max=1.0).position, [torch.tensor([1.0])], r"expected t in \[0.0, 1.0\), got 1.0.* \(TIM-1\)$"),
        (
            Discrete(steps=10).position,
            [torch.tensor([1, bad]) for bad in (0, 11, -1)],
            r"expected k in 1\.\.10, got (0|11|-1) \(TIM-1\)$",
        ),
    ]
    for position, bad, says in calls:
        for times in bad:
            if device == "cpu":
                with pytest.raises(DomainError, match=says):
                    position(times)
                outside = torch.func.vmap(position)(times[:, None])
                assert outside.isnan().flatten().tolist() == [False] * (len(times) - 1) + [True]
            else:
                assert position(times.to(device)).dtype == torch.float64


@pytest.mark.usefixtures("unhooked")
def test_a_density_of_another_shape_is_refused() -> None:
    """TIM-5: one number for each place; a scalar, half of them, or no tensor at all is said so."""
    says = r"expected a density that returns values of shape \(8,\), got"
    densities: list[tuple[Callable[[torch.Tensor], Any], str]] = [
        (lambda u: u.sum(), r"shape \(\)"),
        (lambda u: u[::2], r"shape \(4,\)"),
        (lambda u: u[:, None], r"shape \(8, 1\)"),
        (lambda u: 1.0, "float"),
    ]
    for density, got in densities:
        with pytest.raises(DomainError, match=rf"{says} {got} \(TIM-5\)$"):
            Importance.of(density, cells=8)
    with pytest.raises(DomainError, match=r"expected cells >= 1, got 0.* \(TIM-5\)$"):
        Importance.of(lambda u: u, cells=0)


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


TIMES: list[TimeSampler] = [Continuous(t_min=0.1, t_max=0.9, dtype=torch.float64), Discrete(steps=7)]


@pytest.mark.parametrize("times", TIMES)
def test_times_at_positions_invert_positions_of_times(times: TimeSampler) -> None:
    """TIM-1: `at` inverts `position`, in any shape; positions outside [0, 1) are refused."""
    drawn, _ = times(1000, generator=seeded())
    again = times.at(times.position(drawn).reshape(10, 100)).flatten()
    assert again.dtype == drawn.dtype
    torch.testing.assert_close(again, drawn, rtol=2.0**-50 if drawn.is_floating_point() else 0.0, atol=0.0)
    for bad in (-1e-9, 1.0, nan):
        with pytest.raises(DomainError, match=r"^expected a position in \[0, 1\), got .* \(TIM-1\)$"):
            times.at(torch.tensor([0.5, bad], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_last_is_the_largest_time(dtype: torch.dtype) -> None:
    """TIM-1: the time at the last position, the largest number of the dtype below t_max; N for a chain."""
    end = torch.tensor(ENDS[-1], dtype=torch.float64)
    for t_max in (0.3, 0.75, 1.0):
        times = Continuous(t_max=t_max, dtype=dtype)
        assert times.last.dtype == dtype
        assert times.at(end) == times.last
        assert float(times.last) < t_max <= float(times.last.double()) * (1.0 + torch.finfo(dtype).eps)
    assert Discrete(steps=7).at(end) == Discrete(steps=7).last == 7


def test_times_fall_to_zero_or_to_their_start() -> None:
    """SMP-6: n + 1 times, evenly spaced but for a last one moved to 0; distinct indices of a chain."""
    times = Continuous(t_min=0.25, t_max=0.75)
    assert times.falling(2) == [0.75, 0.5, 0.0]
    assert times.falling(2, to_zero=False) == [0.75, 0.5, 0.25]
    chain = Discrete(steps=10)
    assert chain.falling(4) == [10, 8, 5, 3, 0]
    assert chain.falling(4, to_zero=False) == [10, 8, 5, 3, 1]
    assert chain.falling(100) == list(range(10, -1, -1))


@pytest.mark.parametrize("kind", [Continuous, Discrete])
def test_times_lie_on_the_device_given(kind: Any) -> None:
    """TIM-1: times, weights and the last time, whatever the device of the generator."""
    times = kind(device=torch.device("meta"), **({"steps": 5} if kind is Discrete else {}))
    assert {x.device.type for x in (*times(4, generator=seeded()), times.last)} == {"meta"}


def test_empty_ranges_and_counts_are_refused() -> None:
    """TIM-1: ranges without a number of the dtype, chains of no step, and draws of no time."""
    for ends in ((0.5, 0.5), (0.7, 0.3), (-0.1, 1.0), (0.0, 1.5)):
        with pytest.raises(DomainError, match=r"expected 0 <= t_min < t_max <= 1.* \(TIM-1\)$"):
            Continuous(t_min=ends[0], t_max=ends[1])
    with pytest.raises(DomainError, match=r"expected a number of torch.bfloat16.* \(TIM-1\)$"):
        Continuous(t_min=0.9985, t_max=0.999, dtype=torch.bfloat16)
    with pytest.raises(DomainError, match=r"expected n >= 1.* \(TIM-1\)$"):
        Continuous()(0)
    with pytest.raises(DomainError, match=r"expected N >= 1.* \(TIM-1\)$"):
        Discrete(steps=0)
    for times in TIMES:
        with pytest.raises(DomainError, match=r"expected n >= 1.* \(TIM-1\)$"):
            times.falling(0)


def test_masses_without_a_weight_are_refused() -> None:
    """TIM-5: masses that are not positive and finite, too small beside the largest, or none."""
    for masses in ([1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")]):
        with pytest.raises(DomainError, match=r"expected masses in.* \(TIM-5\)$"):
            Importance(torch.tensor(masses))
    with pytest.raises(DomainError, match=r"expected relative masses of at least 2\.2e-308.* \(TIM-5\)$"):
        Importance(torch.tensor([1e200, 1e-200], dtype=torch.float64))
    with pytest.raises(DomainError, match=r"expected masses of shape.* \(TIM-5\)$"):
        Importance(torch.ones(0))


def test_losses_and_sizes_of_the_resampler_are_checked() -> None:
    """TIM-6: losses that are not finite or negative, positions outside [0, 1), and sizes below 1."""
    sampler = SecondMoment(4)
    for positions, losses in (([0.5], [float("nan")]), ([0.5], [-1.0]), ([1.0], [1.0])):
        with pytest.raises(DomainError, match=r"\(TIM-6\)$"):
            sampler.update(torch.tensor(positions), torch.tensor(losses))
    assert sampler.masses.tolist() == [0.25] * 4
    for wrong in ({"cells": 0}, {"cells": 2, "history": 0}, {"cells": 2, "uniform": 0.0}):
        with pytest.raises(DomainError, match=r"\(TIM-6\)$"):
            SecondMoment(**wrong)
