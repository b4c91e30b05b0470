"""Whole samplers of Hugging Face diffusers as targets, `validation.targets.diffusers_samplers:FACTORY`.

| factory | library class | samplers |
|---|---|---|
| `ddim` | `DDIMScheduler` | of eps, x_0 and v, and with eta = 1 |
| `zero_snr` | `DDIMScheduler` with `rescale_betas_zero_snr=True` | of x_0 and v |
| `ddpm` | `DDPMScheduler` | of eps and v |
| `euler` | `EulerDiscreteScheduler` | of eps and v |
| `euler_ancestral` | `EulerAncestralDiscreteScheduler` | of eps and v |
| `heun` | `HeunDiscreteScheduler` | of eps |
| `lms` | `LMSDiscreteScheduler` | of eps |
| `dpm_solver` | `DPMSolverMultistepScheduler` | dpmsolver++ of the orders 1 to 3, and sde-dpmsolver++ |
| `unipc` | `UniPCMultistepScheduler` | of the orders 1 to 3 |
| `deis` | `DEISMultistepScheduler` | of the orders 1 to 3, to k = 1 |

Each run is the loop of the library's pipelines: `set_timesteps`, `scale_model_input`, `step`. The grids are those of
`timestep_spacing="trailing"`, which begin at N: those of "leading" never do, and finding 5 is about "linspace". Without
clipping; `lower_order_final=False` of DPM-Solver, whose last steps have a lower order in short runs by default.

A multistep method of a higher order begins with steps of the orders 1 and 2, so that its runs are claimed to be of
order 2.

A scheduler that takes custom timesteps is claimed to go along any times. It ends where the data is, so that a run to
another time is given that time too, and is left one step early.

Not claimed: KDPM2 and the grids of Karras, Lu and beta, which have times between the indices; PNDM, whose grid has one
of its times twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from refdiff.conformance.adapters import Library
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Denoiser,
    Grid,
    Parameterization,
    Process,
    Sampler,
    Target,
    Times,
)
from validation.targets.arrays import array as _array
from validation.targets.arrays import tensor as _tensor
from validation.targets.diffusers import PREDICTION_TYPES, SCHEDULES, ZERO_SNR

SPACING = "trailing"
CHAINS = tuple(SCHEDULES)[:2]
"""Not the cosine one: at its N alpha is within its own rounding, so that no run from there is judged."""


@final
@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sampler of the claim, and how the library's scheduler is asked for it."""

    sampler: Sampler
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the scheduler, beside the chain, the prediction and the spacing."""
    of_step: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `step`."""


def ddim(spacing: str = SPACING) -> Target:
    """Return DDIMScheduler along its own grid, as its steps are of N // n."""
    kinds = [
        _kind(f"DDIM of {prediction}", prediction=prediction, times="grid", options=_UNCLIPPED)
        for prediction in PREDICTION_TYPES
    ]
    noisy = _kind("DDIM with eta 1", stochastic=True, times="grid", options=_UNCLIPPED, of_step={"eta": 1.0})
    return _target(DDIMScheduler, *kinds, noisy, spacing=spacing)


def zero_snr() -> Target:
    """Return DDIMScheduler on chains whose last beta is 1, from which only x_0 and v can be predicted."""
    given: tuple[Parameterization, ...] = ("x_0", "v")
    kinds = [_kind(f"DDIM of {y}", prediction=y, times="grid", options=_UNCLIPPED) for y in given]
    return _target(DDIMScheduler, *kinds, chains=tuple(ZERO_SNR))


def ddpm() -> Target:
    """Return DDPMScheduler."""
    kinds = [_kind(f"DDPM of {y}", prediction=y, stochastic=True, options=_UNCLIPPED) for y in ("eps", "v")]
    return _target(DDPMScheduler, *kinds)


def euler() -> Target:
    """Return EulerDiscreteScheduler."""
    return _target(EulerDiscreteScheduler, *(_kind(f"Euler of {y}", prediction=y) for y in ("eps", "v")))


def euler_ancestral() -> Target:
    """Return EulerAncestralDiscreteScheduler."""
    kinds = [_kind(f"ancestral Euler of {y}", prediction=y, stochastic=True, times="grid") for y in ("eps", "v")]
    return _target(EulerAncestralDiscreteScheduler, *kinds)


def heun() -> Target:
    """Return HeunDiscreteScheduler."""
    return _target(HeunDiscreteScheduler, _kind("Heun", order=2, times="grid"))


def lms() -> Target:
    """Return LMSDiscreteScheduler."""
    return _target(LMSDiscreteScheduler, _kind("LMS", order=2, times="grid"))


def dpm_solver() -> Target:
    """Return DPMSolverMultistepScheduler."""
    kinds = [
        _kind(f"DPM-Solver++ {q} of {y}", prediction=y, order=min(q, 2), options={**_WHOLE, "solver_order": q})
        for y, q in (("eps", 1), ("eps", 2), ("eps", 3), ("x_0", 2), ("v", 2))
    ]
    kinds.append(_kind("DPM-Solver++ 2 by Heun", order=2, options={**_WHOLE, "solver_type": "heun"}))
    sde = {**_WHOLE, "algorithm_type": "sde-dpmsolver++"}
    # Of the third, whose error is at small noise, the runs to the data are judged.
    kinds += [
        _kind(f"SDE-DPM-Solver++ {q}", stochastic=True, times=times, options={**sde, "solver_order": q})
        for q, times in ((1, "any"), (2, "any"), (3, "grid"))
    ]
    return _target(DPMSolverMultistepScheduler, *kinds)


def unipc() -> Target:
    """Return UniPCMultistepScheduler."""
    kinds = [_kind(f"UniPC {q}", order=min(q, 2), times="grid", options={"solver_order": q}) for q in (1, 2, 3)]
    return _target(UniPCMultistepScheduler, *kinds)


def deis() -> Target:
    """Return DEISMultistepScheduler."""
    kinds = [
        _kind(f"DEIS {q}", order=min(q, 2), times="grid", options={**_WHOLE, "solver_order": q}) for q in (1, 2, 3)
    ]
    return _target(DEISMultistepScheduler, *kinds, last=1)


_UNCLIPPED = {"clip_sample": False}
_WHOLE = {"lower_order_final": False}


def _kind(name: str, *, options: Mapping[str, Any] = {}, of_step: Mapping[str, Any] = {}, **claimed: Any) -> Kind:
    """Return a sampler that is exact on data of one point, as all of these are."""
    return Kind(sampler=Sampler(name=name, exact=True, **claimed), options=options, of_step=of_step)


def _target(
    scheduler: Any, *kinds: Kind, spacing: str = SPACING, last: int = 0, chains: tuple[Chain, ...] = CHAINS
) -> Target:
    claim = Claim(
        name=f"diffusers {scheduler.__name__}, {spacing}",
        version=version("diffusers"),
        dtype="float32",
        processes=chains,
        capabilities=frozenset({"grid", "sample"}),
        grid=Grid(last=last),
        samplers=tuple(kind.sampler for kind in kinds),
        contract=2,
    )
    named = {kind.sampler.name: kind for kind in kinds}
    return Library(claim, lambda process: _Runs(process, scheduler, named, spacing, last))


@final
class _Runs:
    """Runs of a scheduler for one chain."""

    def __init__(self, process: Process, scheduler: Any, kinds: Mapping[str, Kind], spacing: str, last: int) -> None:
        assert isinstance(process, Chain)
        self._kinds, self._scheduler, self._last = kinds, scheduler, last
        self._options = {"timestep_spacing": spacing, **{**SCHEDULES, **ZERO_SNR}[process]}

    def grid(self, n: int) -> Times:
        """Call `set_timesteps`, and append the index where `step` ends after the last timestep."""
        scheduler = self._made(next(iter(self._kinds.values())))
        scheduler.set_timesteps(n)
        return np.append(scheduler.timesteps[:: scheduler.order].numpy().astype(np.int64) + 1, self._last)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Run the loop of the pipelines, with x_t over alpha for the state where the scheduler scales its input."""
        kind, n = self._kinds[sampler], len(times) - 1
        scheduler, state = self._made(kind), _tensor(x).reshape(len(x), -1)
        custom = kind.sampler.times == "any"
        scheduler.set_timesteps(
            **({"timesteps": (times[times > 0] - 1).tolist()} if custom else {"num_inference_steps": n})
        )
        more = dict(kind.of_step)
        if kind.sampler.stochastic:
            more["generator"] = torch.Generator().manual_seed(seed)
        state = state / scheduler.scale_model_input(torch.ones(1), scheduler.timesteps[0])
        for k in scheduler.timesteps[:n] if custom else scheduler.timesteps:
            given = scheduler.scale_model_input(state, k).reshape(x.shape)
            value = _tensor(denoiser(_array(given), np.full(len(x), int(k) + 1)))
            state = scheduler.step(value.reshape(len(x), -1), k, state, **more).prev_sample
        if custom and times[-1] > 0:
            state = scheduler.scale_model_input(state, scheduler.timesteps[n])
        return _array(state.reshape(x.shape))

    def _made(self, kind: Kind) -> Any:
        options = {**self._options, "prediction_type": PREDICTION_TYPES[kind.sampler.prediction], **kind.options}
        return self._scheduler(**options)
