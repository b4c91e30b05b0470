"""Flow matching libraries on their variance-preserving paths, `validation.targets.flow_matching:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `meta` | Meta's flow_matching: `VPScheduler`, `CosineScheduler`, `AffineProbPath` | those below |
| `meta_solvers` | the same in float64, and `ODESolver` with each method of a fixed order | the same but a step |
| `torchcfm_vp` | torchcfm: `VariancePreservingConditionalFlowMatcher` | `sample_xt`, and that below |

In both t = 1 is the data. The adapter reverses time in float64, so that a small time is not lost in 1 - t, and rounds
the results to float32: formulas are judged, and their cancellation only where float64 shows it in float32.

Meta's calls: the scheduler, `AffineProbPath.sample`, its conversions, and for a step `epsilon_to_velocity` or
`target_to_velocity` with `ODESolver.sample` of one step by Euler's method.
torchcfm's: `sample_location_and_conditional_flow`, which draws the times if it is given none.

On the trigonometric path the velocity, which both libraries regress on, is -pi/2 v. So a network for it predicts v, and
the squared error, which both leave to the user and the adapter takes, is pi^2/4 of that of v, with weight 1.

Not claimed: velocities of `VPScheduler`, which are no multiple of a prediction; `LinearVPScheduler` and the paths of
conditional optimal transport, which are no processes of the contract; samplers of torchcfm, which has none of its own.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from math import pi
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from refdiff.conformance.adapters import Library, from_torch, one_by_one, per_example, time_reversed, to_torch
from refdiff.conformance.interface import (
    Array,
    Capability,
    Claim,
    Cosine,
    Denoiser,
    DType,
    Linear,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
    Unsupported,
    Weight,
    Weighting,
)
from refdiff.conformance.step import Step

_VELOCITY = -pi / 2
"""The velocity of the trigonometric path over v."""
_WEIGHTS: tuple[Weighting, ...] = ("uniform", "snr_plus_one")
_LOSS: dict[str, Any] = {"loss_factor": _VELOCITY**2, "weights": _WEIGHTS, "contract": 2}
_ORDERS = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
_SAMPLERS = {
    f"{method}, from {prediction}": Sampler(
        name=f"{method}, from {prediction}", prediction=prediction, order=order, chains=False
    )
    for method, order in _ORDERS.items()
    for prediction in ("eps", "x_0")
}


def meta() -> Target:
    """Return Meta's flow_matching."""
    steps = (Step(kind="ode"), Step(kind="ode", prediction="x_0"))
    return _meta("its VP paths", "float32", (Linear, Cosine(s=0.0)), "step", steps=steps)


def meta_solvers() -> Target:
    """Return Meta's flow_matching with ODESolver, from a time on of which 1 - t keeps most digits."""
    processes = (Linear(beta_min=0.1, beta_max=20.0), Cosine(s=0.0))
    return _meta(
        "ODESolver on its VP paths", "float64", processes, "sample", samplers=tuple(_SAMPLERS.values()), t_min=2.0**-6
    )


def _meta(name: str, dtype: DType, processes: tuple[Any, ...], more: Capability, **claimed: Any) -> Target:
    claim = Claim(
        name=f"flow-matching, {name}",
        version=version("flow-matching"),
        dtype=dtype,
        processes=processes,
        capabilities=frozenset({"schedule", "perturb", "convert", "loss", more}),
        **_LOSS,
        **claimed,
    )
    return Library(claim, partial(_Meta, dtype=dtype))


def torchcfm_vp() -> Target:
    """Return torchcfm's trigonometric path."""
    claim = Claim(
        name="torchcfm, its VP path",
        version=version("torchcfm"),
        dtype="float32",
        processes=(Cosine(s=0.0),),
        capabilities=frozenset({"perturb", "loss", "times"}),
        **_LOSS,
    )
    return Library(claim, _Torchcfm)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return to_torch(array, "float64")


def _reversed(t: Times) -> Tensor:
    return _tensor(time_reversed(t.astype("float64")))


def _array(tensor: Tensor, dtype: DType = "float32") -> Array:
    return from_torch(tensor.to(getattr(torch, dtype)), dtype)


@final
class _Meta:
    """A path with one of the VP schedulers."""

    def __init__(self, process: Process, dtype: DType) -> None:
        from flow_matching.path import AffineProbPath
        from flow_matching.path.scheduler import CosineScheduler, VPScheduler

        if isinstance(process, Linear):
            self._scheduler: Any = VPScheduler(process.beta_min, process.beta_max)
        else:
            self._scheduler = CosineScheduler()
        self._path = AffineProbPath(self._scheduler)
        self._trigonometric = isinstance(process, Cosine)
        self._array = partial(_array, dtype=dtype)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call the scheduler."""
        called = self._scheduler(_reversed(t))
        return {"alpha": self._array(called.alpha_t), "sigma": self._array(called.sigma_t)}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `sample`; the library's x_0 is the noise."""
        return self._array(self._path.sample(x_0=_tensor(eps), x_1=_tensor(x_0), t=_reversed(t)).x_t)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call the conversion of the path, which needs times of the shape of x_t."""
        names = {"eps": "epsilon", "x_0": "target"} | ({"v": "velocity"} if self._trigonometric else {})
        if source not in names or to not in names or source == to:
            raise Unsupported(f"AffineProbPath has no call that gives {to} from {source}")
        call = getattr(self._path, f"{names[source]}_to_{names[to]}")
        given = _tensor(value) * (_VELOCITY if source == "v" else 1.0)
        found = call(given, _tensor(x_t), per_example(_reversed(t), x_t))
        return self._array(found / (_VELOCITY if to == "v" else 1.0))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Return the squared error of a velocity, whose truth is the `dx_t` of `sample`."""
        del weight
        if prediction != "v" or not self._trigonometric:
            raise Unsupported("the velocity of this path is no multiple of this prediction")
        path = self._path.sample(x_0=_tensor(eps), x_1=_tensor(x_0), t=_reversed(t))
        velocity = _VELOCITY * _tensor(denoiser(self._array(path.x_t), t))
        return self._array((velocity - path.dx_t) ** 2)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Solve the flow from t to s by one step of Euler's method, for each example."""
        del noise

        def one(x: Tensor, y: Tensor, start: Tensor, end: Tensor) -> Tensor:
            return self._flowed(lambda *_: y, rule.prediction, x, torch.stack([start, end]), "euler")

        rows = (_tensor(array).reshape(len(t), -1) for array in (x_t, value))
        return self._array(one_by_one(one, *rows, _reversed(t), _reversed(s)).reshape(x_t.shape))

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Solve the flow along the times by one of the methods of torchdiffeq."""
        del seed

        def predicted(y: Tensor, t: Tensor) -> Tensor:
            return _tensor(denoiser(self._array(y), self._array((1 - t).expand(len(y)))))

        method, prediction = sampler.split(", from ")
        return self._array(self._flowed(predicted, prediction, _tensor(x), _reversed(times), method))

    def _flowed(self, predicted: Any, prediction: str, x: Tensor, grid: Tensor, method: str) -> Tensor:
        from flow_matching.solver import ODESolver

        velocity = {"eps": self._path.epsilon_to_velocity, "x_0": self._path.target_to_velocity}[prediction]
        solver = ODESolver(lambda x, t: velocity(predicted(x, t), x, t))
        moved: Tensor = solver.sample(x, step_size=None, method=method, time_grid=grid)
        return moved


@final
class _Torchcfm:
    """The trigonometric path without further noise."""

    def __init__(self, process: Process) -> None:
        from torchcfm import VariancePreservingConditionalFlowMatcher

        del process
        self._matcher = VariancePreservingConditionalFlowMatcher(sigma=0.0)

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `sample_xt` from noise to data; the noise that it adds to the path has the deviation 0."""
        noise, data = _tensor(eps), _tensor(x_0)
        return _array(self._matcher.sample_xt(noise, data, _reversed(t), torch.zeros_like(data)))

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Return the squared error of a velocity, which `sample_location_and_conditional_flow` returns with x_t."""
        del weight
        if prediction != "v":
            raise Unsupported("the velocity of this path is a multiple of v alone")
        sampled = self._matcher.sample_location_and_conditional_flow(_tensor(eps), _tensor(x_0), _reversed(t))
        velocity = _VELOCITY * _tensor(denoiser(_array(sampled[1]), t))
        return _array((velocity - sampled[2]) ** 2)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Let `sample_location_and_conditional_flow` draw the times; nothing is weighted."""
        torch.manual_seed(seed)
        t = self._matcher.sample_location_and_conditional_flow(torch.zeros(n, 1), torch.zeros(n, 1))[0]
        return from_torch(1 - t, "float32"), from_torch(torch.ones(n), "float32")
