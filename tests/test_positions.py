"""refdiff.positions: what its samplers do by default."""

from __future__ import annotations

from dataclasses import dataclass

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
    assert SecondMoment(1, history=1).masses.tolist() == [1.0]
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


@dataclass(frozen=True)
class Levels:
    """A base sampler that returns these positions, each with the weight 1."""

    levels: tuple[float, ...]

    def __call__(self, n: int, *, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return them."""
        return torch.tensor(self.levels[:n], dtype=torch.float64), torch.ones(n, dtype=torch.float64)


def test_levels_of_a_density_are_mapped_by_its_quantiles() -> None:
    """TIM-5: of the masses 1/4 and 3/4 the quantile function is 2u up to u = 1/4, and then 1/2 + 2/3 (u - 1/4)."""
    levels = (0.0, 0.125, 0.25, 0.625, 0.8125)
    position, weight = Importance(torch.tensor([1.0, 3.0]), base=Levels(levels))(5)
    torch.testing.assert_close(
        position, torch.tensor([0.0, 0.25, 0.5, 0.75, 0.875], dtype=torch.float64), rtol=2.0**-50, atol=0.0
    )
    torch.testing.assert_close(
        weight, torch.tensor([2.0, 2.0, 2 / 3, 2 / 3, 2 / 3], dtype=torch.float64), rtol=2.0**-50, atol=0.0
    )


@pytest.mark.parametrize("cells", [3, 7, 10, 49, 1000])
def test_the_largest_level_is_in_the_last_cell(cells: int) -> None:
    """TIM-5: rounding of the sum of masses leaves no level without a cell."""
    masses = torch.linspace(1.0, 2.0, cells, dtype=torch.float64)
    position, _ = Importance(masses, base=Levels((1.0 - 2.0**-53, 1.0 - 2.0**-52)))(2)
    assert bool(((position >= 1.0 - 1.0 / cells) & (position < 1.0)).all())


def test_losses_of_0_leave_the_draws_even() -> None:
    """TIM-6: where every last loss is 0 no cell has more than another, and no mass is NaN."""
    sampler = SecondMoment(2, history=1)
    sampler.update(torch.tensor([0.25, 0.75]), torch.zeros(2))
    assert sampler.masses.tolist() == [0.5, 0.5]
