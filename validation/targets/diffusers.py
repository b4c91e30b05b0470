"""Hugging Face diffusers as targets, `validation.targets.diffusers:FACTORY`.

| factory | library class | dtype | calls and attributes used |
|---|---|---|---|
| `ddpm` | `DDPMScheduler`, `DDIMScheduler` | float32 | those below, `alphas_cumprod`, `compute_snr` |
| `ddpm_bfloat16`, `ddpm_float16` | the same, called on half tensors | half | `add_noise`, `step`, `get_velocity` |
| `zero_snr` | the same, with `rescale_betas_zero_snr=True` | float32 | those of `ddpm` |
| `fixed_large` | `DDPMScheduler` with `variance_type="fixed_large"` | float32 | `add_noise`, `step`, `get_velocity` |
| `score_sde_vp` | `ScoreSdeVpScheduler` (deprecated) | float32 | `step_pred`, `set_timesteps` |

Every number is a result of the library; the adapters only shift k to its timesteps, which start at 0, and convert
arrays. If a number must be extracted from a larger result, the docstring states how, and why this is exact.

`score_sde_vp` is judged on 23 clauses, as `step_pred` is the only call of its class that computes: it has sigma and
the rate, but neither alpha nor x_t, and no prediction but eps. Its times begin at the library's `sampling_eps`, 1e-3,
as `step_pred` is NaN where its sigma rounds to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from refdiff.conformance.adapters import Library, from_torch, one_by_one, replay, to_torch
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Denoiser,
    DType,
    Grid,
    Linear,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
    Unsupported,
    Weight,
)
from refdiff.conformance.step import Step, Variance
from validation.targets import chains

_SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 8.5e-4, "beta_end": 0.012}
SCHEDULES: Mapping[Chain, Mapping[str, Any]] = {
    chains.LINEAR: {"beta_start": 1e-4, "beta_end": 0.02},
    chains.SCALED_LINEAR: _SCALED_LINEAR,
    chains.COSINE: {"beta_schedule": "squaredcos_cap_v2"},
}
"""The library's own schedules, by their definitions in binary64, and the options that select them, for schedulers whose
defaults differ too."""
ZERO_SNR: Mapping[Chain, Mapping[str, Any]] = {
    chains.with_zero_snr(chain): {**options, "rescale_betas_zero_snr": True}
    for chain, options in SCHEDULES.items()
    if chain != chains.COSINE
}
"""The same, rescaled to zero terminal SNR."""

PREDICTION_TYPES: Mapping[Parameterization, str] = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
"""The library's names of predictions."""
_VARIANCE_TYPES: Mapping[Variance, str] = {"posterior": "fixed_small", "beta": "fixed_large"}
_STEPS = (
    *(Step(kind="ddpm", prediction=prediction) for prediction in PREDICTION_TYPES),
    *(Step(kind="ddim", prediction=prediction) for prediction in PREDICTION_TYPES),
    Step(kind="ddim", eta=0.5),
    Step(kind="ddim", prediction="v", eta=1.0),
)
_FEW = tuple(Step(kind=kind, prediction=prediction) for kind in ("ddpm", "ddim") for prediction in ("eps", "v"))
"""In half precision, where the other steps would show nothing more."""


def ddpm() -> Target:
    """Return DDPMScheduler in float32."""
    return _ddpm("float32", "schedule", "perturb", "convert", "posterior", "step")


def ddpm_bfloat16() -> Target:
    """Return DDPMScheduler called on bfloat16 tensors. Its table is float32, so `schedule` is not claimed."""
    return _ddpm("bfloat16", "perturb", "convert", "posterior", "step", "loss")


def ddpm_float16() -> Target:
    """Return DDPMScheduler called on float16 tensors. Its table is float32, so `schedule` is not claimed."""
    return _ddpm("float16", "perturb", "convert", "posterior", "step", "loss")


def zero_snr() -> Target:
    """Return DDPMScheduler in float32 with the last beta 1, where only v and x_0 can be predicted."""
    capabilities: tuple[Capability, ...] = ("schedule", "perturb", "convert", "posterior", "step")
    steps = tuple(step for step in _STEPS if step.prediction != "eps")
    claim = _claim("DDPMScheduler, zero terminal SNR", "float32", tuple(ZERO_SNR), *capabilities, steps=steps)
    return Library(claim, lambda process: _Ddpm(process, "float32"))


def fixed_large() -> Target:
    """Return DDPMScheduler in float32 with the variance of the transition."""
    capabilities: tuple[Capability, ...] = ("schedule", "perturb", "convert", "step")
    steps = tuple(Step(kind="ddpm", prediction=prediction, variance="beta") for prediction in PREDICTION_TYPES)
    claim = _claim("DDPMScheduler, fixed_large", "float32", (chains.LINEAR,), *capabilities, steps=steps)
    return Library(claim, lambda process: _Ddpm(process, "float32"))


def score_sde_vp() -> Target:
    """Return ScoreSdeVpScheduler in float32; it converts eps to the score, and steps by Euler and Maruyama."""
    capabilities: tuple[Capability, ...] = ("schedule", "sde", "convert", "step", "grid", "sample")
    claim = _claim(
        "ScoreSdeVpScheduler",
        "float32",
        (Linear,),
        *capabilities,
        steps=(Step(kind="em"),),
        samplers=(Sampler(name="step_pred", stochastic=True, times="grid"),),
        t_min=1e-3,
        grid=Grid(t_min=1e-3, t_max=1.0),
    )
    return Library(claim, _ScoreSdeVp)


def _ddpm(dtype: DType, *capabilities: Capability) -> Target:
    steps = _STEPS if dtype == "float32" else _FEW
    claim = _claim(
        "DDPMScheduler",
        dtype,
        (*SCHEDULES, Chain),
        *capabilities,
        steps=steps,
        weights=("uniform",),
        reduction="example_mean",
    )
    return Library(claim, lambda process: _Ddpm(process, dtype))


def _claim(
    scheduler: str,
    dtype: DType,
    processes: tuple[Process | type[Process], ...],
    *capabilities: Capability,
    **more: Any,
) -> Claim:
    return Claim(
        name=f"diffusers {scheduler}, {dtype}",
        version=version("diffusers"),
        dtype=dtype,
        processes=processes,
        capabilities=frozenset(capabilities),
        contract=2,
        **more,
    )


class _Scheduled:
    """DDPMScheduler for one chain, without clipping; one scheduler for each prediction type and variance type."""

    def __init__(self, process: Process, dtype: DType) -> None:
        if not isinstance(process, Chain):
            raise Unsupported("DDPMScheduler is a discrete chain")
        given = {"trained_betas": list(process.betas)}
        options = {"clip_sample": False, **({**SCHEDULES, **ZERO_SNR}.get(process, given))}
        self._tensor, self._array = partial(to_torch, dtype=dtype), partial(from_torch, dtype=dtype)
        self._schedulers = {
            (source, variance): DDPMScheduler(len(process.betas), prediction_type=name, variance_type=kind, **options)
            for source, name in PREDICTION_TYPES.items()
            for variance, kind in _VARIANCE_TYPES.items()
        }
        self._any = self._schedulers["eps", "posterior"]
        self._draws = torch.Generator().manual_seed(0)
        self._ddim = {
            source: DDIMScheduler(len(process.betas), prediction_type=name, **options)
            for source, name in PREDICTION_TYPES.items()
        }

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the table `alphas_cumprod`, the only one that the class stores, and call `compute_snr`."""
        snr = compute_snr(self._any, _index(t))
        return {"alpha_bar": self._array(self._any.alphas_cumprod[_index(t)]), "log_snr": self._array(torch.log(snr))}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `add_noise`, which casts the table to the dtype of x_0."""
        return self._array(self._any.add_noise(self._tensor(x_0), self._tensor(eps), _index(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return x_0 by `step`, or v by `get_velocity` of eps and of the x_0 that `step` returns for eps."""
        if source not in PREDICTION_TYPES or (to != "x_0" and (source, to) != ("eps", "v")):
            raise Unsupported(f"DDPMScheduler has no call that gives {to} from {source}")
        k, given, noised = _index(t), self._tensor(value)[:, None], self._tensor(x_t)[:, None]
        # `step` takes one timestep and needs an axis of channels. `prev_sample`, for which it draws, is not used.
        step = self._schedulers[source, "posterior"].step
        x_0 = one_by_one(lambda *example: step(*example, self._draws).pred_original_sample, given, k, noised)
        return self._array((x_0 if to == "x_0" else self._any.get_velocity(x_0, given, k))[:, 0])


@final
class _Ddpm(_Scheduled):
    """Its steps, and those of DDIMScheduler."""

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `step` of a scheduler that predicts x_0: with noise 0 it returns the mean.

        For x_t = x_0 = 0 and noise 1 it returns the standard deviation. These tensors are float64, so that the square
        of the result is the variance that the library computed, in its own rounding.
        """
        asked, given, zero = (
            Step(kind="ddpm", prediction="x_0"),
            self._tensor(x_0),
            torch.zeros(len(t), dtype=torch.float64),
        )
        mean = self._stepped(asked, given, self._tensor(x_t), t, s, torch.zeros_like(given))
        deviation = self._stepped(asked, zero, zero, t, s, torch.ones_like(zero))
        return self._array(mean), self._array((deviation**2).to(given.dtype))

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, asked: Step) -> Array:
        """Call `step` of DDPMScheduler with this noise, or of DDIMScheduler, which has an argument for it."""
        given, noised, draws = (self._tensor(y) for y in (value, x_t, noise))
        stepped = self._stepped if asked.kind == "ddpm" else self._ddim_stepped
        return self._array(stepped(asked, given, noised, t, s, draws))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Compare with eps, x_0 or `get_velocity` in float32, as the training scripts do, at x_t by `add_noise`."""
        data, noise, k = self._tensor(x_0), self._tensor(eps), _index(t)
        targets = {"eps": noise, "x_0": data, "v": self._any.get_velocity(data, noise, k)}
        if prediction not in targets or weight != "uniform":
            raise Unsupported(f"diffusers has no weight {weight} of {prediction}")
        given = self._tensor(denoiser(self._array(self._any.add_noise(data, noise, k)), t))
        squares = (given.float() - targets[prediction].float()).square()
        return self._array(squares.reshape(len(t), -1).mean(1).to(data.dtype))

    def _stepped(self, asked: Step, value: Tensor, x_t: Tensor, t: Times, s: Times, noise: Tensor) -> Tensor:
        """Call DDPMScheduler.step on the timesteps t and s, with `noise` in place of its own draw."""
        scheduler = self._schedulers[asked.prediction, asked.variance]

        def one(k: int, earlier: int, prediction: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
            # `step` ends at k - 1 without set timesteps; else at the next of the custom ones, or at -1 after the last.
            scheduler.num_inference_steps, scheduler.custom_timesteps = None, False
            if earlier != k - 1:
                scheduler.set_timesteps(timesteps=[k] if earlier < 0 else [k, earlier])
            with replay(normal=[draw] if k > 0 else []):
                moved: Tensor = scheduler.step(prediction, k, sample).prev_sample
            return moved

        results = _by_timestep(one, t, s, value, x_t, noise)
        scheduler.num_inference_steps, scheduler.custom_timesteps = None, False
        return results

    def _ddim_stepped(self, asked: Step, value: Tensor, x_t: Tensor, t: Times, s: Times, noise: Tensor) -> Tensor:
        """Call DDIMScheduler.step. Its stride is N // num_inference_steps, the same for all."""
        scheduler = self._ddim[asked.prediction]
        steps, strides = scheduler.config.num_train_timesteps, set((t - s).tolist())
        if len(strides) != 1 or steps // (steps // (stride := strides.pop())) != stride:
            raise Unsupported("DDIMScheduler has no number of inference steps that gives this stride")
        scheduler.set_timesteps(steps // stride)

        def one(k: int, _: int, prediction: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
            moved: Tensor = scheduler.step(prediction, k, sample, eta=asked.eta, variance_noise=draw).prev_sample
            return moved

        return _by_timestep(one, t, s, value, x_t, noise)


@final
class _ScoreSdeVp:
    """ScoreSdeVpScheduler for one linear schedule. Its steps have the length 1 over their number, 1 by default."""

    def __init__(self, process: Process) -> None:
        if not isinstance(process, Linear):
            raise Unsupported("ScoreSdeVpScheduler is the linear schedule")
        self._scheduler = ScoreSdeVpScheduler(beta_min=process.beta_min, beta_max=process.beta_max)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Extract sigma and the rate from steps of length 1 on x and eps in float64.

        The library computes d = √beta and sigma in float32, like t. From x = 0 and eps = 1, the mean is -d²/sigma, and
        -d²/mean, rounded to float32, is sigma, to the bit. The rate is -2 times the drift of 1, which has all its bits.
        """
        one = torch.ones(len(t), dtype=torch.float64)
        d = self._moved(0 * one, 0 * one, t, noise=one)[0]
        _, mean = self._moved(one, 0 * one, t)
        return {"sigma": _single(d**2 / -mean), "beta": _single(-2 * self._drift(one, t))}

    def drift(self, x: Array, t: Times) -> Array:
        """Return what a step without a score takes off: x minus the mean."""
        return _single(self._drift(to_torch(x, "float64"), t))

    def diffusion(self, t: Times) -> Array:
        """Return where a step of length 1 goes from x = 0 without a score, with noise 1."""
        one = torch.ones(len(t), dtype=torch.float64)
        return _single(self._moved(0 * one, 0 * one, t, noise=one)[0])

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return the score that `step_pred` makes of its argument, which is eps in spite of its name, from x = 0."""
        del x_t
        if (source, to) != ("eps", "score"):
            raise Unsupported(f"ScoreSdeVpScheduler has no conversion of {source} to {to}")
        eps, one = to_torch(value, "float64"), torch.ones(value.shape, dtype=torch.float64)
        d = self._moved(0 * one, 0 * one, t, noise=one)[0]
        return _single(self._moved(eps, 0 * one, t)[1] / d**2)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, asked: Step) -> Array:
        """Call `step_pred` with this noise, on steps of the length 1/n only; the claim lists em of eps alone."""
        del asked
        lengths = set((t.astype(np.float64) - s).tolist())
        if len(lengths) != 1 or 1 / (length := lengths.pop()) != (n := round(1 / length)):
            raise Unsupported("ScoreSdeVpScheduler steps over 1/n, the same for all")
        x, eps, z = (to_torch(y, "float32") for y in (x_t, value, noise))
        return from_torch(self._moved(eps, x, t, n, noise=z)[0], "float32")

    def grid(self, n: int) -> Times:
        """Call `set_timesteps`, for n + 1 times."""
        self._scheduler.set_timesteps(n + 1)
        return from_torch(self._scheduler.timesteps, "float32")

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `step_pred` at each of the times, as Song's code does: the last step begins at the last of them."""
        del sampler
        self._scheduler.set_timesteps(len(times))
        draws, state = torch.Generator().manual_seed(seed), to_torch(x, "float32")
        for t in self._scheduler.timesteps:
            later = np.full(len(x), t.item(), dtype=np.float32)
            eps = to_torch(denoiser(from_torch(state, "float32"), later), "float32")
            state = self._scheduler.step_pred(eps, state, torch.from_numpy(later), draws)[0]
        return from_torch(state, "float32")

    def _drift(self, x: Tensor, t: Times) -> Tensor:
        return x - self._moved(torch.zeros_like(x), x, t)[1]

    def _moved(
        self, eps: Tensor, x: Tensor, t: Times, n: int = 1, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return x and its mean after one step of n, of the length 1/n."""
        self._scheduler.set_timesteps(n)
        with replay(normal=[torch.zeros_like(x) if noise is None else noise]):
            moved: tuple[Tensor, Tensor] = self._scheduler.step_pred(eps, x, to_torch(t, "float32"))
        return moved


def _single(tensor: Tensor) -> Array:
    return from_torch(tensor.float(), "float32")


def _by_timestep(call: Callable[..., Tensor], t: Times, s: Times, *batches: Tensor) -> Tensor:
    """Return the results of a call for the examples of each pair of timesteps, as `step` takes one number for all.

    An axis of channels is added, of which `step` asks the size.
    """
    result = torch.empty_like(batches[0])
    for pair in np.unique(np.stack([t, s], axis=1), axis=0):
        rows = torch.from_numpy((t == pair[0]) & (s == pair[1]))
        result[rows] = call(int(pair[0]) - 1, int(pair[1]) - 1, *(batch[rows][:, None] for batch in batches))[:, 0]
    return result


def _index(t: Times) -> Tensor:
    """Return the library's timesteps, which start at 0."""
    return torch.from_numpy(np.array(t)) - 1
