"""refdiff.positions: what its samplers do by default."""

from __future__ import annotations

import torch

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
