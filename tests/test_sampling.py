"""refdiff.sampling: steps, walks, and the flow."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from math import log2
from typing import Any

import pytest
import torch

from refdiff import CosineSchedule, LinearSchedule, convert, perturb, posterior, sample
from refdiff.chain import DiscreteChain
from refdiff.errors import ConfigError, DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.sampling import Rule, ancestral_step, ddim_step, euler_maruyama_step, flow_adaptive, flow_step
from refdiff.schedule import NoiseProcess, Schedule

LINEAR, CHAIN = LinearSchedule(), DiscreteChain.linear(1000)
SPREAD, MEAN = 0.25, 0.5
"""Variance and mean of Gaussian data."""


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def best(process: NoiseProcess, to: Parameterization = "eps") -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the exact denoiser of Gaussian data."""

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        q = marginal(process, t)
        gain = q.sigma / (q.alpha**2 * SPREAD + q.sigma**2)
        eps = gain[:, None] * (x - (q.alpha * MEAN)[:, None])
        return convert(process, eps.to(x.dtype), x, t, source="eps", to=to)

    return denoiser


def moved(process: Schedule, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """Return the exact flow of Gaussian data: standardised x is kept."""
    first, last = (marginal(process, torch.tensor(t, dtype=torch.float64)) for t in (start, end))
    ratio = torch.sqrt((last.alpha**2 * SPREAD + last.sigma**2) / (first.alpha**2 * SPREAD + first.sigma**2))
    return last.alpha * MEAN + ratio * (x - first.alpha * MEAN)


@pytest.mark.parametrize("process", [LINEAR, CosineSchedule(), CHAIN])
def test_ddim_lands_on_the_marginal(process: Any) -> None:
    """SMP-5: with the true eps, alpha_s x_0 + sigma_s eps, for steps of any length, s = 0 too."""
    generator = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = ([0, 1, 300, 400], [1, 2, 900, 999]) if process is CHAIN else ([0.0, 0.1, 0.3, 0.4], [0.1, 0.9, 0.8, 0.5])
    s, t = (torch.tensor(times) for times in pairs)
    s, t = (x.double() if x.is_floating_point() else x for x in (s, t))
    landed = ddim_step(process, perturb(process, x_0, eps, t), eps, t, s)
    ratio = (marginal(process, s).alpha / marginal(process, t).alpha).max()
    torch.testing.assert_close(landed, perturb(process, x_0, eps, s), rtol=0.0, atol=float(2.0**-48 * ratio * 4.0))


@pytest.mark.parametrize("process", [LINEAR, CHAIN])
def test_ddim_at_eta_one_is_ancestral(process: Any) -> None:
    """SMP-3: for the same noise, to 2^-40; between, its variance over eps and noise is sigma_s^2."""
    generator = torch.Generator().manual_seed(0)
    x, eps, noise = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    s, t = (torch.tensor([1, 30, 500]), torch.tensor([2, 400, 501]))
    if process is LINEAR:
        s, t = s / 1000.0, t / 1000.0
        s, t = s.double(), t.double()
    one = ddim_step(process, x, eps, t, s, noise, eta=1.0)
    torch.testing.assert_close(one, ancestral_step(process, x, eps, t, s, noise), rtol=2.0**-40, atol=2.0**-40)
    half = ddim_step(process, 0 * x, 0 * eps, t, s, torch.ones_like(noise), eta=0.5)[:, 0]
    torch.testing.assert_close(half**2, 0.25 * posterior(process, s, t).variance, rtol=2.0**-40, atol=0.0)


def test_last_step_adds_no_noise() -> None:
    """SMP-6: at s = 0 the ancestral step returns x_0_hat, whatever the noise is."""
    x, eps, t, s = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1, 500]), torch.tensor([0, 0])
    first, second = (ancestral_step(CHAIN, x, eps, t, s, z * torch.randn(2, 3)) for z in (0.0, 1e3))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, convert(CHAIN, eps, x, t, source="eps", to="x_0"), rtol=2.0**-20, atol=2.0**-20)


@pytest.mark.parametrize(("rule", "order"), [("flow", 1), ("rk4", 4)])
def test_order_of_the_flow(rule: Rule, order: int) -> None:
    """SMP-8: on Gaussian data, doubling the steps divides the error by 2^order; slopes within 4% of it."""
    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    want, errors = moved(LINEAR, x, 1.0, 0.25), []
    for steps in (240, 480, 960) if order == 1 else (48, 96, 192):
        grid = [1.0 - 0.75 * i / steps for i in range(steps + 1)]
        errors.append(float((sample(LINEAR, best(LINEAR), x, grid, rule=rule) - want).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert abs(log2(coarse / fine) - order) <= 0.04 * order


def test_euler_maruyama_without_noise_is_the_flow_and_half_more() -> None:
    """SMP-1, SMP-4: x_s(em) - x_t = 2 (x_s(ode) - x_t) - h beta x/2, for noise 0; linear in the noise."""
    x, eps = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    t, s = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0.25, 0.125], dtype=torch.float64)
    em, ode = euler_maruyama_step(LINEAR, x, eps, t, s, 0 * x), flow_step(LINEAR, x, eps, t, s)
    h, beta = (t - s)[:, None], LINEAR.beta(t)[:, None]
    torch.testing.assert_close(em - x, 2 * (ode - x) - 0.5 * h * beta * x, rtol=2.0**-44, atol=2.0**-44)
    noisy = euler_maruyama_step(LINEAR, x, eps, t, s, torch.ones_like(x))
    torch.testing.assert_close(noisy - em, (beta * h).sqrt().expand(2, 3), rtol=2.0**-44, atol=2.0**-44)


def test_adaptive_flow_goes_and_comes_back() -> None:
    """SMP-4: torchdiffeq carries Gaussian data along its exact flow, both ways, and asks only times between."""
    asked: list[float] = []

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(float(t[0]))
        return best(LINEAR)(x, t)

    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    there = flow_adaptive(LINEAR, denoiser, x, start=1.0, end=0.01, tolerance=1e-9)
    # Some hundred steps, each within 1e-9 of a size of 2, which the flow does not widen.
    assert float((there - moved(LINEAR, x, 1.0, 0.01)).abs().max()) < 4e-7
    back = flow_adaptive(LINEAR, denoiser, there, start=0.01, end=1.0, tolerance=1e-9)
    assert float((back - x).abs().max()) < 4e-6
    assert min(asked) >= 0.01
    assert max(asked) <= 1.0
    single = flow_adaptive(LINEAR, denoiser, x.float(), start=1.0, end=0.01)
    assert single.dtype == torch.float32


def test_missing_integrator_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchdiffeq, which is an extra, one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ConfigError, match=r"pip install 'refdiff\[train\]'"):
        flow_adaptive(LINEAR, best(LINEAR), torch.ones(1, 1), start=1.0, end=0.5)


RULES: list[tuple[Any, Rule]] = [(LINEAR, "ancestral"), (LINEAR, "ddim"), (LINEAR, "euler_maruyama"), (LINEAR, "flow")]


@pytest.mark.parametrize(("process", "rule"), [*RULES, (LINEAR, "rk4"), (CHAIN, "ancestral"), (CHAIN, "ddim")])
def test_prediction_does_not_matter(process: Any, rule: Rule) -> None:
    """A denoiser that predicts x_0, v or the score walks where that of eps does, for one generator; twice the same."""
    grid = [1000, 600, 200, 20] if process is CHAIN else [1.0, 0.6, 0.2, 0.02]
    x = torch.randn(3, 2, generator=seeded(1), dtype=torch.float64)
    ends = [
        sample(process, best(process, to), x, grid, rule=rule, prediction=to, generator=seeded(7))
        for to in ("eps", "eps", "x_0", "v", "score")
    ]
    assert torch.equal(ends[0], ends[1])
    for end in ends[2:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


def test_what_is_refused() -> None:
    """Times that do not fall, one time, no such rule, a chain's flow, eta out of range, no noise: one sentence each."""
    x, eps, one = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2)
    for grid in ([1.0], [0.5, 0.9], [0.5, 0.5]):
        with pytest.raises(DomainError, match=r"expected two falling times or more.* \(SMP-6\)$"):
            sample(LINEAR, best(LINEAR), x, grid)
    with pytest.raises(DomainError, match=r"expected a schedule for rk4.* \(SMP-6\)$"):
        sample(CHAIN, best(CHAIN), x, [10, 5], rule="rk4")
    for eta in (-0.1, 1.1, float("nan")):
        with pytest.raises(DomainError, match=r"expected eta in \[0, 1\].* \(SMP-3\)$"):
            ddim_step(LINEAR, x, eps, one, 0.5 * one, eta=eta)
    with pytest.raises(DomainError, match=r"expected noise, where eta > 0.* \(SMP-3\)$"):
        ddim_step(LINEAR, x, eps, one, 0.5 * one, eta=0.5)
    for call in (ddim_step, flow_step):
        with pytest.raises(DomainError, match="expected s <"):
            call(LINEAR, x, eps, 0.5 * one, 0.75 * one)
    with pytest.raises(DomainError, match=r"expected alpha > 0.* \(PAR-1\)$"):
        ddim_step(CosineSchedule(), x, eps, one, 0.5 * one)
