"""azula's whole samplers as targets, `validation.targets.azula_samplers:FACTORY`, in float64.

| factory | library classes |
|---|---|
| `each` | all samplers but `REABSampler`: one-step, multistep and stochastic ones |
| `reab` | `REABSampler`, which is declared as of order 2 and is of order 1: a bug of the library |
| `reab_as_is` | the same, claimed to be of order 1 |

Calls: `schedule(t)`, `timesteps`, and the samplers themselves, with a denoiser that returns x_0_hat, on the schedules
with their default floor. A subclass gives the times in place of the property `timesteps`, whose steps are even.

Order 2 is that of the classes by their documentation, and the default of their argument `order`. `ItoSampler` and
`REABSampler` are not exact where all data is one point.

Not claimed: orders above 2, as the first step of a multistep run is of order 1.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from azula import sample
from azula.denoise import DiracPosterior
from azula.noise import Schedule
from torch import Tensor, nn

from refdiff.conformance.adapters import Library, from_torch, to_torch
from refdiff.conformance.interface import Array, Claim, Denoiser, Sampler, Target, Times
from validation.targets.azula import FLOORED

_STOCHASTIC = {"DDPMSampler": True, "PCSampler": True, "ItoSampler": False}
_ORDERS = {
    "EulerSampler": 1,
    "DDIMSampler": 1,
    "HeunSampler": 2,
    "zABSampler": 2,
    "vABSampler": 2,
    "zEABSampler": 2,
    "xEABSampler": 2,
}


def each() -> Target:
    """Return all samplers but REABSampler."""
    stochastic = (_sampler(name, 1, exact=exact, stochastic=True) for name, exact in _STOCHASTIC.items())
    return target("samplers", (*(_sampler(*item, exact=True) for item in _ORDERS.items()), *stochastic))


def reab() -> Target:
    """Return REABSampler."""
    return target("REABSampler", (_sampler("REABSampler", 2, exact=False),))


def reab_as_is() -> Target:
    """Return REABSampler, claimed to be of the order that it has."""
    return target("REABSampler, of order 1", (_sampler("REABSampler", 1, exact=False),))


def _sampler(name: str, order: int, *, exact: bool, stochastic: bool = False) -> Sampler:
    return Sampler(name=name, prediction="x_0", order=order, exact=exact, stochastic=stochastic)


def target(name: str, samplers: tuple[Sampler, ...], classes: Any = sample) -> Target:
    """Return a target of these samplers, which are attributes of `classes`."""
    claim = Claim(
        name=f"azula {name}",
        version=version("azula"),
        dtype="float64",
        processes=tuple(FLOORED),
        capabilities=frozenset({"schedule", "grid", "sample"}),
        contract=2,
        samplers=samplers,
    )
    return Library(claim, lambda process: _Runs(FLOORED[process], classes))


def _tensor(array: Array | Times) -> Tensor:
    return to_torch(array, "float64")


def _array(tensor: Tensor) -> Array:
    return from_torch(tensor, "float64")


@final
class _Asked(nn.Module):
    """A denoiser of the library that asks one of the contract."""

    def __init__(self, schedule: Schedule, denoiser: Denoiser) -> None:
        super().__init__()
        self.schedule, self._denoiser = schedule, denoiser

    def forward(self, x: Tensor, t: Tensor) -> DiracPosterior:
        """Return the posterior at x_0_hat."""
        return DiracPosterior(mean=_tensor(self._denoiser(_array(x), np.full(len(x), t.item()))))


@final
class _Runs:
    """The samplers on one schedule."""

    def __init__(self, schedule: Schedule, classes: Any) -> None:
        self._schedule, self._classes = schedule, classes

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call the schedule."""
        alpha, sigma = self._schedule(_tensor(t))
        return {"alpha": _array(alpha), "sigma": _array(sigma)}

    def grid(self, n: int) -> Times:
        """Read the times of a sampler."""
        return _array(sample.DDIMSampler(None, steps=n, dtype=torch.float64).timesteps)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call the sampler, with these times as its own."""
        torch.manual_seed(seed)
        along = type(sampler, (getattr(self._classes, sampler),), {"timesteps": _tensor(times)})
        return _array(along(_Asked(self._schedule, denoiser), silent=True)(_tensor(x)))
