"""Hugging Face diffusers as targets, `validation.targets.diffusers:FACTORY`.

| factory | library class | dtype | calls and attributes used |
|---|---|---|---|
| `ddpm` | `DDPMScheduler`, `DDIMScheduler` | float32 | those below, `alphas_cumprod`, `compute_snr` |
| `ddpm_bfloat16`, `ddpm_float16` | the same, called on half tensors | half | `add_noise`, `step`, `get_velocity` |
| `score_sde_vp` | `ScoreSdeVpScheduler` (deprecated) | float32 | `step_pred` |

Every number is a result of the library; the adapters only shift k to its timesteps, which start at 0, and convert
arrays. If a number must be extracted from a larger result, the docstring states how, and why this is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr

from refdiff.conformance.adapters import Library, one_by_one, replay
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    DType,
    Linear,
    Parameterization,
    Process,
    Rule,
    Target,
    Times,
    Unsupported,
)
from validation.targets import chains

_SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 8.5e-4, "beta_end": 0.012}
_SCHEDULES: Mapping[Chain, Mapping[str, Any]] = {
    chains.LINEAR: {},
    chains.SCALED_LINEAR: _SCALED_LINEAR,
    chains.COSINE: {"beta_schedule": "squaredcos_cap_v2"},
}
"""The library's own schedules, by their definitions in binary64, and the options that select them (default: linear)."""

_PREDICTION_TYPES: Mapping[Parameterization, str] = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}


def ddpm() -> Target:
    """Return DDPMScheduler in float32."""
    return _ddpm("float32", "schedule", "perturb", "convert", "posterior", "step")


def ddpm_bfloat16() -> Target:
    """Return DDPMScheduler called on bfloat16 tensors. Its table is float32, so `schedule` is not claimed."""
    return _ddpm("bfloat16", "perturb", "convert", "posterior", "step")


def ddpm_float16() -> Target:
    """Return DDPMScheduler called on float16 tensors. Its table is float32, so `schedule` is not claimed."""
    return _ddpm("float16", "perturb", "convert", "posterior", "step")


def score_sde_vp() -> Target:
    """Return ScoreSdeVpScheduler in float32. Only sigma can be extracted at every t from its one call, `step_pred`."""
    return Library(_claim("ScoreSdeVpScheduler", "float32", (Linear,), "schedule"), _ScoreSdeVp)


def _ddpm(dtype: DType, *capabilities: Capability) -> Target:
    claim = _claim("DDPMScheduler", dtype, (*_SCHEDULES, Chain), *capabilities)
    return Library(claim, lambda process: _Ddpm(process, getattr(torch, dtype)))


def _claim(
    scheduler: str, dtype: DType, processes: tuple[Process | type[Process], ...], *capabilities: Capability
) -> Claim:
    return Claim(
        name=f"diffusers {scheduler}, {dtype}",
        version=version("diffusers"),
        dtype=dtype,
        processes=processes,
        capabilities=frozenset(capabilities),
    )


class _Scheduled:
    """DDPMScheduler for one chain, without clipping; one scheduler for each prediction type."""

    def __init__(self, process: Process, dtype: torch.dtype) -> None:
        if not isinstance(process, Chain):
            raise Unsupported("DDPMScheduler is a discrete chain")
        betas = _SCHEDULES.get(process, {"trained_betas": list(process.betas)})
        self._dtype = dtype
        self._schedulers = {
            source: DDPMScheduler(len(process.betas), clip_sample=False, prediction_type=name, **betas)
            for source, name in _PREDICTION_TYPES.items()
        }
        self._any = self._schedulers["eps"]
        self._draws = torch.Generator().manual_seed(0)
        self._ddim = DDIMScheduler(len(process.betas), clip_sample=False, **betas)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the table `alphas_cumprod`, the only one that the class stores, and call `compute_snr`."""
        snr = compute_snr(self._any, _index(t))
        return {"alpha_bar": _array(self._any.alphas_cumprod[_index(t)]), "log_snr": _array(torch.log(snr))}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `add_noise`, which casts the table to the dtype of x_0."""
        return _array(self._any.add_noise(self._tensor(x_0), self._tensor(eps), _index(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return x_0 by `step`, or v by `get_velocity` of eps and of the x_0 that `step` returns for eps."""
        if source not in self._schedulers or (to != "x_0" and (source, to) != ("eps", "v")):
            raise Unsupported(f"DDPMScheduler has no call that gives {to} from {source}")
        k, given, noised = _index(t), self._tensor(value)[:, None], self._tensor(x_t)[:, None]
        # `step` takes one timestep and needs an axis of channels. `prev_sample`, for which it draws, is not used.
        step = self._schedulers[source].step
        x_0 = one_by_one(lambda *example: step(*example, self._draws).pred_original_sample, given, k, noised)
        return _array((x_0 if to == "x_0" else self._any.get_velocity(x_0, given, k))[:, 0])

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self._dtype)


@final
class _Ddpm(_Scheduled):
    """Its steps, and those of DDIMScheduler."""

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `step` of a scheduler that predicts x_0: with noise 0 it returns the mean.

        For x_t = x_0 = 0 and noise 1 it returns the standard deviation. These tensors are float64, so that the square
        of the result is the variance that the library computed, in its own rounding.
        """
        mean, zero = self._stepped("x_0", x_0, x_t, t, s, np.zeros_like(x_0)), np.zeros((len(t), 1))
        deviation = self._stepped("x_0", zero, zero, t, s, np.ones_like(zero), torch.float64)
        return _array(mean), _array((deviation[:, 0] ** 2).to(self._dtype))

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `step` of DDPMScheduler with this noise, or of DDIMScheduler without noise."""
        match rule:
            case "ddpm":
                return _array(self._stepped("eps", eps_hat, x_t, t, s, noise))
            case "ddim":
                return _array(self._ddim_stepped(eps_hat, x_t, t, s))
            case _:
                raise Unsupported(f"diffusers' schedulers for a chain have no rule {rule}")

    def _stepped(
        self,
        source: Parameterization,
        value: Array,
        x_t: Array,
        t: Times,
        s: Times,
        noise: Array,
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """Call DDPMScheduler.step for each example, on the timesteps t and s, with `noise` in place of its own draw."""
        scheduler, kind = self._schedulers[source], dtype or self._dtype

        def one(
            prediction: torch.Tensor, k: int, sample: torch.Tensor, earlier: int, draw: torch.Tensor
        ) -> torch.Tensor:
            # `step` takes the next of the custom timesteps as its end, or -1 after the last.
            scheduler.set_timesteps(timesteps=[k] if earlier < 0 else [k, earlier])
            with replay(normal=[draw] if k > 0 else []):
                moved: torch.Tensor = scheduler.step(prediction, k, sample).prev_sample
            return moved

        given, noised, draws = (torch.from_numpy(np.array(y)).to(kind)[:, None] for y in (value, x_t, noise))
        results: torch.Tensor = one_by_one(one, given, _index(t), noised, _index(s), draws)
        scheduler.num_inference_steps, scheduler.custom_timesteps = None, False
        return results[:, 0]

    def _ddim_stepped(self, eps_hat: Array, x_t: Array, t: Times, s: Times) -> torch.Tensor:
        """Call DDIMScheduler.step for each example. Its stride is N // num_inference_steps, the same for all."""
        steps, strides = self._ddim.config.num_train_timesteps, set((t - s).tolist())
        if len(strides) != 1 or steps // (steps // (stride := strides.pop())) != stride:
            raise Unsupported("DDIMScheduler has no number of inference steps that gives this stride")
        self._ddim.set_timesteps(steps // stride)
        given, noised = (self._tensor(y)[:, None] for y in (eps_hat, x_t))
        moved: torch.Tensor = one_by_one(lambda *row: self._ddim.step(*row).prev_sample, given, _index(t), noised)
        return moved[:, 0]


@final
class _ScoreSdeVp:
    """ScoreSdeVpScheduler for one linear schedule, with one step of length 1."""

    def __init__(self, process: Process) -> None:
        if not isinstance(process, Linear):
            raise Unsupported("ScoreSdeVpScheduler is the linear schedule")
        self._starts_at_rest = process.beta_min == 0.0
        self._scheduler = ScoreSdeVpScheduler(beta_min=process.beta_min, beta_max=process.beta_max)
        self._scheduler.set_timesteps(1)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Extract sigma from two steps from x = 0: the result is d·noise for the score 0; the mean is -d²/sigma for 1.

        The library computes d = √beta(t) and sigma in float32, like t. x and the score are float64, so the results keep
        all bits of d and sigma: result/noise, rounded to float32, is d; and -d²/mean, rounded to float32, is sigma, to
        the bit. If the mean is infinite, the library divided by sigma = 0.
        """
        if self._starts_at_rest:
            raise Unsupported("with beta_min = 0, step_pred is NaN at t = 0, and sigma cannot be read from it")
        time = torch.from_numpy(np.array(t))
        x = torch.zeros(len(time), 2, dtype=torch.float64)
        score = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand_as(x)
        result, mean = self._scheduler.step_pred(score, x, time, torch.Generator().manual_seed(0))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        d = (result / noise)[:, 0].float()
        sigma = torch.where(mean[:, 1].isinf(), 0.0, d**2 / -mean[:, 1])
        return {"sigma": _array(sigma.float())}


def _index(t: Times) -> torch.Tensor:
    """Return the library's timesteps, which start at 0."""
    return torch.from_numpy(np.array(t)) - 1


def _array(tensor: torch.Tensor) -> Array:
    """Return a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    return np.array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
