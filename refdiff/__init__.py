"""refdiff: the verified reference for training variance-preserving diffusion models, seen as SDEs.

Names are loaded on first use, so that importing `refdiff.conformance` (which runs inside other
people's test sessions) does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refdiff.chain import DiscreteChain as DiscreteChain
    from refdiff.derived import RateSchedule as RateSchedule
    from refdiff.ema import average_weights as average_weights
    from refdiff.errors import ConfigError as ConfigError
    from refdiff.errors import DomainError as DomainError
    from refdiff.errors import RefdiffError as RefdiffError
    from refdiff.guidance import guide as guide
    from refdiff.loss import Objective as Objective
    from refdiff.marginal import Marginal as Marginal
    from refdiff.marginal import Posterior as Posterior
    from refdiff.marginal import conditional_score as conditional_score
    from refdiff.marginal import log_density as log_density
    from refdiff.marginal import perturb as perturb
    from refdiff.marginal import posterior as posterior
    from refdiff.marginal import posterior_mean as posterior_mean
    from refdiff.marginal import transition as transition
    from refdiff.parameterization import convert as convert
    from refdiff.positions import Importance as Importance
    from refdiff.positions import PositionSampler as PositionSampler
    from refdiff.positions import SecondMoment as SecondMoment
    from refdiff.positions import Stratified as Stratified
    from refdiff.positions import UniformPositions as UniformPositions
    from refdiff.samplers import DDIM as DDIM
    from refdiff.samplers import Ancestral as Ancestral
    from refdiff.samplers import Euler as Euler
    from refdiff.samplers import EulerMaruyama as EulerMaruyama
    from refdiff.samplers import RungeKutta4 as RungeKutta4
    from refdiff.samplers import Sampler as Sampler
    from refdiff.sampling import sample as sample
    from refdiff.sampling import sampler_named as sampler_named
    from refdiff.sampling import time_grid as time_grid
    from refdiff.schedule import CosineSchedule as CosineSchedule
    from refdiff.schedule import LinearSchedule as LinearSchedule
    from refdiff.schedule import NoiseProcess as NoiseProcess
    from refdiff.schedule import Schedule as Schedule
    from refdiff.sde import diffusion_coefficient as diffusion_coefficient
    from refdiff.sde import drift as drift
    from refdiff.sde import probability_flow as probability_flow
    from refdiff.sde import reverse_drift as reverse_drift
    from refdiff.times import Continuous as Continuous
    from refdiff.times import Discrete as Discrete
    from refdiff.times import TimeSampler as TimeSampler
    from refdiff.training.config import Config as Config
    from refdiff.training.run import train as train
    from refdiff.weighting import CustomWeight as CustomWeight
    from refdiff.weighting import InverseSNR as InverseSNR
    from refdiff.weighting import LikelihoodWeight as LikelihoodWeight
    from refdiff.weighting import MinSNR as MinSNR
    from refdiff.weighting import SNRPlusOne as SNRPlusOne
    from refdiff.weighting import SNRWeight as SNRWeight
    from refdiff.weighting import UniformWeight as UniformWeight
    from refdiff.weighting import Weight as Weight

__version__ = "0.1.0"

_HOMES = {
    "Ancestral": "samplers",
    "Config": "training.config",
    "ConfigError": "errors",
    "Continuous": "times",
    "CosineSchedule": "schedule",
    "CustomWeight": "weighting",
    "DDIM": "samplers",
    "Discrete": "times",
    "DiscreteChain": "chain",
    "DomainError": "errors",
    "Euler": "samplers",
    "EulerMaruyama": "samplers",
    "Importance": "positions",
    "InverseSNR": "weighting",
    "LikelihoodWeight": "weighting",
    "LinearSchedule": "schedule",
    "Marginal": "marginal",
    "MinSNR": "weighting",
    "NoiseProcess": "schedule",
    "Objective": "loss",
    "PositionSampler": "positions",
    "Posterior": "marginal",
    "RateSchedule": "derived",
    "RefdiffError": "errors",
    "RungeKutta4": "samplers",
    "SNRPlusOne": "weighting",
    "SNRWeight": "weighting",
    "Sampler": "samplers",
    "Schedule": "schedule",
    "SecondMoment": "positions",
    "Stratified": "positions",
    "TimeSampler": "times",
    "UniformPositions": "positions",
    "UniformWeight": "weighting",
    "Weight": "weighting",
    "average_weights": "ema",
    "conditional_score": "marginal",
    "convert": "parameterization",
    "diffusion_coefficient": "sde",
    "drift": "sde",
    "guide": "guidance",
    "log_density": "marginal",
    "perturb": "marginal",
    "posterior": "marginal",
    "posterior_mean": "marginal",
    "probability_flow": "sde",
    "reverse_drift": "sde",
    "sample": "sampling",
    "sampler_named": "sampling",
    "time_grid": "sampling",
    "train": "training.run",
    "transition": "marginal",
}
"""The module of each public name; a test holds this to the imports above."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refdiff' has no attribute {name!r}")
    home = _HOMES[name]
    try:
        return getattr(import_module(f"refdiff.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "jaxtyping", "tqdm"):
            raise
        extra = "train" if home.startswith("training.") else "torch"
        raise ImportError(f'expected {error.name} for refdiff.{name}: pip install "refdiff[{extra}]"') from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
