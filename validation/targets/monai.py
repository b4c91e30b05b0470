"""MONAI's schedulers as a target, `validation.targets.monai:ddpm`.

| calls | of |
|---|---|
| `NoiseSchedules.add_def`, `alphas_cumprod`, `add_noise`, `get_velocity` | `Scheduler` |
| `step`, which gives x_{t-1} and x_0_hat | `DDPMScheduler`, by prediction type; `DDIMScheduler` |

Not claimed: `set_timesteps` and its grid; eta; learned variances; losses, which are left to the user.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, final

import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, NoiseSchedules
from torch import Tensor

from refdiff.conformance.adapters import Library, one_by_one, replay
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Parameterization,
    Process,
    Rule,
    Target,
    Times,
    Unsupported,
)
from validation.targets import chains
from validation.targets.arrays import array as _array
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, dict[str, Any]] = {
    chains.LINEAR: {"schedule": "linear_beta"},
    chains.SCALED_LINEAR: {"schedule": "scaled_linear_beta", "beta_start": 8.5e-4, "beta_end": 0.012},
    chains.COSINE: {"schedule": "cosine"},
}
_PREDICTION_TYPES = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}


@NoiseSchedules.add_def("refdiff_betas", "Betas that are given")  # type: ignore[untyped-decorator]  # as MONAI has it
def _betas(num_train_timesteps: int, betas: tuple[float, ...]) -> Tensor:
    assert num_train_timesteps == len(betas)
    return torch.tensor(betas, dtype=torch.float32)


def ddpm() -> Target:
    """Return DDPMScheduler, and DDIMScheduler for its step."""
    claim = Claim(
        name="monai DDPMScheduler and DDIMScheduler",
        version=version("monai"),
        dtype="float32",
        processes=(*_SCHEDULES, Chain),
        capabilities=frozenset({"schedule", "perturb", "convert", "posterior", "step"}),
    )
    return Library(claim, _Monai)


@final
class _Monai:
    """Schedulers for one chain, without clipping."""

    def __init__(self, process: Process) -> None:
        assert isinstance(process, Chain)
        given = {"schedule": "refdiff_betas", "betas": process.betas}
        self._options = {"clip_sample": False} | _SCHEDULES.get(process, given)
        self._steps = len(process.betas)
        self._ddpm = {source: self._made(name) for source, name in _PREDICTION_TYPES.items()}

    def _made(self, prediction_type: str) -> DDPMScheduler:
        return DDPMScheduler(self._steps, prediction_type=prediction_type, **self._options)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the table."""
        return {"alpha_bar": _array(self._ddpm["eps"].alphas_cumprod[_index(t)])}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `add_noise`."""
        return _array(self._ddpm["eps"].add_noise(_tensor(x_0), _tensor(eps), _index(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return the x_0_hat of `step`, or v by `get_velocity` of eps and that x_0_hat."""
        if source not in self._ddpm or (to != "x_0" and (source, to) != ("eps", "v")):
            raise Unsupported(f"DDPMScheduler has no call that gives {to} from {source}")
        given, noised = (_rows(array) for array in (value, x_t))
        x_0 = one_by_one(lambda y, k, x: self._ddpm[source].step(y, k, x)[1], given, _index(t), noised)
        result = x_0 if to == "x_0" else self._ddpm["eps"].get_velocity(x_0, given, _index(t))
        return _array(result.reshape(x_t.shape))

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `step` of a scheduler that predicts x_0, with noise 0, and with x_t = x_0 = 0 and noise 1 in float64."""
        _adjacent(t, s)
        mean, zero = self._stepped("x_0", _rows(x_0), _rows(x_t), t, torch.zeros), torch.zeros(len(t), 1)
        deviation = self._stepped("x_0", zero.double(), zero.double(), t, torch.ones)
        return _array(mean.reshape(x_t.shape)), _array((deviation.flatten() ** 2).float())

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Call `step` of DDPMScheduler with this noise, or of DDIMScheduler, whose stride is N // steps."""
        x, e, z = (_rows(array) for array in (x_t, eps_hat, noise))
        if rule == "ddpm":
            _adjacent(t, s)
            return _array(self._drawn("eps", e, x, t, z).reshape(x_t.shape))
        strides = set((t - s).tolist())
        if rule != "ddim" or len(strides) != 1 or self._steps // (self._steps // (stride := strides.pop())) != stride:
            raise Unsupported(f"no step of {rule} with this stride")
        scheduler = DDIMScheduler(self._steps, **self._options)
        scheduler.set_timesteps(self._steps // stride)
        return _array(one_by_one(lambda e, k, x: scheduler.step(e, k, x)[0], e, _index(t), x).reshape(x_t.shape))

    def _stepped(self, source: str, value: Tensor, x_t: Tensor, t: Times, noise: Any) -> Tensor:
        return self._drawn(source, value, x_t, t, noise(value.shape, dtype=value.dtype))

    def _drawn(self, source: str, value: Tensor, x_t: Tensor, t: Times, noise: Tensor) -> Tensor:
        def one(y: Tensor, k: int, x: Tensor, z: Tensor) -> Tensor:
            with replay(normal=[z] if k > 0 else []):
                moved: Tensor = self._ddpm[source].step(y, k, x)[0]
            return moved

        result: Tensor = one_by_one(one, value, _index(t), x_t, noise)
        return result


def _rows(array: Array) -> Tensor:
    """Return (batch, n): `step` asks for a second axis."""
    return _tensor(array).reshape(len(array), -1)


def _adjacent(t: Times, s: Times) -> None:
    if not (t - s == 1).all():
        raise Unsupported("DDPMScheduler.step goes over one k, whatever set_timesteps was told")
