"""score-models as a target, `validation.targets.score_models:vp`.

Calls: `VPSDE.marginal_prob_scalars`, `drift` and `diffusion`, the loss of `ScoreModel`, whose time is replayed or, for
`times`, drawn, and `ScoreModel.score` and `sample`. Its network predicts -eps, and sees x_t and t. The loss is a sum
over the event, and a mean over the batch.

`sample` goes from T to epsilon in even steps: the adapter chooses these two by the times of the run, gives x in place
of a draw of the prior, and refuses uneven times. Its error by finding 16 vanishes with the length of the steps, so that
SMP-13, which is about many steps, does not show it.

Not claimed: a grid, as no call returns the times of `sample`.
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, final

import numpy as np
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
    Sampler,
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
        capabilities=frozenset({"schedule", "perturb", "sde", "convert", "loss", "times", "sample"}),
        contract=2,
        reduction="batch_mean",
        weights=("uniform",),
        samplers=(Sampler(name="euler_maruyama", stochastic=True),),
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
        model = self._model(lambda t, x: torch.zeros_like(x))
        with replay(normal=[_tensor(eps)], uniform=[_tensor(t)]):
            model.loss_fn(_tensor(x_0))
        return _array(model.model.times[0])  # this library's networks take t first

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `score`, with a network that answers -eps."""
        if (source, to) != ("eps", "score"):
            raise Unsupported(f"ScoreModel has no call that gives {to} from {source}")
        return _array(self._model(lambda *_: -_tensor(value)).score(_tensor(t), _tensor(x_t)))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Call `loss_fn` with its own noise and time replayed; the network answers -eps."""
        if (prediction, weight) != ("eps", "uniform"):
            raise Unsupported(f"ScoreModel has no weight {weight} of {prediction}")
        model = self._model(_minus(denoiser))
        with replay(normal=[_tensor(eps)], uniform=[_tensor(t)]):
            loss: Tensor = model.loss_fn(_tensor(x_0))
        return _array(loss)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return the times that the loss gives to its network; nothing is weighted."""
        model = self._model(lambda t, x: torch.zeros_like(x))
        torch.manual_seed(seed)
        model.loss_fn(torch.zeros(n, 1))
        return _array(model.model.inputs[0]), _array(torch.ones(n))

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `sample` from the first to the last of the times."""
        del sampler  # there is one
        lengths = np.diff(times)
        if not np.allclose(lengths, lengths.mean(), rtol=1e-3, atol=0.0):
            raise Unsupported("sample takes steps of one length")
        torch.manual_seed(seed)
        model = self._model(_minus(denoiser), T=float(times[0]), epsilon=float(times[-1]))
        model.sde.prior = lambda *_: SimpleNamespace(sample=lambda _: _tensor(x))
        return _array(model.sample(x.shape, len(lengths)))

    def _model(self, answer: Any, **options: float) -> Any:
        chosen = self._options | options
        return ScoreModel(model=Network(answer), sde="vp", device="cpu", **chosen)  # an SDE as object fails


def _minus(denoiser: Denoiser) -> Any:
    """Return a network of the library, which takes t first and predicts -eps."""
    return lambda t, x: -_tensor(denoiser(_array(x), _array(t)))
