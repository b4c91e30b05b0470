"""Flow matching libraries on their variance-preserving paths, `validation.targets.flow_matching:FACTORY`.

| factory | library class | calls |
|---|---|---|
| `meta` | Meta's flow_matching: `VPScheduler`, `CosineScheduler`, `AffineProbPath` | those below |
| `torchcfm_vp` | torchcfm: `VariancePreservingConditionalFlowMatcher` | `sample_xt` |

In both t = 1 is the data. The adapter reverses time in float64, so that a small time is not lost in 1 - t, and rounds
the results to float32: formulas are judged, and their cancellation only where float64 shows it in float32.

Meta's calls: the scheduler, `AffineProbPath.sample`, `epsilon_to_target`, `target_to_epsilon`, and for a step
`epsilon_to_velocity` with `ODESolver.sample` of one step by Euler's method.

Not claimed: velocities as a prediction, and losses, which both libraries leave to the user; `LinearVPScheduler`, and
the conditional optimal transport paths, which are no processes of the contract.
"""

from __future__ import annotations

from importlib.metadata import version
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
    Linear,
    Parameterization,
    Process,
    Rule,
    Target,
    Times,
    Unsupported,
)


def meta() -> Target:
    """Return Meta's flow_matching."""
    return Library(_claim("flow-matching", (Linear, Cosine(s=0.0)), "schedule", "perturb", "convert", "step"), _Meta)


def torchcfm_vp() -> Target:
    """Return torchcfm's trigonometric path."""
    return Library(_claim("torchcfm", (Cosine(s=0.0),), "perturb"), _Torchcfm)


def _claim(package: str, processes: tuple[Process | type[Process], ...], *capabilities: Capability) -> Claim:
    return Claim(
        name=f"{package}, its VP paths",
        version=version(package),
        dtype="float32",
        processes=processes,
        capabilities=frozenset(capabilities),
    )


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return to_torch(array, "float64")


def _reversed(t: Times) -> Tensor:
    return _tensor(time_reversed(t.astype("float64")))


def _array(tensor: Tensor) -> Array:
    return from_torch(tensor.float(), "float32")


@final
class _Meta:
    """A path with one of the VP schedulers."""

    def __init__(self, process: Process) -> None:
        from flow_matching.path import AffineProbPath
        from flow_matching.path.scheduler import CosineScheduler, VPScheduler

        if isinstance(process, Linear):
            self._scheduler: Any = VPScheduler(process.beta_min, process.beta_max)
        else:
            self._scheduler = CosineScheduler()
        self._path = AffineProbPath(self._scheduler)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Call the scheduler."""
        called = self._scheduler(_reversed(t))
        return {"alpha": _array(called.alpha_t), "sigma": _array(called.sigma_t)}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `sample`; the library's x_0 is the noise."""
        return _array(self._path.sample(x_0=_tensor(eps), x_1=_tensor(x_0), t=_reversed(t)).x_t)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Call `epsilon_to_target` or `target_to_epsilon`, which need times of the shape of x_t."""
        calls = {("eps", "x_0"): self._path.epsilon_to_target, ("x_0", "eps"): self._path.target_to_epsilon}
        if (source, to) not in calls:
            raise Unsupported(f"AffineProbPath has no call that gives {to} from {source}")
        return _array(calls[source, to](_tensor(value), _tensor(x_t), per_example(_reversed(t), x_t)))

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Solve the flow from t to s by one step of Euler's method, for each example."""
        del noise
        if rule != "ode":
            raise Unsupported(f"flow_matching has no rule {rule}")
        rows = (_tensor(array).reshape(len(t), -1) for array in (x_t, eps_hat))
        return _array(one_by_one(self._flowed, *rows, _reversed(t), _reversed(s)).reshape(x_t.shape))

    def _flowed(self, x: Tensor, e: Tensor, start: Tensor, end: Tensor) -> Tensor:
        from flow_matching.solver import ODESolver

        solver = ODESolver(lambda x, t: self._path.epsilon_to_velocity(e, x, t))
        grid: dict[str, Any] = {"step_size": None, "method": "euler", "time_grid": torch.stack([start, end])}
        moved: Tensor = solver.sample(x, **grid)
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
