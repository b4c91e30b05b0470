"""`RateSchedule.scales` against `alpha` and `sigma`."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from refdiff.errors import DomainError
from refdiff.schedule import CosineSchedule, LinearSchedule
from tests.test_schedule import DTYPES, of_every_schedule


@of_every_schedule
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scales_are_alpha_and_sigma(schedule: LinearSchedule | CosineSchedule, dtype: torch.dtype) -> None:
    """MAR-1, MAR-2: to the bit, their slopes too, at the ends and for no times at all; and the same is refused."""
    drawn = torch.rand(100, generator=torch.Generator().manual_seed(0))
    times = torch.cat([drawn, torch.tensor([0.0, 1.0, 1e-7])]).to(dtype)
    for t in (times, times[:0], times[0], times.clone().requires_grad_()):
        scales, apart = schedule.scales(t), (schedule.alpha(t), schedule.sigma(t))
        for got, wanted in zip(scales, apart, strict=True):
            assert got.dtype == dtype
            assert torch.equal(got, wanted)
            assert torch.equal(got.signbit(), wanted.signbit())
            if t.requires_grad:
                (slope,), (other,) = (torch.autograd.grad(value.double().sum(), t) for value in (got, wanted))
                assert torch.equal(slope, other)
    for wrong in (-1e-3, 1.01, nan, inf):
        with pytest.raises(DomainError, match=r"expected t in \[0, 1\], got \S+ \(MAR-1\)"):
            schedule.scales(torch.tensor([0.5, wrong], dtype=dtype))
    with pytest.raises(DomainError, match="MAR-1"):
        schedule.scales(torch.tensor([1]))
