"""refdiff.sampling: steps, walks, and the flow."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from math import log2
from typing import Any, get_args

import pytest
import torch

from refdiff import CosineSchedule, LinearSchedule, Objective, convert, perturb, posterior, sample
from refdiff.chain import DiscreteChain
from refdiff.conformance import interface
from refdiff.errors import ConfigError, DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.sampling import Rule, ddim_step, ddpm_step, em_step, ode_adaptive, ode_step
from refdiff.schedule import NoiseProcess, Schedule

LINEAR, CHAIN = LinearSchedule(), DiscreteChain.linear(1000)
SPREAD, MEAN = 0.25, 0.5
"""Variance and mean of Gaussian data."""


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def of(process: NoiseProcess, prediction: Parameterization = "eps") -> Objective:
    """Return what a denoiser was trained for."""
    return Objective(process=process, prediction=prediction)


def x_0_of(process: NoiseProcess, eps: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return x_0_hat from eps_hat."""
    return convert(process, eps, x_t, t, source="eps", to="x_0")


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


def test_last_step_adds_no_noise() -> None:
    """SMP-6: at s = 0 the step of ddpm returns x_0_hat, whatever the noise is."""
    x, x_0_hat, t, s = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1, 500]), torch.tensor([0, 0])
    first, second = (ddpm_step(CHAIN, x, x_0_hat=x_0_hat, t=t, s=s, noise=z * torch.randn(2, 3)) for z in (0.0, 1e3))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, x_0_hat, rtol=2.0**-20, atol=2.0**-20)


@pytest.mark.parametrize(("rule", "order"), [("ode", 1), ("rk4", 4)])
def test_order_of_the_flow(rule: Rule, order: int) -> None:
    """SMP-8: on Gaussian data, doubling the steps divides the error by 2^order; slopes within 4% of it."""
    x = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    want, errors = moved(LINEAR, x, 1.0, 0.25), []
    for steps in (240, 480, 960) if order == 1 else (48, 96, 192):
        grid = [1.0 - 0.75 * i / steps for i in range(steps + 1)]
        errors.append(float((sample(of(LINEAR), best(LINEAR), x, grid, rule=rule) - want).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert abs(log2(coarse / fine) - order) <= 0.04 * order


def test_euler_maruyama_without_noise_is_the_flow_and_half_more() -> None:
    """SMP-1, SMP-4: x_s(em) - x_t = 2 (x_s(ode) - x_t) - h beta x/2, for noise 0; linear in the noise."""
    x, eps = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    t, s = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0.25, 0.125], dtype=torch.float64)
    em, ode = em_step(LINEAR, x, eps_hat=eps, t=t, s=s, noise=0 * x), ode_step(LINEAR, x, eps_hat=eps, t=t, s=s)
    h, beta = (t - s)[:, None], LINEAR.beta(t)[:, None]
    torch.testing.assert_close(em - x, 2 * (ode - x) - 0.5 * h * beta * x, rtol=2.0**-44, atol=2.0**-44)
    noisy = em_step(LINEAR, x, eps_hat=eps, t=t, s=s, noise=torch.ones_like(x))
    torch.testing.assert_close(noisy - em, (beta * h).sqrt().expand(2, 3), rtol=2.0**-44, atol=2.0**-44)


def test_adaptive_flow_goes_and_comes_back() -> None:
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


def test_missing_integrator_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchdiffeq, which is an extra, one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ConfigError, match=r"pip install 'refdiff\[train\]'"):
        ode_adaptive(of(LINEAR), best(LINEAR), torch.ones(1, 1), start=1.0, end=0.5)


RULES: list[tuple[Any, Rule]] = [(LINEAR, rule) for rule in get_args(Rule)]


@pytest.mark.parametrize(("process", "rule"), [*RULES, (CHAIN, "ddpm"), (CHAIN, "ddim")])
def test_prediction_does_not_matter(process: Any, rule: Rule) -> None:
    """A denoiser that predicts x_0, v or the score walks where that of eps does, for one generator; twice the same."""
    grid = [1000, 600, 200, 20] if process is CHAIN else [1.0, 0.6, 0.2, 0.02]
    x = torch.randn(3, 2, generator=seeded(1), dtype=torch.float64)
    ends = [
        sample(of(process, to), best(process, to), x, grid, rule=rule, generator=seeded(7))
        for to in ("eps", "eps", "x_0", "v", "score")
    ]
    assert torch.equal(ends[0], ends[1])
    for end in ends[2:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


def test_what_is_refused() -> None:
    """Times that do not fall, one time, no such rule, a chain's flow, eta out of range, no noise: one sentence each."""
    x, eps, one = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2)
    for grid in ([1.0], [0.5, 0.9], [0.5, 0.5]):
        with pytest.raises(DomainError, match=r"expected at least two times, strictly decreasing.* \(SMP-6\)$"):
            sample(of(LINEAR), best(LINEAR), x, grid)
    with pytest.raises(DomainError, match=r"expected a schedule for rk4.* \(SMP-6\)$"):
        sample(of(CHAIN), best(CHAIN), x, [10, 5], rule="rk4")
    for eta in (-0.1, 1.1, float("nan")):
        with pytest.raises(DomainError, match=r"expected eta in \[0, 1\].* \(SMP-3\)$"):
            ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=one, s=0.5 * one, eta=eta)
    with pytest.raises(DomainError, match=r"expected noise, where eta > 0.* \(SMP-3\)$"):
        ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=one, s=0.5 * one, eta=0.5)
    with pytest.raises(DomainError, match=r"expected s < t, got 0.75 \(SMP-3\)$"):
        ddim_step(LINEAR, x_0_hat=x, eps_hat=eps, t=0.5 * one, s=0.75 * one)
    with pytest.raises(DomainError, match=r"expected s <= t, got -0.25 \(SMP-4\)$"):
        ode_step(LINEAR, x, eps_hat=eps, t=0.5 * one, s=0.75 * one)
    with pytest.raises(DomainError, match=r"expected alpha > 0.* \(PAR-1\)$"):
        sample(of(CosineSchedule()), lambda x, t: x, x, [1.0, 0.5], rule="ddim")


@pytest.mark.parametrize("rule", ["em", "ddpm", "ode", "rk4"])
def test_eta_that_is_not_used_is_refused(rule: Rule) -> None:
    """SMP-3: eta belongs to ddim; given to another sampler, even as 0, it is refused before the first step."""
    for eta in (0.0, 0.5):
        with pytest.raises(DomainError, match=rf"^expected no eta for the rule '{rule}', .*, got {eta} \(SMP-3\)$"):
            sample(of(LINEAR), best(LINEAR), torch.ones(2, 3), [0.9, 0.5], rule=rule, eta=eta)
    moved = sample(of(LINEAR), best(LINEAR), torch.ones(2, 3), [0.9, 0.5], rule="ddim", eta=0.5, generator=seeded(0))
    assert bool(moved.isfinite().all())


@pytest.mark.usefixtures("unhooked")
def test_a_process_is_no_objective() -> None:
    """SMP-6: what the denoiser predicts is never guessed: a bare process is refused, and there is no default."""
    with pytest.raises(DomainError, match=r"^expected an Objective, .*, got LinearSchedule \(SMP-6\)$"):
        sample(LINEAR, best(LINEAR), torch.ones(2, 3), [0.9, 0.5])  # type: ignore[arg-type]  # what is refused


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(("old", "new"), [("ancestral", "ddpm"), ("euler_maruyama", "em"), ("flow", "ode")])
def test_an_old_name_is_refused_with_the_new(old: Any, new: str) -> None:
    """SMP-6: one vocabulary, that of the contract."""
    assert set(get_args(interface.Rule)) == set(get_args(Rule)) - {"rk4"}
    with pytest.raises(DomainError, match=rf"^expected the rule '{new}', got its former name '{old}' \(SMP-6\)$"):
        sample(of(LINEAR), best(LINEAR), torch.ones(2, 3), [0.9, 0.5], rule=old)


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
@pytest.mark.parametrize("prediction", ["x_0", "v"])
def test_a_walk_from_pure_noise(rule: Rule, prediction: Parameterization) -> None:
    """PAR-7: at alpha = 0 x_0_hat is x_0 itself or -v; x_t - sigma eps_hat over alpha would be 0/0."""
    x, said = torch.randn(2, 3, generator=seeded(0)), torch.full((2, 3), 0.25)
    sign = -1.0 if prediction == "v" else 1.0
    landed = sample(of(CosineSchedule(), prediction), lambda x, t: said, x, [1.0, 0.0], rule=rule)
    torch.testing.assert_close(landed, sign * said, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_x_0_hat_keeps_its_digits_where_alpha_is_small(rule: Rule, dtype: torch.dtype) -> None:
    """PAR-7: from v at k = 1000 of the cosine chain, alpha = 4.9e-5, alpha x_t - sigma v has an error of a few u.

    A step to k = 0 returns it: four roundings of numbers below 1, where a detour by eps_hat divides them by alpha.
    """
    chain, t = DiscreteChain.cosine(1000), torch.tensor([1000])
    x_0, eps = torch.tensor([[0.5, -0.75]], dtype=torch.float64), torch.tensor([[1.25, -0.5]], dtype=torch.float64)
    q = marginal(chain, t)
    x, v = (y.to(dtype) for y in (q.alpha * x_0 + q.sigma * eps, q.alpha * eps - q.sigma * x_0))
    exact = (q.alpha * x.double() - q.sigma * v.double()).to(torch.float64)
    landed = sample(of(chain, "v"), lambda x, t: v, x, [1000, 0], rule=rule)
    assert float((landed.double() - exact).abs().max()) <= 2 * torch.finfo(dtype).eps
