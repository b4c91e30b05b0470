"""Targets with `times` only, right and wrong, by one function of a size and a generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Chain, Claim, Draws, DType, Linear, Process, Times

F = np.float32
LINEAR = Linear(beta_min=0.1, beta_max=20.0)
UNDECLARED = Draws()
Drawing = Callable[[int, np.random.Generator], Any]
"""Maps n and a generator to n times, or to n times and n weights."""


def chain(steps: int) -> Chain:
    """Return a chain with this number of steps."""
    return Chain.linear(steps, beta_start=1e-4, beta_end=0.02)


@dataclass(frozen=True)
class Timed:
    """A target with `times`, and with `density` if one is declared."""

    drawing: Drawing
    process: Process | type[Process] = LINEAR
    density: Callable[[Any], Any] | None = None
    """The declared density, if any."""
    draws: Draws = UNDECLARED
    dtype: DType = "float32"
    t_min: float = 0.0
    t_max: float = 1.0

    @property
    def claim(self) -> Claim:
        """Claim `times`."""
        return Claim(
            name="timed",
            version="1",
            dtype=self.dtype,
            processes=(self.process,),
            capabilities=frozenset({"times"}),
            draws=self.draws,
            t_min=self.t_min,
            t_max=self.t_max,
        )

    def build(self, process: Process) -> Built:
        """Return the process."""
        return Built(self, process)


@dataclass(frozen=True)
class Built:
    """The object that `build` returns for one process."""

    of: Timed
    process: Process

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return times in [0, 1], or the corresponding indices, and weights."""
        kind = np.dtype(self.of.dtype)
        drawn = self.of.drawing(n, np.random.default_rng(seed))
        t, weight = drawn if isinstance(drawn, tuple) else (drawn, np.ones(n))
        if isinstance(self.process, Chain):
            k = t(len(self.process.betas)) if callable(t) else np.floor(t * len(self.process.betas)) + 1
            return np.asarray(k).astype(np.int64), np.asarray(weight).astype(kind)
        return np.asarray(t).astype(kind), np.asarray(weight).astype(kind)

    def density(self, t: Times) -> Array:
        """Return the declared density."""
        assert self.of.density is not None
        return np.asarray(self.of.density(t)).astype(np.dtype(self.of.dtype))
