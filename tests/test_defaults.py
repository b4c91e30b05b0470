"""Defaults of the schedules are the published constants, and every rate that SCH-2 allows is accepted."""

from __future__ import annotations

from math import cos, exp, pi

import pytest
import torch

from refdiff.schedule import CosineSchedule, LinearSchedule

END = torch.ones(1, dtype=torch.float64)


def test_linear_default_is_that_of_score_based_models() -> None:
    """SCH-3: beta from 0.1 to 20, as Song et al. 2021 have it: log alpha_bar(1) = -(0.1 + 20)/2."""
    assert LinearSchedule().log_alpha_bar(END).item() == pytest.approx(-10.05, rel=1e-15)


def test_cosine_default_is_that_of_improved_ddpm() -> None:
    """SCH-4: s = 0.008, as Nichol and Dhariwal 2021 have it."""
    want = (cos(pi / 2 * 0.508 / 1.008) / cos(pi / 2 * 0.008 / 1.008)) ** 2
    assert CosineSchedule().alpha_bar(0.5 * END).item() == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize("beta_max", [1e-300, 1e-3, 0.5, 1.0])
def test_any_rate_above_zero_is_accepted(beta_max: float) -> None:
    """SCH-2: the largest rate is above 0, however small: alpha_bar(1) = exp(-beta_max/2) from beta_min = 0."""
    assert LinearSchedule(beta_min=0.0, beta_max=beta_max).alpha_bar(END).item() == exp(-beta_max / 2)
