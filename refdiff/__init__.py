"""refdiff: the verified reference for training variance-preserving diffusion models, seen as SDEs.

Names are loaded on first use, so that importing `refdiff.conformance` (which runs inside other
people's test sessions) does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refdiff.chain import DiscreteChain as DiscreteChain
    from refdiff.errors import ConfigError as ConfigError
    from refdiff.errors import DomainError as DomainError
    from refdiff.errors import RefdiffError as RefdiffError
    from refdiff.loss import Objective as Objective
    from refdiff.marginal import log_density as log_density
    from refdiff.marginal import perturb as perturb
    from refdiff.marginal import posterior as posterior
    from refdiff.marginal import posterior_mean as posterior_mean
    from refdiff.marginal import score as score
    from refdiff.marginal import transition as transition
    from refdiff.parameterization import convert as convert
    from refdiff.sampling import DDIM as DDIM
    from refdiff.sampling import Ancestral as Ancestral
    from refdiff.sampling import Euler as Euler
    from refdiff.sampling import EulerMaruyama as EulerMaruyama
    from refdiff.sampling import RungeKutta4 as RungeKutta4
    from refdiff.sampling import Sampler as Sampler
    from refdiff.sampling import sample as sample
    from refdiff.sampling import sampler_named as sampler_named
    from refdiff.sampling import time_grid as time_grid
    from refdiff.schedule import CosineSchedule as CosineSchedule
    from refdiff.schedule import LinearSchedule as LinearSchedule
    from refdiff.schedule import NoiseProcess as NoiseProcess
    from refdiff.schedule import Schedule as Schedule
    from refdiff.sde import diffusion as diffusion
    from refdiff.sde import drift as drift
    from refdiff.sde import flow as flow
    from refdiff.sde import reverse_drift as reverse_drift

__version__ = "0.1.0"

_HOMES = {
    "Ancestral": "sampling",
    "ConfigError": "errors",
    "CosineSchedule": "schedule",
    "DDIM": "sampling",
    "DiscreteChain": "chain",
    "DomainError": "errors",
    "Euler": "sampling",
    "EulerMaruyama": "sampling",
    "LinearSchedule": "schedule",
    "NoiseProcess": "schedule",
    "Objective": "loss",
    "RefdiffError": "errors",
    "RungeKutta4": "sampling",
    "Sampler": "sampling",
    "Schedule": "schedule",
    "convert": "parameterization",
    "diffusion": "sde",
    "drift": "sde",
    "flow": "sde",
    "log_density": "marginal",
    "perturb": "marginal",
    "posterior": "marginal",
    "posterior_mean": "marginal",
    "reverse_drift": "sde",
    "sample": "sampling",
    "sampler_named": "sampling",
    "score": "marginal",
    "time_grid": "sampling",
    "transition": "marginal",
}
"""Where each public name lives; a test holds this to the imports above."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refdiff' has no attribute {name!r}")
    try:
        return getattr(import_module(f"refdiff.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "jaxtyping"):
            raise
        raise ImportError(f'expected {error.name} for refdiff.{name}: pip install "refdiff[torch]"') from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
