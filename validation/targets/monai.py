"""MONAI's schedulers as targets, `validation.targets.monai:FACTORY`.

| factory | calls | of |
|---|---|---|
| `ddpm` | `NoiseSchedules.add_def`, `alphas_cumprod`, `add_noise`, `get_velocity` | `Scheduler` |
| | `step`, which gives x_{t-1} and x_0_hat | `DDPMScheduler`, `DDIMScheduler` |
| | `set_timesteps`, whose last step goes on to 0 | `DDIMScheduler`, and the same of `DDPMScheduler` |
| | `sample` of one step, with `cfg` | `DiffusionInferer` |
| `runs` | `sample` with `DDIMScheduler` and `DDPMScheduler` | `DiffusionInferer` |
| `plms` | `sample` with `PNDMScheduler`, without its Runge-Kutta steps | `DiffusionInferer` |

Not claimed: learned variances; losses, which are left to the user; the Runge-Kutta steps of `PNDMScheduler`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, final

import numpy as np
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, NoiseSchedules, PNDMScheduler
from torch import Tensor

from refdiff.conformance.adapters import Library, replay
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Denoiser,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
    Unsupported,
)
from refdiff.conformance.step import Step
from validation.targets import chains
from validation.targets.arrays import array as _array
from validation.targets.arrays import index as _index
from validation.targets.arrays import tensor as _tensor

_SCHEDULES: dict[Process, dict[str, Any]] = {
    chains.LINEAR: {"schedule": "linear_beta"},
    chains.SCALED_LINEAR: {"schedule": "scaled_linear_beta", "beta_start": 8.5e-4, "beta_end": 0.012},
    chains.COSINE: {"schedule": "cosine"},
}
_PREDICTION_TYPES: dict[Parameterization, str] = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
_VARIANCE_TYPES = {"posterior": "fixed_small", "beta": "fixed_large"}
_STEPS = (
    *(Step(kind="ddpm", prediction=prediction) for prediction in _PREDICTION_TYPES),
    Step(kind="ddpm", variance="beta"),
    Step(kind="ddim"),
    Step(kind="ddim", prediction="x_0"),
    Step(kind="ddim", eta=0.5),
    Step(kind="ddim", prediction="v", eta=1.0),
)

_OF_X_0 = Step(kind="ddpm", prediction="x_0")


@NoiseSchedules.add_def("refdiff_betas", "Betas that are given")  # type: ignore[untyped-decorator]  # as MONAI has it
def _betas(num_train_timesteps: int, betas: tuple[float, ...]) -> Tensor:
    assert num_train_timesteps == len(betas)
    return torch.tensor(betas, dtype=torch.float32)


def ddpm() -> Target:
    """Return DDPMScheduler, and DDIMScheduler for its step and its grid."""
    claim = Claim(
        name="monai DDPMScheduler and DDIMScheduler",
        version=version("monai"),
        dtype="float32",
        processes=(*_SCHEDULES, Chain),
        capabilities=frozenset({"schedule", "perturb", "convert", "posterior", "step", "grid", "guide"}),
        contract=2,
        steps=_STEPS,
    )
    return Library(claim, _Monai)


def runs() -> Target:
    """Return the runs of DDIMScheduler and DDPMScheduler."""
    made = {"ddim": partial(DDIMScheduler, clip_sample=False), "ddpm": partial(DDPMScheduler, clip_sample=False)}
    return _runs("DDIMScheduler and DDPMScheduler", made)


def plms() -> Target:
    """Return the runs of PNDMScheduler that take no Runge-Kutta steps and go on to 0."""
    return _runs("PNDMScheduler", {"plms": partial(PNDMScheduler, skip_prk_steps=True, set_alpha_to_one=True)})


def _runs(name: str, made: Mapping[str, Any]) -> Target:
    samplers = (Sampler(name=kind, exact=True, stochastic=kind == "ddpm", times="grid") for kind in made)
    claim = Claim(
        name=f"monai DiffusionInferer with {name}",
        version=version("monai"),
        dtype="float32",
        processes=(chains.LINEAR,),
        capabilities=frozenset({"grid", "sample"}),
        samplers=tuple(samplers),
        contract=2,
    )
    return Library(claim, lambda process: _Runs(process, made))


@final
class _Monai:
    """Schedulers for one chain, without clipping."""

    def __init__(self, process: Process) -> None:
        assert isinstance(process, Chain)
        given = {"schedule": "refdiff_betas", "betas": process.betas}
        self._options = {"clip_sample": False} | _SCHEDULES.get(process, given)
        self._steps = len(process.betas)
        self._ddpm = {step: self._made(DDPMScheduler, step) for step in _STEPS if step.kind == "ddpm"}
        self._plain = self._ddpm[Step(kind="ddpm")]

    def _made(self, kind: Any, step: Step) -> Any:
        variance = {"variance_type": _VARIANCE_TYPES[step.variance]} if kind is DDPMScheduler else {}
        return kind(self._steps, prediction_type=_PREDICTION_TYPES[step.prediction], **variance, **self._options)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Read the table."""
        return {"alpha_bar": _array(self._plain.alphas_cumprod[_index(t)])}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Call `add_noise`."""
        return _array(self._plain.add_noise(_tensor(x_0), _tensor(eps), _index(t)))

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return the x_0_hat of `step`, or v by `get_velocity` of eps and that x_0_hat."""
        if source not in _PREDICTION_TYPES or (to != "x_0" and (source, to) != ("eps", "v")):
            raise Unsupported(f"DDPMScheduler has no call that gives {to} from {source}")
        given, noised, scheduler = _rows(value), _rows(x_t), self._ddpm[Step(kind="ddpm", prediction=source)]
        x_0 = _each_timestep(lambda k, y, x: scheduler.step(y, k, x)[1], t, given, noised)
        result = x_0 if to == "x_0" else self._plain.get_velocity(x_0, given, _index(t))
        return _array(result.reshape(x_t.shape))

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Call `step` of a scheduler that predicts x_0, with noise 0, and with x_t = x_0 = 0 and noise 1 in float64."""
        _adjacent(t, s)
        given, zero = _rows(x_0), torch.zeros(len(t), 1, dtype=torch.float64)
        mean = self._drawn(_OF_X_0, given, t, _rows(x_t), torch.zeros_like(given))
        deviation = self._drawn(_OF_X_0, zero, t, zero, torch.ones_like(zero))
        return _array(mean.reshape(x_t.shape)), _array((deviation.flatten() ** 2).float())

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Call `step` of DDPMScheduler with this noise, or of DDIMScheduler, whose stride is N // steps."""
        x, y, z = (_rows(array) for array in (x_t, value, noise))
        if rule.kind == "ddpm":
            _adjacent(t, s)
            return _array(self._drawn(rule, y, t, x, z).reshape(x_t.shape))
        strides = set((t - s).tolist())
        if len(strides) != 1 or self._steps // (self._steps // (stride := strides.pop())) != stride:
            raise Unsupported("DDIMScheduler has no step with this stride")
        scheduler = self._made(DDIMScheduler, rule)
        scheduler.set_timesteps(self._steps // stride)

        def one(k: int, y: Tensor, x: Tensor, z: Tensor) -> Any:
            with replay(normal=[z]) if rule.eta > 0.0 else nullcontext():
                return scheduler.step(y, k, x, eta=rule.eta)[0]

        return _array(_each_timestep(one, t, y, x, z).reshape(x_t.shape))

    def grid(self, n: int) -> Times:
        """Call `set_timesteps`."""
        return _grid(self._made(DDIMScheduler, Step(kind="ddim")), n)

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        """Return what `DiffusionInferer.sample` with `cfg` gives to its scheduler."""
        return _guided(_tensor(conditional), _tensor(unconditional), scale)

    def _drawn(self, step: Step, value: Tensor, t: Times, x_t: Tensor, noise: Tensor) -> Tensor:
        def one(k: int, y: Tensor, x: Tensor, z: Tensor) -> Any:
            with replay(normal=[z] if k > 0 else []):
                return self._ddpm[step].step(y, k, x)[0]

        return _each_timestep(one, t, value, x_t, noise)


@final
class _Runs:
    """Runs of DiffusionInferer with each of some schedulers, whose times are those of the first."""

    def __init__(self, process: Process, made: Mapping[str, Any]) -> None:
        self._made = {name: partial(make, chains.N, **_SCHEDULES[process]) for name, make in made.items()}

    def grid(self, n: int) -> Times:
        """Call `set_timesteps`."""
        return _grid(next(iter(self._made.values()))(), n)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Call `sample`, from x; the network sees one timestep for all."""
        scheduler = self._made[sampler]()
        if _grid(scheduler, len(times) - 1).tolist() != times.tolist():
            raise Unsupported("MONAI's schedulers go along their own times")

        def network(y: Tensor, timesteps: Tensor, context: None) -> Tensor:
            del context
            k = np.full(len(y), int(timesteps) + 1)
            return _rows(denoiser(_array(y.reshape(x.shape)), k))

        torch.manual_seed(seed)
        inferer = DiffusionInferer(scheduler)
        return _array(inferer.sample(_rows(x), network, verbose=False).reshape(x.shape))


def _grid(scheduler: Any, n: int) -> Times:
    """Return the times of a scheduler's run of n steps, the last of which goes on to 0."""
    scheduler.set_timesteps(n)
    return np.append(scheduler.timesteps.numpy() + 1, 0)


def _guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Array:
    """Run one step of a scheduler that returns what it is given."""
    both = torch.cat([unconditional, conditional])
    scheduler: Any = SimpleNamespace(timesteps=torch.zeros(1), step=lambda y, t, x: (y, x))
    inferer, network = DiffusionInferer(scheduler), lambda *_, **__: both
    return _array(inferer.sample(torch.zeros_like(conditional), network, cfg=scale, verbose=False))


def _each_timestep(call: Callable[..., Tensor], t: Times, *batches: Tensor) -> Tensor:
    """Return the results of `call` for the examples of each timestep, which `step` takes for all of a batch."""
    result = torch.empty_like(batches[0])
    for k in np.unique(t).tolist():
        rows = np.flatnonzero(t == k)
        result[rows] = call(k - 1, *(batch[rows] for batch in batches))
    return result


def _rows(array: Array) -> Tensor:
    """Return (batch, n): `step` asks for a second axis."""
    return _tensor(array).reshape(len(array), -1)


def _adjacent(t: Times, s: Times) -> None:
    if not (t - s == 1).all():
        raise Unsupported("DDPMScheduler.step goes over one k, whatever set_timesteps was told")
