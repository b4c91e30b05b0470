"""smalldiffusion as a target, `validation.targets.smalldiffusion:ddpm`.

Calls: `ScheduleDDPM`, `ScheduleLDM`, `ScheduleCosine`, `get_loss` of a model that predicts eps, x_0 (`PredX0`) or v
(`PredV`), and `samples` over one step, with mu = 0 for DDIM and mu = 1/2 for DDPM.

The library's noise level is sigma/alpha, and its state x_t/alpha: the adapter converts both in float64, and rounds
once.

Not claimed: its own grids, gamma > 1, flow matching; the loss has no weights, and is a mean of all.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator
from smalldiffusion import ModelMixin, PredV, PredX0, ScheduleCosine, ScheduleDDPM, ScheduleLDM, samples
from torch import Tensor, nn

from refdiff.conformance.adapters import (
    Library,
    Network,
    from_edm_sigma,
    from_torch,
    one_by_one,
    per_example,
    replay,
    to_torch,
)
from refdiff.conformance.interface import (
    Array,
    Claim,
    Denoiser,
    Parameterization,
    Process,
    Rule,
    Target,
    Times,
    Unsupported,
    Weighting,
)
from validation.targets import chains
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, Any] = {
    chains.LINEAR: ScheduleDDPM,
    chains.SCALED_LINEAR: ScheduleLDM,
    chains.COSINE: ScheduleCosine,
}


def ddpm() -> Target:
    """Return the schedules of DDPM, of Stable Diffusion, and the cosine one."""
    claim = Claim(
        name="smalldiffusion",
        version=version("smalldiffusion"),
        dtype="float32",
        processes=tuple(_SCHEDULES),
        capabilities=frozenset({"schedule", "perturb", "loss", "step"}),
        reduction="all_mean",
    )
    return Library(claim, _Small)


def _wide(array: Array) -> Tensor:
    return to_torch(array, "float64")


def _array(tensor: Tensor) -> Array:
    return from_torch(tensor.float(), "float32")


class _Eps(nn.Module, ModelMixin):  # type: ignore[misc]  # the library has no types
    """A model with an answer to (x, sigma)."""

    _answer: Any

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer
        self.input_dims: tuple[int, ...] = ()

    def forward(self, x: Tensor, sigma: Tensor, cond: None = None) -> Tensor:
        """Return the answer."""
        del cond
        answer: Tensor = self._answer(x, sigma)
        return answer


_MODELS: dict[str, Any] = {"eps": _Eps, "x_0": PredX0(_Eps), "v": PredV(_Eps)}


@final
class _Small:
    """One schedule."""

    def __init__(self, process: Process) -> None:
        self._schedule = _SCHEDULES[process](chains.N)
        self._accelerator = Accelerator(cpu=True)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Index the schedule, and convert sigma/alpha."""
        alpha, sigma = (scale.astype("float32") for scale in self._scales(t))
        return {"alpha": alpha, "sigma": sigma}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return alpha times the state that the model sees in `get_loss`."""
        network = Network(lambda x, _: x)
        model: Any = _Eps(network)
        model.get_loss(_tensor(x_0), per_example(self._sigma(t), x_0), _tensor(eps))
        return _array(per_example(torch.from_numpy(self._scales(t)[0]), x_0) * network.inputs[0])

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call `get_loss`; the denoiser is given alpha times the state."""
        if weight != "uniform" or prediction not in _MODELS:
            raise Unsupported(f"smalldiffusion has no weight {weight} of {prediction}")
        alpha = per_example(torch.from_numpy(self._scales(t)[0]), x_0)
        model = _MODELS[prediction](lambda x, _: _tensor(denoiser(_array(alpha * x), t)))
        sigma = per_example(self._sigma(t), x_0)
        return _array(model.get_loss(_tensor(x_0), sigma, _tensor(eps)))

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `samples` over one pair of noise levels, for each example."""
        if rule not in ("ddim", "ddpm"):
            raise Unsupported(f"smalldiffusion has no rule {rule}")
        start, end = (per_example(torch.from_numpy(self._scales(k)[0]), x_t) for k in (t, s))
        shape = (len(t), -1)
        state, e, z = (array.reshape(shape) for array in (_wide(x_t) / start, _wide(eps_hat), _wide(noise)))

        mu = 0.5 if rule == "ddpm" else 0.0

        def one(x: Tensor, e: Tensor, z: Tensor, high: Tensor, low: Tensor) -> Tensor:
            model = _Eps(lambda *_: e)
            model.input_dims = tuple(x.shape[1:])
            with replay(normal=[z]):
                moved: Tensor = next(
                    samples(model, torch.stack([high, low]), mu=mu, xt=x, accelerator=self._accelerator)
                )
            return moved

        moved = one_by_one(one, state, e, z, self._sigma(t).double(), self._sigma(s).double())
        return _array(moved.reshape(x_t.shape) * end)

    def _sigma(self, k: Times) -> Tensor:
        """Return the library's noise level of each k; k = 0 is the data, without noise."""
        index = torch.from_numpy(np.maximum(k - 1, 0))
        return torch.where(torch.from_numpy(k) > 0, self._schedule[index], 0.0)

    def _scales(self, k: Times) -> tuple[Array, Array]:
        return from_edm_sigma(self._sigma(k).double().numpy())
