"""refdiff.times: the numbers of a dtype at the ends of a range of times."""

from __future__ import annotations

import pytest
import torch

from refdiff.times import Continuous


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("t_min", [0.0, 1e-3, 0.25, 0.3, 0.7])
def test_first_is_the_smallest_time(dtype: torch.dtype, t_min: float) -> None:
    """TIM-1: the time at position 0 is the smallest number of the dtype that is not below t_min."""
    first = Continuous(t_min=t_min, dtype=dtype).at(torch.zeros(1, dtype=torch.float64))
    assert float(torch.nextafter(first, -torch.ones_like(first))) < t_min <= float(first)
