"""The ends of ranges of times: of samplers, and of decays."""

from __future__ import annotations

from math import nan

import pytest
import torch

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.schedule import CosineSchedule, LinearSchedule, Schedule
from refdiff.steps import ddim_step
from refdiff.times import Continuous, Discrete


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("t_min", [0.0, 1e-3, 0.25, 0.3, 0.7])
def test_first_is_the_smallest_time(dtype: torch.dtype, t_min: float) -> None:
    """TIM-1: the time at position 0 is the smallest number of the dtype that is not below t_min."""
    first = Continuous(t_min=t_min, dtype=dtype).at(torch.zeros(1, dtype=torch.float64))
    assert float(torch.nextafter(first, -torch.ones_like(first))) < t_min <= float(first)


def test_the_last_time_has_a_position_below_one() -> None:
    """TIM-1: also where t_max - t_min and its neighbour round to one number, as they do from 3 ulp/4 to 1."""
    times = Continuous(t_min=3.0 * 2.0**-54, dtype=torch.float64)
    assert float(times.position(times.last[None])) == 1.0 - 2.0**-53


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()])
@pytest.mark.parametrize(
    ("s", "t", "says"),
    [
        (0.5, 1.25, r"t in \[s, 1\], got 1.25"),
        (0.5, 0.25, r"t in \[s, 1\], got 0.25"),
        (1.0, 1.0, r"s in \[0, 1\), got 1.0"),
        (-0.5, 0.5, r"s in \[0, 1\), got -0.5"),
    ],
)
def test_a_decay_outside_is_refused(schedule: Schedule, s: float, t: float, says: str) -> None:
    """MAR-6: 0 <= s < 1 and s <= t <= 1."""
    with pytest.raises(DomainError, match=rf"^expected {says} \(MAR-6\)$"):
        schedule.log_decay(t=torch.tensor([t]), s=torch.tensor([s]))


@pytest.mark.parametrize("process", [LinearSchedule(), DiscreteChain(betas=(0.1,) * 10)], ids=["schedule", "chain"])
def test_ddim_refuses_a_step_of_no_length(process: LinearSchedule | DiscreteChain) -> None:
    """SMP-3: s < t, and s = t is refused, in continuous time and on a chain."""
    t = torch.tensor([5]) if isinstance(process, DiscreteChain) else torch.tensor([0.5], dtype=torch.float64)
    x = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(DomainError, match=r"expected s < t.* \(SMP-3\)"):
        ddim_step(process, x_0_hat=x, eps_hat=x, t=t, s=t)


def test_the_first_time_has_the_position_0() -> None:
    """TIM-1: t_min is in the range, and t_max is not."""
    assert Continuous(t_min=0.25).position(torch.tensor([0.25, 0.625])).tolist() == [0.0, 0.5]


def test_a_range_may_hold_one_number() -> None:
    """TIM-1: of float32 there is one number in [1/2, 1/2 + 2^-24), and each draw is that."""
    times = Continuous(t_min=0.5, t_max=0.5 + 2.0**-24)
    assert times(3)[0].tolist() == [0.5, 0.5, 0.5]


def test_an_index_is_one_of_the_chain_where_nothing_can_be_checked() -> None:
    """TIM-1: under a transform a position outside [0, 1) gives an index from 1 to N, which a table has."""
    index = torch.func.vmap(Discrete(steps=4).at)(torch.tensor([nan, -1.0, 0.0, 0.99, 2.0], dtype=torch.float64))
    assert all(1 <= k <= 4 for k in index.tolist())
    assert index.tolist()[2:4] == [1, 4]
