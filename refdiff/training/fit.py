"""Training on an array in memory, without files (TRN-4 to TRN-6)."""

from __future__ import annotations

from math import ceil, inf

import numpy as np
import torch

from refdiff.loss import Denoiser
from refdiff.nn import MLP
from refdiff.parameterization import convert
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Data, Time
from refdiff.training import build
from refdiff.training.arrays import Array
from refdiff.training.config import BatchConfig, Config, EMAConfig, ObjectiveConfig, OptimizerConfig
from refdiff.training.data import Examples
from refdiff.training.distributed import World, one_thread
from refdiff.training.step import Loop

PACE = 320
"""Training steps per second of budget; a fixed rate, so that a seed gives the same network on any machine."""


def fit(data: Array, process: NoiseProcess, *, seed: int, seconds: float) -> Denoiser:
    """Train a perceptron on an array, and return its moving average as a denoiser.

    Args:
        data: examples, (n, *event), used as they are, without scaling.
        process: noise process.
        seed: random seed; determines the denoiser on any machine.
        seconds: budget, which becomes PACE steps per second; the actual duration depends on the machine.

    Returns:
        A function of (x_t, t) that predicts eps, in float32. The network predicts v, which is converted.
    """
    steps = max(1, ceil(PACE * seconds))
    how = Config(
        steps=steps,
        seed=seed,
        objective=ObjectiveConfig(prediction="v"),
        batch=BatchConfig(size=512, shards=1),
        optimizer=OptimizerConfig(kind="adam", lr=1e-2, warmup=20),
        ema=EMAConfig(decay=0.99),
    )
    examples = Examples(data, np.arange(len(data)), -inf, inf)
    loop = Loop.build(
        how,
        examples,
        world=World(device=torch.device("cpu")),
        factory=lambda event: MLP(event, time_scale=build.time_unit(process)),
        process=process,
    )
    with one_thread():
        for _ in range(steps):
            loop.step()
    trained = loop.state.ema.module

    def denoiser(x_t: Data, t: Time) -> Data:
        with torch.no_grad():
            return convert(process, trained(x_t, t), x_t, t, source="v", to="eps")

    return denoiser
