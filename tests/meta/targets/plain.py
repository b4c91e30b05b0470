"""A plain NumPy target, right in float32, whose formulas a test can replace by faulty ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, assert_never

import numpy as np

from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Cosine,
    Linear,
    NoProcess,
    Own,
    Parameterization,
    Process,
    Quantity,
    Times,
    Unsupported,
)

Formula: TypeAlias = Callable[..., Any]
F = np.float32


def linear_log_alpha_bar(p: Linear, t: Array) -> Array:
    """Return log alpha_bar of the linear schedule (SCH-3), each operation in float32."""
    return -t * (F(p.beta_min) + F(0.5) * F(p.beta_max - p.beta_min) * t)


def cosine_alpha_bar(p: Cosine, t: Array) -> Array:
    """Return alpha_bar of the cosine schedule (SCH-4), each operation in float32."""
    half_pi, s = F(np.pi / 2), F(p.s)
    start = np.cos(half_pi * (s / (F(1) + s)))
    return np.asarray((np.cos(half_pi * ((t + s) / (F(1) + s))) / start) ** 2)


def chain_alpha_bar(p: Chain, k: Times) -> Array:
    """Return alpha_bar of a chain by a float32 product (DIS-1)."""
    return np.asarray(np.cumprod(F(1) - np.array(p.betas, dtype=F), dtype=F)[k - 1])


def alpha_of(log_alpha_bar: Array) -> Array:
    """Return alpha from log alpha_bar (MAR-1)."""
    return np.asarray(np.exp(F(0.5) * log_alpha_bar))


def sigma_of(log_alpha_bar: Array) -> Array:
    """Return sigma from log alpha_bar without cancellation (MAR-2)."""
    return np.asarray(np.sqrt(-np.expm1(log_alpha_bar)))


def score_of(eps: Array, sigma: Array) -> Array:
    """Return the score from eps and sigma (PAR-4)."""
    return -eps / sigma


@dataclass(frozen=True)
class Formulas:
    """Functions that `Plain` computes with; a test replaces one of them."""

    linear_log_alpha_bar: Formula = linear_log_alpha_bar
    cosine_alpha_bar: Formula = cosine_alpha_bar
    chain_alpha_bar: Formula = chain_alpha_bar
    alpha: Formula = alpha_of
    sigma: Formula = sigma_of
    score: Formula = score_of


@dataclass(frozen=True)
class Plain:
    """A target for the processes and capabilities given."""

    processes: tuple[Process | type[Process], ...] = (Linear(beta_min=0.1, beta_max=20.0),)
    formulas: Formulas = field(default_factory=Formulas)
    capabilities: frozenset[Capability] = frozenset({"schedule", "perturb", "convert"})
    name: str = "plain"

    @property
    def claim(self) -> Claim:
        """Claim float32."""
        return Claim(
            name=self.name,
            version="1",
            dtype="float32",
            processes=self.processes,
            capabilities=self.capabilities,
        )

    def build(self, process: Process) -> PlainBuilt:
        """Return the process with this target's formulas."""
        return PlainBuilt(process, self.formulas)

    def with_fault(self, **formulas: Formula) -> Plain:
        """Return this target with some formulas replaced."""
        return replace(self, formulas=replace(self.formulas, **formulas))


@dataclass(frozen=True)
class PlainBuilt:
    """The object that `build` returns for one process."""

    process: Process
    by: Formulas

    def log_alpha_bar(self, t: Times) -> Array:
        """Return log alpha_bar in float32."""
        with np.errstate(all="ignore"):
            match self.process:
                case Linear():
                    return np.asarray(self.by.linear_log_alpha_bar(self.process, t), dtype=F)
                case Cosine():
                    return np.log(np.asarray(self.by.cosine_alpha_bar(self.process, t), dtype=F))
                case Chain():
                    return np.log(np.asarray(self.by.chain_alpha_bar(self.process, t), dtype=F))
                case Own() | NoProcess():
                    raise Unsupported("plain has no process of its own")
                case _:
                    assert_never(self.process)

    def scales(self, t: Times) -> tuple[Array, Array]:
        """Return alpha and sigma."""
        log_alpha_bar = self.log_alpha_bar(t)
        with np.errstate(all="ignore"):
            return (
                np.asarray(self.by.alpha(log_alpha_bar), dtype=F),
                np.asarray(self.by.sigma(log_alpha_bar), dtype=F),
            )

    def coefficients(self, t: Times) -> dict[Quantity, Array]:
        """Return the coefficients."""
        log_alpha_bar = self.log_alpha_bar(t)
        alpha, sigma = self.scales(t)
        with np.errstate(all="ignore"):
            return {"log_alpha_bar": log_alpha_bar, "alpha_bar": np.exp(log_alpha_bar), "alpha": alpha, "sigma": sigma}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        alpha, sigma = (x.reshape(-1, *(1,) * (x_0.ndim - 1)) for x in self.scales(t))
        return np.asarray(alpha * x_0 + sigma * eps)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Convert through x_0 or eps."""
        a, s = (x.reshape(-1, *(1,) * (x_t.ndim - 1)) for x in self.scales(t))
        with np.errstate(all="ignore"):
            x_0, eps = both_parts(value, x_t, (a, s), source, self.by.score)
            results = {"x_0": x_0, "eps": eps, "v": a * eps - s * x_0, "score": self.by.score(eps, s)}
        return np.asarray(results[to], dtype=F)


def both_parts(
    value: Array, x_t: Array, scales: tuple[Array, Array], source: Parameterization, score: Formula = score_of
) -> tuple[Array, Array]:
    """Return x_0 and eps, converted from a value of any parameterization."""
    a, s = scales
    if source == "v":
        return a * x_t - s * value, s * x_t + a * value
    if source == "x_0":
        return value, (x_t - a * value) / s
    # The inverse of score = -eps/sigma is its own: a wrong sign cancels in a round trip.
    eps = value if source == "eps" else score(value, F(1) / s)
    return np.asarray((x_t - s * eps) / a), eps


def every() -> Plain:
    """Return the target for every linear, cosine and discrete process."""
    return Plain(processes=(Linear, Cosine, Chain))
