"""Trainer of diffusion models, with a moving average of the weights and checkpoints (spec chapters 8 and 9).

    from pathlib import Path
    from refdiff.training import BatchConfig, Config, Trained, train

    train(Config(steps=2000, batch=BatchConfig(size=64)), Path("run"))
    samples = Trained(Path("run")).samples(16, seed=0, sampler="ddim", steps=50)

Names are loaded on first use: settings are read without tqdm, for example.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refdiff.training.config import BatchConfig as BatchConfig
    from refdiff.training.config import ConditionConfig as ConditionConfig
    from refdiff.training.config import Config as Config
    from refdiff.training.config import EMAConfig as EMAConfig
    from refdiff.training.config import MonitorConfig as MonitorConfig
    from refdiff.training.config import ObjectiveConfig as ObjectiveConfig
    from refdiff.training.config import OptimizerConfig as OptimizerConfig
    from refdiff.training.config import PreprocessConfig as PreprocessConfig
    from refdiff.training.config import ProcessConfig as ProcessConfig
    from refdiff.training.config import RuntimeConfig as RuntimeConfig
    from refdiff.training.config import TimesConfig as TimesConfig
    from refdiff.training.generate import Trained as Trained
    from refdiff.training.run import Result as Result
    from refdiff.training.run import train as train

_TABLES = (
    "Batch",
    "Condition",
    "EMA",
    "Monitor",
    "Objective",
    "Optimizer",
    "Preprocess",
    "Process",
    "Runtime",
    "Times",
)
_HOMES = {
    "Config": "config",
    **{f"{table}Config": "config" for table in _TABLES},
    "Result": "run",
    "Trained": "generate",
    "train": "run",
}
"""Where each public name lives; a test holds this to the imports above."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refdiff.training' has no attribute {name!r}")
    return getattr(import_module(f"refdiff.training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
