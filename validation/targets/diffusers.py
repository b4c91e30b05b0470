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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from math import cos, pi, sin, sqrt
from typing import Any, final
from unittest.mock import patch

import numpy as np
import torch
from diffusers.schedulers import scheduling_ddpm
from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr

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

_N = 1000
"""Steps of the library's own schedules."""


def _chain(beta: Callable[[int], float]) -> Chain:
    return Chain(betas=tuple(map(beta, range(_N))))


def _cosine_beta(i: int) -> float:
    """Return 1 - cos²b/cos²a = sin(b - a) sin(b + a)/cos²a, with a at time i/N, b at (i + 1)/N and offset 0.008."""
    a = 0.5 * pi * (i / _N + 0.008) / 1.008
    b = 0.5 * pi * ((i + 1) / _N + 0.008) / 1.008
    return min(sin(b - a) * sin(b + a) / cos(a) ** 2, 0.999)


_SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 8.5e-4, "beta_end": 0.012}
_SCHEDULES: Mapping[Chain, Mapping[str, Any]] = {
    _chain(lambda i: float(Fraction(1, 10_000) + Fraction(i, _N - 1) * Fraction(199, 10_000))): {},
    _chain(lambda i: (sqrt(8.5e-4) + i / (_N - 1) * (sqrt(0.012) - sqrt(8.5e-4))) ** 2): _SCALED_LINEAR,
    _chain(_cosine_beta): {"beta_schedule": "squaredcos_cap_v2"},
}
"""The library's own schedules, by their definitions in binary64, and the options that select them (default: linear)."""

_PREDICTION_TYPES: Mapping[Parameterization, str] = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}


@final
@dataclass
class _Library:
    """A target: its claim, and the function that makes an adapter for a process."""

    claim: Claim
    make: Callable[[Process], object]

    def build(self, process: Process, /) -> object:
        """Return an adapter for one process. Raises Unsupported."""
        return self.make(process)


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
    return _Library(_claim("ScoreSdeVpScheduler", "float32", (Linear,), "schedule"), _ScoreSdeVp)


def _ddpm(dtype: DType, *capabilities: Capability) -> Target:
    claim = _claim("DDPMScheduler", dtype, (*_SCHEDULES, Chain), *capabilities)
    return _Library(claim, lambda process: _Ddpm(process, getattr(torch, dtype)))


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


@final
class _Ddpm:
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
        k, given = _index(t), self._tensor(value)
        x_0 = self._predicted_x_0(source, given, self._tensor(x_t), k)
        return _array(x_0 if to == "x_0" else self._any.get_velocity(x_0, given, k))

    def _predicted_x_0(
        self, source: Parameterization, value: torch.Tensor, x_t: torch.Tensor, k: torch.Tensor
    ) -> torch.Tensor:
        """Return x_0_hat by calling `step` for each example, as it takes one timestep, with the channel axis it needs.

        `prev_sample`, for which the library draws noise, is not used.
        """
        scheduler, generator = self._schedulers[source], torch.Generator().manual_seed(0)
        examples = zip(value[:, None, None], k.tolist(), x_t[:, None, None], strict=True)
        return torch.cat([scheduler.step(*example, generator).pred_original_sample[0] for example in examples])

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
        results = []
        for given, k, x, earlier, z in zip(value, _index(t).tolist(), x_t, (s - 1).tolist(), noise, strict=True):
            # `step` takes the next of the custom timesteps as its end, or -1 after the last.
            scheduler.set_timesteps(timesteps=[k] if earlier < 0 else [k, int(earlier)])
            prediction, sample, draw = (torch.from_numpy(np.array(y)).to(kind)[None, None] for y in (given, x, z))
            with patch.object(scheduling_ddpm, "randn_tensor", lambda *_, draw=draw, **__: draw):
                results.append(scheduler.step(prediction, k, sample).prev_sample[0])
        scheduler.num_inference_steps, scheduler.custom_timesteps = None, False
        return torch.cat(results)

    def _ddim_stepped(self, eps_hat: Array, x_t: Array, t: Times, s: Times) -> torch.Tensor:
        """Call DDIMScheduler.step for each example. Its stride is N // num_inference_steps, the same for all."""
        steps, strides = self._ddim.config.num_train_timesteps, set((t - s).tolist())
        if len(strides) != 1 or steps // (steps // (stride := strides.pop())) != stride:
            raise Unsupported("DDIMScheduler has no number of inference steps that gives this stride")
        self._ddim.set_timesteps(steps // stride)
        examples = zip(
            self._tensor(eps_hat)[:, None, None], _index(t).tolist(), self._tensor(x_t)[:, None, None], strict=True
        )
        return torch.cat([self._ddim.step(*example).prev_sample[0] for example in examples])

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self._dtype)


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
