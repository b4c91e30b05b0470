"""k-diffusion as a target, `validation.targets.k_diffusion:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `v` | `VDenoiser` | `t_to_sigma`, `loss`, `forward` |
| `eps` | `DiscreteEpsDDPMDenoiser` on the table of DDPM's chain | `sigmas`, `loss`, `forward` |

The library's noise level is sigma/alpha, and its state x_t/alpha, which the networks see as x_t. `forward` returns
x_0_hat. Losses are means over the event; the adapter multiplies them by its size. With t = 2 atan(sigma/alpha)/pi,
`VDenoiser` has the cosine schedule with s = 0.

Not claimed: its samplers, which own their grid; weights; `VDenoiser` at t = 0, where its loss is 0/0, and above
t = 0.999, where tan(pi t/2) loses its digits and its sign.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import torch
from k_diffusion.external import DiscreteEpsDDPMDenoiser, VDenoiser
from torch import Tensor

from refdiff.conformance.adapters import Library, Network, from_edm_sigma, from_torch, per_example, to_torch
from refdiff.conformance.interface import (
    Array,
    Claim,
    Cosine,
    Denoiser,
    Parameterization,
    Process,
    Target,
    Times,
    Unsupported,
    Weighting,
)
from validation.targets import chains
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor


def v() -> Target:
    """Return VDenoiser."""
    return _target("VDenoiser", Cosine(s=0.0), "v", t_min=1e-4, t_max=0.999)


def eps() -> Target:
    """Return DiscreteEpsDDPMDenoiser."""
    return _target("DiscreteEpsDDPMDenoiser", chains.LINEAR, "eps", t_min=0.0, t_max=1.0)


def _target(name: str, process: Process, prediction: Parameterization, t_min: float, t_max: float) -> Target:
    claim = Claim(
        name=f"k-diffusion {name}",
        version=version("k-diffusion"),
        dtype="float32",
        processes=(process,),
        capabilities=frozenset({"schedule", "perturb", "convert", "loss"}),
        t_min=t_min,
        t_max=t_max,
    )
    return Library(claim, lambda _: _Wrapped(prediction))


def _array(tensor: Tensor) -> Array:
    return from_torch(tensor.float(), "float32")


@final
class _Wrapped:
    """A wrapper around a network that predicts eps or v."""

    def __init__(self, prediction: Parameterization) -> None:
        self._prediction = prediction
        alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, chains.N), dim=0)
        self._table = alphas if prediction == "eps" else None
        self._plain = self._around(lambda x, *_: x)

    def _around(self, network: Any) -> Any:
        model: Any = torch.nn.Identity()
        model.forward = network
        return VDenoiser(model) if self._table is None else DiscreteEpsDDPMDenoiser(model, self._table, quantize=True)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Convert sigma/alpha."""
        alpha, sigma = from_edm_sigma(self._sigma(t).double().numpy())
        return {"alpha": alpha.astype("float32"), "sigma": sigma.astype("float32")}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t as the network of `loss` sees it."""
        network = Network(lambda x, _: torch.zeros_like(x))
        self._around(lambda *given: network(*given)).loss(self._data(x_0), self._data(eps), self._sigma(t))
        return _array(network.inputs[0].reshape(x_0.shape))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Call `loss`; the network sees x_t."""
        if (prediction, weight) != (self._prediction, "uniform"):
            raise Unsupported(f"no weight {weight} of {prediction}")
        shape = x_0.shape

        def answer(x: Tensor, _: Tensor) -> Tensor:
            return _tensor(denoiser(_array(x).reshape(shape), t)).reshape(x.shape)

        model = self._around(answer)
        losses: Tensor = model.loss(self._data(x_0), self._data(eps), self._sigma(t))
        return _array(losses * x_0[0].size)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `forward`, which returns x_0_hat, on x_t/alpha."""
        if (source, to) != (self._prediction, "x_0"):
            raise Unsupported(f"no call that gives {to} from {source}")
        alpha = torch.from_numpy(from_edm_sigma(self._sigma(t).double().numpy())[0])
        state = (to_torch(x_t, "float64") / per_example(alpha, x_t)).float()
        return _array(self._around(lambda *_: _tensor(value))(state, self._sigma(t)))

    def _sigma(self, t: Times) -> Tensor:
        if self._table is None:
            sigma: Tensor = self._plain.t_to_sigma(_tensor(t))
        else:
            sigma = self._plain.sigmas[_index(t)]
        return sigma

    def _data(self, array: Array) -> Tensor:
        """Return the data, with an axis for `flatten` where an event is one number."""
        return _tensor(array) if array.ndim > 1 else _tensor(array)[:, None]
