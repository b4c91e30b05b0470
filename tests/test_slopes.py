"""Derivatives of the coefficients of transitions, by automatic differentiation, against their closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from refdiff.derived import RateSchedule
from refdiff.marginal import transition
from refdiff.schedule import CosineSchedule, LinearSchedule

PAIR = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3)


@given(pair=PAIR, schedule=st.sampled_from([LinearSchedule(), CosineSchedule()]))
def test_slopes_of_a_transition(pair: tuple[float, float], schedule: LinearSchedule | CosineSchedule) -> None:
    """MAR-6: with a = alpha_t/alpha_s, 2 sigma d sigma/dt = beta_t a^2 and 2 da/dt = -beta_t a; in s, the opposite."""
    s, t = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in sorted(pair))
    q = transition(schedule, t=t, s=s)
    of_sigma = torch.autograd.grad(q.sigma.sum(), (t, s))
    of_alpha = torch.autograd.grad(q.alpha.sum(), (t, s))
    a, sigma = q.alpha.item(), q.sigma.item()
    for time, sign, by_sigma, by_alpha in zip((t, s), (1.0, -1.0), of_sigma, of_alpha, strict=True):
        beta = sign * schedule.beta(time).item()
        # Ratios of alpha lose up to 1e-12 near the end of the cosine.
        assert 2.0 * sigma * by_sigma.item() == pytest.approx(beta * a**2, rel=1e-9)
        assert 2.0 * by_alpha.item() == pytest.approx(-beta * a, rel=1e-9)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Blowing(RateSchedule):
    """beta = 1/(2 sqrt(1 - t)), which is infinite at t = 1, where alpha is not 0."""

    def _beta(self, t: Tensor) -> Tensor:
        return 0.5 / torch.sqrt(1.0 - t)

    def _beta_slope(self, t: Tensor) -> Tensor:
        return 0.25 * (1.0 - t) ** -1.5

    def _decay(self, s: Tensor, t: Tensor) -> Tensor:
        return torch.sqrt(1.0 - t) - torch.sqrt(1.0 - s)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        raise NotImplementedError


def test_alpha_falls_without_bound_where_the_rate_is_infinite() -> None:
    """MAR-1: d alpha/dt = -beta alpha/2 is -inf, and not +inf, where beta is infinite and alpha is above 0."""
    t = torch.tensor([0.75, 1.0], dtype=torch.float64, requires_grad=True)
    alpha = Blowing().alpha(t)
    (slope,) = torch.autograd.grad(alpha.sum(), t)
    assert alpha[1].item() == pytest.approx(exp(-0.5))
    assert slope[0].item() == pytest.approx(-0.5 * alpha[0].item())
    assert slope[1].item() == -inf
