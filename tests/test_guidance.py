"""refdiff.guidance: one formula for every prediction."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch
from torch import Tensor

from refdiff import CosineSchedule, DomainError, convert, guide
from refdiff.parameterization import Parameterization

PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")


def drawn(seed: int) -> Tensor:
    """Return numbers of a batch of 5."""
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("to", PREDICTIONS)
@pytest.mark.parametrize("source", PREDICTIONS)
def test_guidance_and_conversion_commute(source: Parameterization, to: Parameterization) -> None:
    """SMP-9: guided and converted is converted and guided, since conversions are affine and the weights sum to 1."""
    process, t, x_t = CosineSchedule(), torch.linspace(0.1, 0.9, 5, dtype=torch.float64), drawn(0)
    one, other = drawn(1), drawn(2)

    def converted(value: Tensor) -> Tensor:
        return convert(process, value, x_t, t, source=source, to=to)

    before = guide(lambda _x, _t: one, lambda _x, _t: other, 2.5)(x_t, t)
    after = guide(lambda _x, _t: converted(one), lambda _x, _t: converted(other), 2.5)(x_t, t)
    # A few roundings of numbers up to 1e3, which a division by alpha(0.9)^2 = 0.02 magnifies.
    torch.testing.assert_close(converted(before), after, rtol=1e-11, atol=1e-11)


def test_ends_evaluate_one_denoiser() -> None:
    """SMP-9: 1 is the conditional denoiser and 0 the other, to the bit, without a call of the one left out."""

    def refused(_x: Tensor, _t: Tensor) -> Tensor:
        raise AssertionError

    x, t = drawn(0), torch.ones(5)
    assert torch.equal(guide(lambda x, _: x / 3.0, refused, 1.0)(x, t), x / 3.0)
    assert torch.equal(guide(refused, lambda x, _: x / 3.0, 0.0)(x, t), x / 3.0)


@pytest.mark.parametrize("guidance", [-1.0, 0.5, 2.0, 7.5])
def test_guidance_is_one_more_than_the_factor_of_the_paper(guidance: float) -> None:
    """SMP-9: (1 + w') conditional - w' unconditional, of Ho & Salimans, with w' = guidance - 1."""
    one, other, w = drawn(1), drawn(2), guidance - 1.0
    got = guide(lambda _x, _t: one, lambda _x, _t: other, guidance)(drawn(0), torch.ones(5))
    torch.testing.assert_close(got, (1.0 + w) * one - w * other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("guidance", [nan, inf])
def test_guidance_that_is_not_finite_is_refused(guidance: float) -> None:
    """SMP-9: in one sentence."""
    with pytest.raises(DomainError, match=r"^expected a finite guidance, got (nan|inf) \(SMP-9\)$"):
        guide(lambda x, _: x, lambda x, _: x, guidance)
