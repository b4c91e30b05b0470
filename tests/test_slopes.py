"""Derivatives of the coefficients of transitions, by automatic differentiation, against their closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
