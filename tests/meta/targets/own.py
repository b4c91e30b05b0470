"""A target with constants of its own: a sigmoid schedule, alpha_bar = g(t) with g(0) = 1, and faults for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refdiff.conformance.interface import Array, Claim, Own, Parameterization, Process, Quantity, Times
from tests.meta.targets.plain import both_parts

F = np.float32


@dataclass(frozen=True)
class Sigmoid:
    """A target with alpha_bar(t) = 1 - tanh^2(2t) and beta = 4 tanh(2t). fault: name of its fault, if any."""

    fault: str = ""

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
        """Return the coefficients; with the fault "stale", log_snr disagrees with alpha_bar."""
        th = np.tanh(F(2) * t)
        alpha_bar = (F(1) - th) * (F(1) + th)
        sigma = th
        stale = np.tanh(F(2.1) * t) if self.fault == "stale" else th
        with np.errstate(divide="ignore"):
            log_snr = np.log((F(1) - stale) * (F(1) + stale) / stale**2)
        beta = F(8 if self.fault == "rate" else 4) * th
        rising = alpha_bar + F(0.2) * t if self.fault == "rising" else alpha_bar
        return {"alpha_bar": rising, "sigma": sigma, "log_snr": log_snr, "beta": beta}

    def scales(self, t: Times) -> tuple[Array, Array]:
        """Return alpha and sigma."""
        th = np.tanh(F(2) * t)
        sigma = th * F(1.001) if self.fault == "not variance preserving" else th
        return np.sqrt((F(1) - th) * (F(1) + th)), sigma

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        a, s = (x.reshape(-1, *(1,) * (x_0.ndim - 1)) for x in self.scales(t))
        if self.fault == "noise permuted":
            eps = eps[::-1]
        if self.fault == "broadcast by luck" and x_0.ndim == 2 and x_0.shape[0] == x_0.shape[1]:
            a, s = a.T, s.T
        return np.asarray(a * x_0 + s * eps)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Convert through x_0, which the fault "clipped" clips."""
        a, s = (x.reshape(-1, *(1,) * (x_t.ndim - 1)) for x in self.scales(t))
        with np.errstate(all="ignore"):
            x_0, eps = both_parts(value, x_t, (a, s), source)
            if self.fault == "clipped":
                x_0 = np.clip(x_0, -1, 1)
            return np.asarray({"x_0": x_0, "eps": eps, "v": a * eps - s * x_0, "score": -eps / s}[to], dtype=F)

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return mean and variance; with the fault "variance exploding", by the formula for such a process."""
        (a_t, v_t), (a_s, v_s) = ((a, q**2) for a, q in (self.scales(t), self.scales(s)))
        added = v_t - v_s if self.fault == "variance exploding" else F(1) - (a_t / a_s) ** 2
        shape = (-1, *(1,) * (x_0.ndim - 1))
        mean = (a_s * added / v_t).reshape(shape) * x_0 + (a_t / a_s * v_s / v_t).reshape(shape) * x_t
        return mean, added * v_s / v_t
