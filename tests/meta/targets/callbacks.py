"""A target whose `loss` calls back, whose `fit` returns a function, and whose `step` ends the process."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from refdiff.conformance.interface import Array, Claim, Cosine, Denoiser, Linear, Process, Times


@dataclass(frozen=True)
class Callbacks:
    """A target whose results show the arguments that it received."""

    claim = Claim(
        name="callbacks",
        version="1",
        dtype="float32",
        processes=(Linear, Cosine),
        capabilities=frozenset({"perturb", "loss", "fit", "step"}),
    )

    def build(self, process: Process) -> Callbacks:
        """Return itself."""
        return self

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return the data."""
        return np.array(x_0)

    def loss(self, denoiser: Denoiser, prediction: str, x_0: Array, eps: Array, t: Times, weight: str) -> Array:
        """Return the sums of the denoiser's predictions."""
        return np.asarray(denoiser(x_0, t).sum(1))

    def fit(self, data: Array, seed: int, seconds: float) -> Denoiser:
        """Return a denoiser that adds the sum of the data to x_t."""
        return lambda x_t, t: np.asarray(x_t + data.sum())

    def step(self, *_: object) -> None:
        """End the Python process."""
        os._exit(1)


target = Callbacks
