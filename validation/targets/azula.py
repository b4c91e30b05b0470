"""azula as targets, `validation.targets.azula:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `vp` | `VPSchedule`, `CosineSchedule` with their samplers | `schedule(t)`, `DDPMSampler.step`, `EulerSampler.step` |
| `karras` | `KarrasDenoiser` on the same schedules | the same, `forward`, and `loss`, whose network sees x_t |

The schedules keep a floor of noise, alpha² + sigma² = 1 + sigma_min², which is 1e-6 by default: another convention.
The adapter asks for a floor of 1e-30, whose square rounds to 0, so that `VPSchedule` is the linear schedule from
beta_min = 0 to beta_max = -4 log(alpha_min), and `CosineSchedule` the cosine schedule with s = 0.

The backbone of `KarrasDenoiser` predicts -v; its weight (alpha² + sigma²)/sigma² of x_0 is 1 of v.

Not claimed: the multistep samplers, which own their grid; `SimpleDenoiser.loss`, whose weight is SNR + 1 of x_0;
`ItoSampler` and eta; the default floor.
"""

from __future__ import annotations

from importlib.metadata import version
from math import exp, log
from typing import Any, final

import torch
from azula.denoise import DiracPosterior, KarrasDenoiser
from azula.noise import CosineSchedule, VPSchedule
from azula.sample import DDPMSampler, EulerSampler
from torch import Tensor, nn

from refdiff.conformance.adapters import Library, Network, one_by_one, replay
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Cosine,
    Denoiser,
    Linear,
    Parameterization,
    Process,
    Reduction,
    Rule,
    Target,
    Times,
    Unsupported,
    Weighting,
)
from validation.targets.arrays import array as _array
from validation.targets.arrays import tensor as _tensor

_FLOOR = 1e-30
_PROCESSES = (Linear(beta_min=0.0, beta_max=-4 * log(1e-3)), Cosine(s=0.0))


def vp() -> Target:
    """Return the schedules and the samplers of one step."""
    return Library(_claim("VPSchedule and CosineSchedule", 0.0, "none", "schedule", "step"), _Stepper)


def karras() -> Target:
    """Return KarrasDenoiser, from the time on at which its weight does not overflow."""
    return Library(
        _claim("KarrasDenoiser", 0.01, "all_mean", "schedule", "perturb", "convert", "loss", "step"), _Karras
    )


def _claim(name: str, t_min: float, reduction: Reduction, *capabilities: Capability) -> Claim:
    return Claim(
        name=f"azula {name}",
        version=version("azula"),
        dtype="float32",
        processes=_PROCESSES,
        capabilities=frozenset(capabilities),
        t_min=t_min,
        reduction=reduction,
    )


def _schedule(process: Process) -> Any:
    if isinstance(process, Linear):
        return VPSchedule(alpha_min=exp(-process.beta_max / 4), sigma_min=_FLOOR)
    return CosineSchedule(alpha_min=_FLOOR, sigma_min=_FLOOR)


class _Scheduled:
    """A schedule."""

    def __init__(self, process: Process) -> None:
        self._schedule = _schedule(process)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call the schedule."""
        alpha, sigma = self._schedule(_tensor(t))
        return {"alpha": _array(alpha), "sigma": _array(sigma)}


class _Stepper(_Scheduled):
    """Samplers of one step, with a denoiser that knows the answer."""

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `step` for each example. The library's samplers are given x_0_hat, by its own alpha and sigma."""
        samplers = {"ddpm": DDPMSampler, "ddim": EulerSampler}
        if rule not in samplers:
            raise Unsupported(f"azula has no rule {rule}")

        def one(x: Tensor, e: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
            alpha, sigma = self._schedule(t)
            denoiser = _Answer(self._schedule, (x - sigma * e) / alpha)
            with replay(normal=[z] if rule == "ddpm" else []):
                moved: Tensor = samplers[rule](denoiser).step(x, t, s)
            return moved

        rows = (_tensor(array).reshape(len(t), -1) for array in (x_t, eps_hat))
        times = (_tensor(array) for array in (t, s))
        return _array(one_by_one(one, *rows, *times, _tensor(noise).reshape(len(t), -1)).reshape(x_t.shape))


@final
class _Answer(nn.Module):
    """A denoiser with one answer."""

    def __init__(self, schedule: Any, mean: Tensor) -> None:
        super().__init__()
        self.schedule, self._mean = schedule, mean

    def forward(self, *_: Tensor) -> DiracPosterior:
        """Return the posterior at the answer."""
        return DiracPosterior(mean=self._mean)


@final
class _Karras(_Stepper):
    """KarrasDenoiser."""

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t as the backbone sees it, times sqrt(alpha² + sigma²), which is 1 but for rounding."""
        backbone = self._backbone(lambda x, _: torch.zeros_like(x))
        with replay(normal=[_tensor(eps)]):
            KarrasDenoiser(backbone, self._schedule).loss(_tensor(x_0), _tensor(t))
        return _array(backbone.inputs[0])

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call the denoiser, which returns x_0_hat, with a backbone that answers -v."""
        if (source, to) != ("v", "x_0"):
            raise Unsupported(f"KarrasDenoiser has no call that gives {to} from {source}")
        backbone = self._backbone(lambda *_: -_tensor(value))
        return _array(KarrasDenoiser(backbone, self._schedule)(_tensor(x_t), _tensor(t)).mean)

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call `loss` with its own noise replayed; the backbone answers -v."""
        if (prediction, weight) != ("v", "uniform"):
            raise Unsupported(f"KarrasDenoiser has no weight {weight} of {prediction}")
        backbone = self._backbone(lambda x, _: -_tensor(denoiser(_array(x), t)))
        with replay(normal=[_tensor(eps)]):
            return _array(KarrasDenoiser(backbone, self._schedule).loss(_tensor(x_0), _tensor(t)))

    def _backbone(self, answer: Any) -> Network:
        return Network(answer, dtype_holder=nn.Parameter(torch.zeros(())))  # the library asks for its dtype
