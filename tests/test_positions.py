"""refdiff.positions: what its samplers do by default."""

from __future__ import annotations

import pytest
import torch

from refdiff.errors import DomainError
from refdiff.positions import Importance, SecondMoment


def test_a_density_is_taken_at_the_middles_of_1024_cells() -> None:
    """TIM-5: by default 1024 cells, each with the share of the density at its middle."""
    middles = (2.0 * torch.arange(1024, dtype=torch.float64) + 1.0) / 2048.0
    sampler = Importance.of(lambda u: 1.0 + u)
    torch.testing.assert_close(sampler.masses, (1.0 + middles) / (1.5 * 1024.0), rtol=2.0**-50, atol=0.0)


def test_the_resampler_waits_for_ten_losses_of_each_cell() -> None:
    """TIM-6: by default the masses are even until each cell has 10 losses, and 0.1 % of the draws stay even."""
    sampler, losses = SecondMoment(2), torch.tensor([1.0, 3.0], dtype=torch.float64)
    for _ in range(9):
        sampler.update(torch.tensor([0.25, 0.75]), losses)
        assert sampler.masses.tolist() == [0.5, 0.5]
    sampler.update(torch.tensor([0.25]), losses[:1])
    assert sampler.masses.tolist() == [0.5, 0.5]
    sampler.update(torch.tensor([0.75]), losses[1:])
    torch.testing.assert_close(sampler.masses, 0.999 * losses / 4.0 + 0.0005, rtol=2.0**-50, atol=0.0)


def test_one_cell_and_even_draws_are_in_the_domain() -> None:
    """TIM-5, TIM-6: a density of one cell is uniform, and so is a resampler whose draws are all even."""
    assert Importance.of(lambda u: 3.0 + u, cells=1).masses.tolist() == [1.0]
    sampler = SecondMoment(2, history=1, uniform=1.0)
    sampler.update(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 3.0]))
    assert sampler.masses.tolist() == [0.5, 0.5]
    with pytest.raises(DomainError, match=r"expected a uniform fraction in \(0, 1\], got 1.5"):
        SecondMoment(2, uniform=1.5)


def test_losses_of_a_batch_only() -> None:
    """TIM-6: a single number, tables, and losses of another shape than their positions are refused."""
    sampler = SecondMoment(2)
    one = torch.tensor(0.5)
    for positions, losses in ((one, one), (one.expand(2, 2), one.expand(2, 2)), (one.expand(2), one.expand(3))):
        with pytest.raises(DomainError, match=r"expected positions and losses of one shape \(n,\)"):
            sampler.update(positions, losses)
    with pytest.raises(DomainError, match=r"expected positions in \[0, 1\), got \[-0.5"):
        sampler.update(torch.tensor([-0.5]), torch.tensor([1.0]))


def test_the_state_of_a_new_resampler_is_loaded() -> None:
    """TIM-6: counts of 0 are those at the start."""
    sampler = SecondMoment(2)
    sampler.load_state_dict(SecondMoment(2).state_dict())
    assert sampler.state_dict()["counts"].tolist() == [0, 0]
