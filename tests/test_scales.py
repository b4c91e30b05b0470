"""The faster forms of a schedule, against those that they stand for."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from refdiff.errors import DomainError
from refdiff.schedule import CosineSchedule, LinearSchedule
from tests.test_schedule import DTYPES, SCHEDULES, of_every_schedule


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


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_form_for_s_0_is_that_of_the_decay(schedule: LinearSchedule | CosineSchedule) -> None:
    """SCH-3, SCH-4: log alpha_bar, which has a faster form, is log_decay from 0, to the bit; at all scales of t."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(4096, generator=generator, dtype=torch.float64)
    t = torch.cat([drawn, torch.logspace(-300.0, 0.0, 1024, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0])])
    assert torch.equal(schedule.log_alpha_bar(t), schedule.log_decay(t=t, s=torch.zeros_like(t)))
