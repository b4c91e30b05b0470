"""Findings of validation/targets/FINDINGS.md about diffusers' samplers, against the library alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from scipy.integrate import quad

pytestmark = pytest.mark.filterwarnings("ignore")


def _deviation(scheduler: Any, steps: int, draws: int = 100) -> float:
    """Return the standard deviation of samples with the exact eps of data with the law N(0, 0.01): 0.1 if right."""
    scheduler.set_timesteps(steps)
    table, x = scheduler.alphas_cumprod, torch.randn(draws, 1, generator=torch.Generator().manual_seed(0))
    for k in scheduler.timesteps.tolist():
        eps = (1 - table[k]).sqrt() * x / (0.01 * table[k] + 1 - table[k])
        x = scheduler.step(eps, k, x).prev_sample
    return float(x.std())


def test_diffusers_trailing_timesteps_are_one_too_many() -> None:
    """With 61 steps there are 62 timesteps, and the last is -1; so with 61 other numbers of steps below 1000."""
    scheduler, odd = DDIMScheduler(1000, timestep_spacing="trailing"), []
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        if len(scheduler.timesteps) != steps:
            assert scheduler.timesteps[-1] == -1
            odd.append(steps)
    assert (len(odd), odd[0]) == (62, 61)


def test_diffusers_trailing_ddim_grid_is_not_its_stride() -> None:
    """With 501 steps the deviation of the samples is three times that of the data; with 500 it is right."""
    right, wrong = (
        _deviation(DDIMScheduler(1000, clip_sample=False, timestep_spacing="trailing"), n) for n in (500, 501)
    )
    assert right < 0.12
    assert wrong > 0.25


def _third_step(algorithm: str, prediction: Callable[[float], float]) -> tuple[float, float]:
    """Return x after a step of order 3 from x = 0, and its exact value, for an x_0_hat that depends on time alone.

    The prediction is a function of half the log-SNR, counted from the beginning of the step.
    """
    timesteps = [799, 699, 599, 499]
    scheduler: Any = DPMSolverMultistepScheduler(
        solver_order=3, prediction_type="sample", lower_order_final=False, algorithm_type=algorithm
    )
    scheduler.set_timesteps(timesteps=timesteps)
    zero, (*before, start, end) = torch.zeros(1, 1), (float(scheduler.lambda_t[k]) for k in timesteps)
    noise = {"variance_noise": zero} if algorithm.startswith("sde") else {}
    for k, at in zip(timesteps, (*before, start), strict=False):
        x = scheduler.step(torch.full((1, 1), prediction(at - start)), k, zero, **noise).prev_sample
    rate, alpha = 2.0 if noise else 1.0, float(scheduler.alpha_t[timesteps[-1]])
    exact, _ = quad(lambda at: rate * math.exp(rate * (at - end)) * prediction(at - start), start, end)
    return float(x), alpha * exact


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("power", [0, 1])
def test_third_step_of_a_line_is_exact(algorithm: str, power: int) -> None:
    """The exact value is right: for a constant and a line the library's step agrees with it."""
    got, exact = _third_step(algorithm, lambda at: at**power)
    assert got == pytest.approx(exact, rel=1e-5)


def test_diffusers_third_order_lacks_a_factor() -> None:
    """Of a parabola the step returns half of what is exact, so that its local order is that of the second order."""
    got, exact = _third_step("dpmsolver++", lambda at: at**2)
    assert got == pytest.approx(exact / 2, rel=1e-4)


def test_diffusers_third_order_sde_has_a_wrong_sign() -> None:
    """Of a parabola, which is positive, the step without noise returns a negative number."""
    got, exact = _third_step("sde-dpmsolver++", lambda at: at**2)
    assert got < -2 * exact < 0


def test_diffusers_unipc_without_a_lower_final_order_is_nan() -> None:
    """The last step, to sigma = 0, has an infinite length in log-SNR."""
    assert math.isnan(_deviation(UniPCMultistepScheduler(timestep_spacing="trailing", lower_order_final=False), 10))


def test_diffusers_ddim_with_eta_is_nan_from_zero_snr() -> None:
    """The root of a difference that rounding lets fall below 0, with 52 of the numbers of steps from 1 to 100."""
    options: dict[str, Any] = {"prediction_type": "v_prediction", "clip_sample": False, "timestep_spacing": "trailing"}
    scheduler, one = DDIMScheduler(1000, rescale_betas_zero_snr=True, **options), torch.ones(1, 1)
    scheduler.set_timesteps(10)
    assert scheduler.step(0 * one, 999, one, eta=1.0, variance_noise=0 * one).prev_sample.isnan()
    assert not scheduler.step(0 * one, 999, one, eta=0.9, variance_noise=0 * one).prev_sample.isnan()


def test_diffusers_fixed_large_ends_with_noise() -> None:
    """With 10 trailing steps the last adds noise of the deviation 0.32; with the small variance it adds none."""
    large, small = (
        DDPMScheduler(1000, clip_sample=False, timestep_spacing="trailing", variance_type=kind)
        for kind in ("fixed_large", "fixed_small")
    )
    assert _deviation(small, 10) < 0.15
    assert _deviation(large, 10) > 0.25
