"""azula as targets, `validation.targets.azula:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `vp` | `VPSchedule`, `CosineSchedule` | `schedule(t)`, `init`, `timesteps` and `step` of the samplers, `CFGDenoiser` |
| `denoisers` | `SimpleDenoiser`, `KarrasDenoiser` on them | `schedule(t)`, `init`, `step`, `loss`, `forward` |

The whole samplers are in `validation.targets.azula_samplers`.

The schedules keep a floor of noise, alpha² + sigma² = 1 + sigma_min²: two processes of the library's own have the
default floor of 1e-3. For the other processes the adapter asks for a floor of 1e-30, whose square rounds to 0, so
that `VPSchedule` is the linear schedule from beta_min = 0 to beta_max = -4 log(alpha_min), and `CosineSchedule` the
cosine schedule with s = 0.

`init` noises the mean of the data to the sampler's start: data without variance become x_t. `DDIMSampler` takes the
share of the variance, which is the contract's eta squared; `CFGDenoiser` counts its guidance from the conditional
prediction. The backbone of `SimpleDenoiser` predicts x_0, and that of `KarrasDenoiser` -v; the weight SNR + 1 of x_0 is
the weight 1 of v. The adapter switches off the bound of the first, `max_weight`.

Not claimed: the losses below t = 0.01, where the weight overflows; samplers of times, which the library has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from math import inf, log
from typing import Any, final

import numpy as np
import torch
from azula.denoise import KarrasDenoiser, SimpleDenoiser
from azula.guidance import CFGDenoiser
from azula.noise import CosineSchedule, Schedule, VPSchedule
from azula.sample import DDIMSampler, DDPMSampler
from torch import Tensor, nn

from refdiff.conformance.adapters import Library, Network, one_by_one, replay
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Cosine,
    Denoiser,
    Linear,
    Own,
    Parameterization,
    Process,
    Target,
    Times,
    Unsupported,
    Weight,
    Weighting,
)
from refdiff.conformance.step import Step
from validation.targets.arrays import array as _array
from validation.targets.arrays import tensor as _tensor

_FLOOR = 1e-30
_PLAIN: dict[Process, Schedule] = {
    Linear(beta_min=0.0, beta_max=-4 * log(1e-3)): VPSchedule(alpha_min=1e-3, sigma_min=_FLOOR),
    Cosine(s=0.0): CosineSchedule(alpha_min=_FLOOR, sigma_min=_FLOOR),
}
FLOORED: dict[Process, Schedule] = {
    Own(label="VPSchedule()", sigma_min=1e-3): VPSchedule(),
    Own(label="CosineSchedule()", sigma_min=1e-3): CosineSchedule(),
}
"""The library's defaults."""


_WEIGHTS: Mapping[Parameterization, Weighting] = {"x_0": "snr_plus_one", "v": "uniform"}
"""Weight of the loss of SimpleDenoiser, and of KarrasDenoiser, by what their backbones predict."""


def vp() -> Target:
    """Return the schedules, the samplers of one step, and guidance."""
    calls: tuple[Capability, ...] = ("step", "grid", "guide")
    return _target("VPSchedule and CosineSchedule", _steps("x_0"), *calls)


def denoisers() -> Target:
    """Return SimpleDenoiser and KarrasDenoiser."""
    return _target("SimpleDenoiser and KarrasDenoiser", _steps("v"), "convert", "loss", "step", t_min=0.01)


def _steps(prediction: Parameterization) -> tuple[Step, ...]:
    steps = Step(kind="ddpm", prediction=prediction), Step(kind="ddim", prediction=prediction)
    return (*steps, Step(kind="ddim", prediction=prediction, eta=0.5))


def _target(name: str, steps: tuple[Step, ...], *more: Capability, t_min: float = 0.0) -> Target:
    schedules = _PLAIN | FLOORED
    claim = Claim(
        name=f"azula {name}",
        version=version("azula"),
        dtype="float32",
        processes=tuple(schedules),
        capabilities=frozenset({"schedule", "perturb", *more}),
        contract=2,
        t_min=t_min,
        reduction="all_mean",
        weights=tuple(_WEIGHTS.values()),
        steps=steps,
    )
    return Library(claim, lambda process: _Denoised(schedules[process]))


@final
class _Denoised:
    """A schedule, and denoisers on it."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call the schedule."""
        alpha, sigma = self._schedule(_tensor(t))
        return {"alpha": _array(alpha), "sigma": _array(sigma)}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `init` of a sampler that starts at t, for each example."""
        denoiser = self._denoiser("x_0", None)

        def one(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
            with replay(normal=[eps]):
                x_t: Tensor = DDIMSampler(denoiser, start=t.item(), steps=1).init(x_0.shape, mean=x_0, var=0.0)
            return x_t

        rows = (_tensor(array).reshape(len(t), -1) for array in (x_0, eps))
        return _array(one_by_one(one, *rows, _tensor(t)).reshape(x_0.shape))

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `step` for each example, with a backbone that answers `value`."""
        values = iter(_tensor(value).reshape(len(t), 1, -1).unbind())
        denoiser = self._denoiser(rule.prediction, lambda *_: next(values))
        sampler = DDPMSampler(denoiser) if rule.kind == "ddpm" else DDIMSampler(denoiser, eta=rule.eta**2)

        def one(x: Tensor, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
            with replay(normal=[z]):
                x_s: Tensor = sampler.step(x, t, s)
            return x_s

        rows = (_tensor(array).reshape(len(t), -1) for array in (x_t, noise))
        return _array(one_by_one(one, *rows, *(_tensor(times) for times in (t, s))).reshape(x_t.shape))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call the denoiser, which returns x_0_hat, with a backbone that answers `value`."""
        if (source, to) != ("v", "x_0"):
            raise Unsupported(f"azula has no call that gives {to} from {source}")
        denoiser = self._denoiser(source, lambda *_: _tensor(value))
        return _array(denoiser(_tensor(x_t), _tensor(t)).mean)

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `loss` with its own noise replayed; the backbone sees x_t over sqrt(alpha² + sigma²), and a log-SNR."""
        if weight != _WEIGHTS.get(prediction):
            raise Unsupported(f"azula has no weight {weight} of {prediction}")
        model = self._denoiser(prediction, lambda x, c: _tensor(denoiser(_array(x), self._meant(c, t))))
        options = {"max_weight": inf} if prediction == "x_0" else {}
        with replay(normal=[_tensor(eps)]):
            return _array(model.loss(_tensor(x_0), _tensor(t), **options))

    def _meant(self, c: Tensor, t: Times) -> Times:
        """Return which of the times the library means by c, log(sigma/alpha): the same row's, or else the nearest."""
        alpha, sigma = self._schedule(_tensor(t))
        own = torch.log(sigma / alpha)
        nearest = (own - c[:, None]).abs().argmin(dim=1)
        return np.where((own == c).numpy(), t, t[nearest.numpy()])

    def grid(self, n: int) -> Times:
        """Read the times of a sampler."""
        return _array(DDIMSampler(self._denoiser("x_0", None), steps=n).timesteps)

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        """Call `CFGDenoiser` around a backbone that answers its label."""
        guided = CFGDenoiser(self._denoiser("x_0", lambda *_, label: label))
        labels = ({"label": _tensor(array)} for array in (conditional, unconditional))
        return _array(guided(_tensor(0 * conditional), torch.ones(()), *labels, guidance=scale - 1).mean)

    def _denoiser(self, prediction: str, answer: Any) -> Any:
        """Return a denoiser whose backbone gives what `answer` predicts; v with the other sign."""
        holder = nn.Parameter(torch.zeros(()))  # the library asks for the dtype of its backbones
        if prediction == "x_0":
            return SimpleDenoiser(Network(answer, dtype_holder=holder), self._schedule)
        return KarrasDenoiser(Network(lambda *given: -answer(*given), dtype_holder=holder), self._schedule)
