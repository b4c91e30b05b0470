"""refdiff.steps: the formulas of one step, and the adaptive flow."""

from __future__ import annotations

import sys
from math import factorial
from typing import Any

import pytest
import torch

from refdiff import CosineSchedule, LinearSchedule, convert, perturb, posterior
from refdiff.chain import DiscreteChain
from refdiff.errors import ConfigError, DomainError
from refdiff.marginal import marginal
from refdiff.schedule import NoiseProcess
from refdiff.steps import ddim_step, ddpm_step, em_step, ode_adaptive, ode_step, rk4_step

from .gaussian import best, moved, of

LINEAR, CHAIN = LinearSchedule(), DiscreteChain.linear(1000)


def x_0_of(process: NoiseProcess, eps: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return x_0_hat from eps_hat."""
    return convert(process, eps, x_t, t, source="eps", to="x_0")


@pytest.mark.parametrize("process", [LINEAR, CosineSchedule(), CHAIN])
def test_ddim_lands_on_the_marginal(process: Any) -> None:
    """SMP-5: with the true eps, alpha_s x_0 + sigma_s eps, for steps of any length, s = 0 too."""
    generator = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    pairs = ([0, 1, 300, 400], [1, 2, 900, 999]) if process is CHAIN else ([0.0, 0.1, 0.3, 0.4], [0.1, 0.9, 0.8, 0.5])
    s, t = (torch.tensor(times) for times in pairs)
    s, t = (x.double() if x.is_floating_point() else x for x in (s, t))
    x_0_hat = x_0_of(process, eps, perturb(process, x_0, eps, t), t)
    landed = ddim_step(process, x_0_hat=x_0_hat, eps_hat=eps, t=t, s=s)
    ratio = (marginal(process, s).alpha / marginal(process, t).alpha).max()
    torch.testing.assert_close(landed, perturb(process, x_0, eps, s), rtol=0.0, atol=float(2.0**-48 * ratio * 4.0))


@pytest.mark.parametrize("process", [LINEAR, CHAIN])
def test_ddim_at_eta_one_is_ddpm(process: Any) -> None:
    """SMP-3: for the same noise, to 2^-40; between, its variance over eps and noise is sigma_s^2."""
    generator = torch.Generator().manual_seed(0)
    x, eps, noise = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    s, t = (torch.tensor([1, 30, 500]), torch.tensor([2, 400, 501]))
    if process is LINEAR:
        s, t = s / 1000.0, t / 1000.0
        s, t = s.double(), t.double()
    x_0_hat = x_0_of(process, eps, x, t)
    one = ddim_step(process, x_0_hat=x_0_hat, eps_hat=eps, t=t, s=s, noise=noise, eta=1.0)
    ddpm = ddpm_step(process, x, x_0_hat=x_0_hat, t=t, s=s, noise=noise)
    torch.testing.assert_close(one, ddpm, rtol=2.0**-40, atol=2.0**-40)
    half = ddim_step(process, x_0_hat=0 * x, eps_hat=0 * x, t=t, s=s, noise=torch.ones_like(noise), eta=0.5)[:, 0]
    torch.testing.assert_close(half**2, 0.25 * posterior(process, t=t, s=s).variance, rtol=2.0**-40, atol=0.0)


def test_ddpm_step_to_zero_returns_x_0_hat() -> None:
    """SMP-6: at s = 0 the step of ddpm returns x_0_hat, whatever the noise is."""
    x, x_0_hat, t, s = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1, 500]), torch.tensor([0, 0])
    first, second = (ddpm_step(CHAIN, x, x_0_hat=x_0_hat, t=t, s=s, noise=z * torch.randn(2, 3)) for z in (0.0, 1e3))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, x_0_hat, rtol=2.0**-20, atol=2.0**-20)


def test_euler_maruyama_without_noise_is_the_flow_and_half_more() -> None:
    """SMP-1, SMP-4: x_s(em) - x_t = 2 (x_s(ode) - x_t) - h beta x/2, for noise 0; linear in the noise."""
    x, eps = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    t, s = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0.25, 0.125], dtype=torch.float64)
    em, ode = em_step(LINEAR, x, eps_hat=eps, t=t, s=s, noise=0 * x), ode_step(LINEAR, x, eps_hat=eps, t=t, s=s)
    h, beta = (t - s)[:, None], LINEAR.beta(t)[:, None]
    torch.testing.assert_close(em - x, 2 * (ode - x) - 0.5 * h * beta * x, rtol=2.0**-44, atol=2.0**-44)
    noisy = em_step(LINEAR, x, eps_hat=eps, t=t, s=s, noise=torch.ones_like(x))
    torch.testing.assert_close(noisy - em, (beta * h).sqrt().expand(2, 3), rtol=2.0**-44, atol=2.0**-44)


def test_adaptive_flow_follows_the_exact_flow_both_ways() -> None:
    """SMP-4: torchdiffeq carries Gaussian data along its exact flow, both ways, and asks only times between."""
    asked: list[float] = []

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        asked.append(float(t[0]))
        return best(LINEAR)(x, t)

    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    there = ode_adaptive(of(LINEAR), denoiser, x, start=1.0, end=0.01, tolerance=1e-9)
    # Some hundred steps, each within 1e-9 of a size of 2, which the flow does not widen.
    assert float((there - moved(LINEAR, x, 1.0, 0.01)).abs().max()) < 4e-7
    back = ode_adaptive(of(LINEAR), denoiser, there, start=0.01, end=1.0, tolerance=1e-9)
    assert float((back - x).abs().max()) < 4e-6
    assert min(asked) >= 0.01
    assert max(asked) <= 1.0
    single = ode_adaptive(of(LINEAR), denoiser, x.float(), start=1.0, end=0.01)
    assert single.dtype == torch.float32
    # By default each step is within 1e-5.
    assert float((single.double() - moved(LINEAR, x, 1.0, 0.01)).abs().max()) < 1e-3


def test_runge_kutta_is_simpson_in_time_and_taylor_in_space() -> None:
    """SMP-4: of dx/dt = 4 t^3 - 3 t^2, rk4 is Simpson's rule; of dx/dt = x it is the Taylor polynomial of degree 4."""
    x = torch.tensor([[1.5, -2.0], [3.0, 0.25]], dtype=torch.float64)
    t, s = torch.tensor([[1.0, 0.75], [0.5, 0.625]], dtype=torch.float64)
    forced = rk4_step(lambda x, t: (4.0 * t**3 - 3.0 * t**2)[:, None].expand_as(x), x, t=t, s=s)
    slopes = [4.0 * at**3 - 3.0 * at**2 for at in (t, 0.5 * (s + t), s)]
    simpson = (t - s) * (slopes[0] + 4.0 * slopes[1] + slopes[2]) / 6.0
    torch.testing.assert_close(forced, x - simpson[:, None], rtol=2.0**-48, atol=2.0**-50)
    taylor = sum((s - t) ** k / factorial(k) for k in range(5))
    torch.testing.assert_close(rk4_step(lambda x, t: x, x, t=t, s=s), taylor[:, None] * x, rtol=2.0**-48, atol=0.0)


def test_missing_integrator_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchdiffeq, which is an extra, one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ConfigError, match=r"pip install 'refdiff\[train\]'"):
        ode_adaptive(of(LINEAR), best(LINEAR), torch.ones(1, 1), start=1.0, end=0.5)


def test_a_step_outside_its_domain_is_refused() -> None:
    """Eta out of range, no noise where eta needs it, and s after t: one sentence each."""
    x, eps, one = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2)
    for eta in (-0.1, 1.1, float("nan")):
        with pytest.raises(DomainError, match=r"expected eta in \[0, 1\].* \(SMP-3\)$"):
            ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=one, s=0.5 * one, eta=eta)
    with pytest.raises(DomainError, match=r"expected noise, where eta > 0.* \(SMP-3\)$"):
        ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=one, s=0.5 * one, eta=0.5)
    with pytest.raises(DomainError, match=r"expected s < t, got 0.75 \(SMP-3\)$"):
        ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=0.5 * one, s=0.75 * one)
    with pytest.raises(DomainError, match=r"expected s <= t, got -0.25 \(SMP-4\)$"):
        ode_step(LINEAR, x, eps_hat=eps, t=0.5 * one, s=0.75 * one)


def test_an_euler_step_of_no_length_stays() -> None:
    """SMP-1, SMP-4: s = t is in the domain, and x_s is x_t."""
    x, t = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    given = {"eps_hat": torch.ones(1, 2), "t": t, "s": t}
    assert torch.equal(ode_step(LinearSchedule(), x, **given), x)
    assert torch.equal(em_step(LinearSchedule(), x, noise=torch.ones(1, 2), **given), x)


HALVES = DiscreteChain(betas=(0.5, 0.5))
"""alpha_bar = 1/2, 1/4; from k = 2 to 1 the transition has the variance 1/2, and the posterior 1/2 * 1/2 / (3/4)."""


def test_ddpm_with_the_variance_of_the_transition() -> None:
    """SMP-2: the mean is 2/3 sqrt(1/2) (x_0_hat + x_t), the noise sqrt(1/2) z; in the step to 0 there is none."""
    x_t, x_0_hat, z = (torch.full((2, 1), x, dtype=torch.float64) for x in (2.0, 1.0, 3.0))
    t, s = torch.tensor([2, 1]), torch.tensor([1, 0])
    found = ddpm_step(HALVES, x_t, x_0_hat=x_0_hat, t=t, s=s, noise=z, variance="beta")
    want = torch.tensor([[5.0 * 0.5**0.5], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, want, rtol=2.0**-50, atol=0.0)


def test_ddim_with_half_of_the_noise() -> None:
    """SMP-3: with eta = 1/2, c^2 = 1/12: sqrt(1/2) x_0_hat + sqrt(1/2 - 1/12) eps_hat + sqrt(1/12) z."""
    x_0_hat, eps_hat, z = (torch.full((1, 1), x, dtype=torch.float64) for x in (2.0, -3.0, 5.0))
    t, s = torch.tensor([2]), torch.tensor([1])
    found = ddim_step(HALVES, x_0_hat=x_0_hat, eps_hat=eps_hat, t=t, s=s, noise=z, eta=0.5)
    want = 2.0 * 0.5**0.5 - 3.0 * (5.0 / 12.0) ** 0.5 + 5.0 * (1.0 / 12.0) ** 0.5
    torch.testing.assert_close(found, torch.tensor([[want]], dtype=torch.float64), rtol=2.0**-48, atol=0.0)
