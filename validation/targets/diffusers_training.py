"""What Hugging Face diffusers has for training, as targets, `validation.targets.diffusers_training:FACTORY`.

| factory | library class |
|---|---|
| `ddpm` | `DDPMScheduler` |
| `ddim` | `DDIMScheduler`, which has copies of the same calls |

Calls: `add_noise`, `get_velocity`, which is the target of a network that predicts v, and `compute_snr`.

The library has no loss: its training scripts, which are no part of the package, take torch's mean of squares, and for
min-SNR multiply it by min(SNR, gamma) over the SNR for eps and over SNR + 1 for v. The adapter does the same with what
the calls return, so the losses judge these calls.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr

from refdiff.conformance.adapters import Library
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Denoiser,
    MinSNR,
    Parameterization,
    Process,
    Target,
    Times,
    Unsupported,
    Weight,
)
from validation.targets.arrays import array as _array
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor
from validation.targets.diffusers import SCHEDULES


def ddpm() -> Target:
    """Return a training step with DDPMScheduler, on the library's own schedules."""
    return _target("diffusers training", DDPMScheduler)


def ddim() -> Target:
    """Return the same with DDIMScheduler."""
    return _target("diffusers training, DDIMScheduler", DDIMScheduler)


def _target(name: str, scheduler: Any) -> Target:
    claim = Claim(
        name=name,
        version=version("diffusers"),
        dtype="float32",
        processes=tuple(SCHEDULES),
        capabilities=frozenset({"schedule", "perturb", "loss"}),
        reduction="example_mean",
        weights=("uniform", MinSNR),
        contract=2,
    )
    return Library(claim, lambda process: _Training(process, scheduler))


@final
class _Training:
    """A training step on one chain."""

    def __init__(self, process: Process, scheduler: Any) -> None:
        assert isinstance(process, Chain)
        self._scheduler = scheduler(**SCHEDULES[process])

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read `alphas_cumprod`, and call `compute_snr`."""
        log_snr = torch.log(compute_snr(self._scheduler, _index(t)))
        return {"alpha_bar": _array(self._scheduler.alphas_cumprod[_index(t)]), "log_snr": _array(log_snr)}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `add_noise`."""
        return _array(self._scheduler.add_noise(_tensor(x_0), _tensor(eps), _index(t)))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `add_noise`, for v `get_velocity`, and for min-SNR `compute_snr`."""
        data, noise, k = _tensor(x_0), _tensor(eps), _index(t)
        targets = {"eps": noise, "x_0": data, "v": self._scheduler.get_velocity(data, noise, k)}
        if prediction not in targets:
            raise Unsupported(f"diffusers has no training of {prediction}")
        given = denoiser(_array(self._scheduler.add_noise(data, noise, k)), t)
        losses = (_tensor(given) - targets[prediction]).square().reshape(len(t), -1).mean(1)
        if isinstance(weight, MinSNR):
            snr = compute_snr(self._scheduler, k)
            losses = losses * snr.clamp(max=weight.gamma) / {"eps": snr, "v": snr + 1}.get(prediction, 1)
        return _array(losses)
