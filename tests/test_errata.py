"""spec/errata.md: what it says of optimizers, time embeddings, sums and orders, computed."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from refdiff.sampling import sampler_named
from refdiff.schedule import LinearSchedule
from refdiff.training import build, config, generate

FACTOR = 1024.0
"""The size of an event, a power of two: multiplying by it rounds nothing."""


def _trained(factor: float, descent: Any, **options: Any) -> torch.Tensor:
    """Return the weights after 50 steps on a loss that is multiplied by a factor."""
    drawn = torch.Generator().manual_seed(0)
    x, y = (torch.randn(32, 8, generator=drawn) for _ in range(2))
    weights = nn.Parameter(torch.randn(8, 8, generator=drawn))
    stepped = descent([weights], **options)
    for _ in range(50):
        stepped.zero_grad()
        torch.autograd.backward(factor * (x @ weights - y).square().mean())
        stepped.step()
    return weights.detach()


def test_adam_is_invariant_to_a_factor_of_the_loss() -> None:
    """E2: with eps = 0 Adam's steps are the same to the bit; with its default, 1e-8, nearly."""
    one, other = (_trained(factor, torch.optim.Adam, lr=1e-3, eps=0.0) for factor in (1.0, FACTOR))
    assert torch.equal(one, other)
    one, other = (_trained(factor, torch.optim.Adam, lr=1e-3) for factor in (1.0, FACTOR))
    assert float((one - other).abs().max()) < 1e-4


def test_learning_rate_of_sgd_absorbs_a_factor() -> None:
    """E2: SGD with the rate divided by the factor is the same to the bit; with the same rate it is another training."""
    one, other = _trained(1.0, torch.optim.SGD, lr=2.0**-7), _trained(FACTOR, torch.optim.SGD, lr=2.0**-7 / FACTOR)
    assert torch.equal(one, other)
    same = _trained(8.0, torch.optim.SGD, lr=2.0**-7)
    assert float((one - same).abs().max()) > 1e-2


@pytest.mark.parametrize(("rule", "end"), [("ddim", 0.0), ("ddpm", 0.0), ("em", 0.0), ("ode", 0.0), ("rk4", 1e-3)])
def test_last_time_of_the_sampling_grid(rule: Any, end: float) -> None:
    """E3: the trainer's grid ends at 0, and at t_min for rk4 alone, which asks for the prediction at its last time."""
    times = build.times(config.TimesConfig(), LinearSchedule(), torch.float64)
    assert generate.grid(times, 50, sampler_named(rule))[-1] == end


def test_mean_of_a_linear_rate_is_exact() -> None:
    """E7: N equal weights at even nodes give the integral of a linear rate, and of its square 134.069 for 134.003.

    That sum is no trapezium rule, which has half a weight at each end and N - 1 intervals: it gives 134.0034.
    """
    n = 1000
    beta = 0.1 + np.arange(n) / (n - 1) * 19.9
    assert abs(float(beta.mean()) - 10.05) < 1e-12
    assert abs(float((beta**2).mean()) - 134.0694) < 1e-4
    assert abs((0.01 + 2.0 + 400.0) / 3 - 134.0033) < 1e-4
    assert abs(float(np.trapezoid(beta**2, dx=1 / (n - 1))) - 134.0034) < 1e-4


def _off(beta_min: float, beta_max: float, steps: int, end: float = 0.125, x_0: float = 1.0) -> float:
    """Return the mean-square distance of Euler-Maruyama from the solution on the same W, by integrals."""
    h, nodes = end / steps, np.polynomial.legendre.leggauss(12)
    times = h * np.arange(steps)

    def rate(t: Any) -> Any:
        return beta_min + (beta_max - beta_min) * t

    def carried(t: Any) -> Any:
        """Return what noise at t is multiplied by until the end."""
        return np.exp(-0.5 * (rate(t) + rate(end)) / 2 * (end - t))

    kept = np.cumprod(1 - 0.5 * h * rate(times)[::-1])[::-1]
    after = np.append(kept[1:], 1.0)
    # Where beta_min = 0, sqrt(beta) is sqrt(t): t = h r^2 makes the first interval smooth too.
    r = (nodes[0] + 1) / 2
    inside, weight = times[:, None] + h * r**2, nodes[1] / 2 * 2 * r * h
    gap = carried(inside) * np.sqrt(rate(inside)) - (after * np.sqrt(rate(times)))[:, None]
    mean = (carried(0.0) - kept[0]) * x_0
    return float(mean**2 + ((gap**2) @ weight).sum())


def test_order_of_euler_maruyama_where_the_rate_starts_at_zero() -> None:
    """E11: mean squares over h^2 settle for beta_min = 0.1; for 0 each halving adds a constant.

    So the order is 1, and for beta_min = 0 the distance goes like h sqrt(log(1/h)). The constant is what the sum of
    b h^2/(12 i) adds, b h^2 log(2)/12, carried to the end.
    """
    end, counts = 0.125, [2**j for j in range(9, 15)]
    smooth, sharp = (np.diff([_off(low, 20.0, n, end) / (end / n) ** 2 for n in counts]) for low in (0.1, 0.0))
    wanted = 20.0 * log(2) / 12 * exp(-20.0 * end**2 / 2)
    assert np.all(np.abs(sharp / wanted - 1) < 0.02)
    assert np.all(np.abs(smooth[1:] / smooth[:-1] - 0.5) < 0.01)
    assert sqrt(_off(0.1, 20.0, counts[-1], end)) < 0.01
