"""A target with constants of its own: a sigmoid schedule, alpha_bar = g(t) with g(0) = 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refdiff.conformance.interface import Array, Claim, Own, Parameterization, Process, Quantity, Times
from tests.meta.targets.plain import both_parts

F = np.float32


@dataclass(frozen=True)
class Sigmoid:
    """A target with alpha_bar(t) = 1 - tanh^2(2t) and beta = 4 tanh(2t)."""

    @property
    def claim(self) -> Claim:
        """Claim one process of its own."""
        return Claim(
            name="own",
            version="1",
            dtype="float32",
            processes=(Own(label="sech"),),
            capabilities=frozenset({"schedule", "perturb", "convert", "posterior"}),
        )

    def build(self, process: Process) -> Sigmoid:
        """Return itself."""
        return self

    def coefficients(self, t: Times) -> dict[Quantity, Array]:
        """Return the coefficients."""
        th = np.tanh(F(2) * t)
        alpha_bar = (F(1) - th) * (F(1) + th)
        with np.errstate(divide="ignore"):
            log_snr = np.log(alpha_bar / th**2)
        return {"alpha_bar": alpha_bar, "sigma": th, "log_snr": log_snr, "beta": F(4) * th}

    def scales(self, t: Times) -> tuple[Array, Array]:
        """Return alpha and sigma."""
        th = np.tanh(F(2) * t)
        return np.sqrt((F(1) - th) * (F(1) + th)), th

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        a, s = (x.reshape(-1, *(1,) * (x_0.ndim - 1)) for x in self.scales(t))
        return np.asarray(a * x_0 + s * eps)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Convert through x_0."""
        a, s = (x.reshape(-1, *(1,) * (x_t.ndim - 1)) for x in self.scales(t))
        with np.errstate(all="ignore"):
            x_0, eps = both_parts(value, x_t, (a, s), source)
            return np.asarray({"x_0": x_0, "eps": eps, "v": a * eps - s * x_0, "score": -eps / s}[to], dtype=F)

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return mean and variance."""
        (a_t, v_t), (a_s, v_s) = ((a, q**2) for a, q in (self.scales(t), self.scales(s)))
        added = F(1) - (a_t / a_s) ** 2
        shape = (-1, *(1,) * (x_0.ndim - 1))
        mean = (a_s * added / v_t).reshape(shape) * x_0 + (a_t / a_s * v_s / v_t).reshape(shape) * x_t
        return mean, added * v_s / v_t
