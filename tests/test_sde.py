"""refdiff.sde: drift, diffusion, reversal and flow."""

from __future__ import annotations

import pytest
import torch
from torch.func import vmap

from refdiff import CosineSchedule, LinearSchedule, diffusion_coefficient, drift, probability_flow, reverse_drift
from refdiff.errors import DomainError
from refdiff.schedule import Schedule

SCHEDULES: list[Schedule] = [LinearSchedule(), LinearSchedule(beta_min=0.0, beta_max=12.0), CosineSchedule()]
TIMES = torch.tensor([0.0, 1e-6, 0.25, 0.875], dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("event", [(), (3,), (2, 1, 2)])
def test_variance_is_preserved(schedule: Schedule, event: tuple[int, ...]) -> None:
    """SDE-3: f = -g^2 x/2 for data of any rank: three roundings of each side, 4 ulps."""
    x = torch.linspace(-3.0, 3.0, 4, dtype=torch.float64).reshape(-1, *(1,) * len(event)).expand(4, *event)
    g = diffusion_coefficient(schedule, TIMES).reshape(-1, *(1,) * len(event))
    torch.testing.assert_close(drift(schedule, x, TIMES), -0.5 * g**2 * x, rtol=2.0**-50, atol=0.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_reversal_is_twice_the_flow_less_the_drift(schedule: Schedule) -> None:
    """SDE-6, SDE-7: f - g^2 s = 2 (f - g^2 s/2) - f, to 4 ulps of the largest term."""
    generator = torch.Generator().manual_seed(0)
    x, score = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    forward, both = drift(schedule, x, TIMES), reverse_drift(schedule, x, score, TIMES)
    size = forward.abs() + 2.0 * probability_flow(schedule, x, score, TIMES).abs()
    assert bool(
        ((2.0 * probability_flow(schedule, x, score, TIMES) - forward - both).abs() <= 2.0**-50 * (size + 1e-300)).all()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_that_of_the_data(dtype: torch.dtype) -> None:
    """Results have the dtype of x, and g that of t."""
    x, t = torch.ones(2, 3, dtype=dtype), torch.full((2,), 0.5, dtype=dtype)
    for made in (
        drift(SCHEDULES[0], x, t),
        probability_flow(SCHEDULES[0], x, x, t),
        reverse_drift(SCHEDULES[0], x, x, t),
    ):
        assert made.dtype == dtype
    assert diffusion_coefficient(SCHEDULES[0], t).dtype == dtype


def test_end_of_cosine_is_refused() -> None:
    """Where the rate is infinite there is no drift: an error in eager code, NaN where none can be raised."""
    x, t = torch.ones(2, 3), torch.tensor([0.5, 1.0])
    for call in (drift, lambda s, x, t: probability_flow(s, x, x, t), lambda s, x, t: reverse_drift(s, x, x, t)):
        with pytest.raises(DomainError, match=r"expected t with a finite beta, got 1.0 \(SDE-\d\)$"):
            call(CosineSchedule(), x, t)
    made = vmap(lambda t: drift(CosineSchedule(), torch.ones(1, 3), t[None]))(t)
    assert made[0].isfinite().all()
    assert made[1].isnan().all()
    assert diffusion_coefficient(CosineSchedule(), t)[1] == float("inf")


@pytest.mark.usefixtures("unhooked")
def test_mismatched_shapes_are_refused() -> None:
    """X and score are of one shape, t of one number for each example."""
    with pytest.raises(DomainError, match=r"expected x and score of one shape.* \(SDE-7\)$"):
        probability_flow(SCHEDULES[0], torch.ones(2, 3), torch.ones(2, 2), torch.ones(2))
    with pytest.raises(DomainError, match="NOT-2"):
        drift(SCHEDULES[0], torch.ones(2, 3), torch.ones(3))


def test_slopes_in_x_are_exact() -> None:
    """D f/dx = -beta/2."""
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(drift(SCHEDULES[0], x, TIMES).sum(), x)
    torch.testing.assert_close(slope, -0.5 * SCHEDULES[0].beta(TIMES), rtol=2.0**-51, atol=0.0)
