"""score-models as a target, `validation.targets.score_models:vp`.

Calls: `VPSDE.marginal_prob_scalars`, `drift` and `diffusion`, the loss of `ScoreModel`, whose time is replayed or, for
`times`, drawn, and `ScoreModel.score`. Its network predicts -eps, and sees x_t and t. The loss is a sum over the event,
and a mean over the batch.

Not claimed: `sample`, as its times are no call of the library, and the network meets x at another time than that of x
(finding 16).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import torch
from score_models import ScoreModel
from score_models.sde import VPSDE
from torch import Tensor

from refdiff.conformance.adapters import Library, Network, replay
from refdiff.conformance.interface import (
    Array,
    Claim,
    Denoiser,
    Linear,
    Parameterization,
    Process,
    Target,
    Times,
    Unsupported,
    Weight,
)
from validation.targets.arrays import array as _array
from validation.targets.arrays import tensor as _tensor


def vp() -> Target:
    """Return VPSDE and the loss of ScoreModel."""
    claim = Claim(
        name="score-models VPSDE",
        version=version("score-models"),
        dtype="float32",
        processes=(Linear,),
        capabilities=frozenset({"schedule", "perturb", "sde", "convert", "loss", "times"}),
        contract=2,
        reduction="batch_mean",
        weights=("uniform",),
    )
    return Library(claim, _Vp)


@final
class _Vp:
    """One linear schedule, on [0, 1] rather than [1e-5, 1], so that the library's own draw is the time itself."""

    def __init__(self, process: Process) -> None:
        assert isinstance(process, Linear)
        self._options = {"beta_min": process.beta_min, "beta_max": process.beta_max, "epsilon": 0.0}
        self._sde = VPSDE(**self._options)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call `marginal_prob_scalars` and `beta`."""
        alpha, sigma = self._sde.marginal_prob_scalars(_tensor(t))
        return {"alpha": _array(alpha), "sigma": _array(sigma), "beta": _array(self._sde.beta(_tensor(t)))}

    def drift(self, x: Array, t: Times) -> Array:
        """Call `drift`."""
        return _array(self._sde.drift(_tensor(t), _tensor(x)))

    def diffusion(self, t: Times) -> Array:
        """Call `diffusion` with data of one number."""
        return _array(self._sde.diffusion(_tensor(t), torch.zeros(len(t), 1)).flatten())

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t as the network of the loss sees it."""
        network = Network(lambda t, x: torch.zeros_like(x))
        with replay(normal=[_tensor(eps)], uniform=[_tensor(t)]):
            self._model(network).loss_fn(_tensor(x_0))
        return _array(network.times[0])  # this library's networks take t first

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `score`, with a network that answers -eps."""
        if (source, to) != ("eps", "score"):
            raise Unsupported(f"ScoreModel has no call that gives {to} from {source}")
        return _array(self._model(Network(lambda *_: -_tensor(value))).score(_tensor(t), _tensor(x_t)))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `loss_fn` with its own noise and time replayed; the network answers -eps."""
        if (prediction, weight) != ("eps", "uniform"):
            raise Unsupported(f"ScoreModel has no weight {weight} of {prediction}")
        model = self._model(Network(lambda t, x: -_tensor(denoiser(_array(x), _array(t)))))
        with replay(normal=[_tensor(eps)], uniform=[_tensor(t)]):
            loss: Tensor = model.loss_fn(_tensor(x_0))
        return _array(loss)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return the times that the loss gives to its network; nothing is weighted."""
        network = Network(lambda t, x: torch.zeros_like(x))
        torch.manual_seed(seed)
        self._model(network).loss_fn(torch.zeros(n, 1))
        return _array(network.inputs[0]), _array(torch.ones(n))

    def _model(self, network: Network) -> Any:
        return ScoreModel(model=network, sde="vp", device="cpu", **self._options)  # an SDE as object fails
