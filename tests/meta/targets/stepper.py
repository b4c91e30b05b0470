"""A target of contract version 2 that steps from any prediction, by a table of alpha_bar; a test gives its formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Capability, Chain, Claim, DType, Own, Process, Times
from refdiff.conformance.step import Step
from tests.meta.targets.trainer import alpha_bar_of

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Scales:
    """alpha_bar, alpha and sigma at both times, as columns, and beta of the step of a chain that ends at t."""

    bar_t: Array
    bar_s: Array
    beta: Array

    @property
    def alpha_t(self) -> Array:
        """Scale of the signal at t."""
        return np.sqrt(self.bar_t)

    @property
    def alpha_s(self) -> Array:
        """Scale of the signal at s."""
        return np.sqrt(self.bar_s)

    @property
    def sigma_t(self) -> Array:
        """Scale of the noise at t."""
        return np.sqrt(1 - self.bar_t)

    @property
    def sigma_s(self) -> Array:
        """Scale of the noise at s."""
        return np.sqrt(1 - self.bar_s)

    @property
    def added(self) -> Array:
        """Variance of the transition from s to t."""
        return 1 - self.bar_t / self.bar_s

    @property
    def variance(self) -> Array:
        """Variance of the posterior."""
        return self.added * (1 - self.bar_s) / (1 - self.bar_t)


def predicted(asked: Step, value: Array, x: Array, q: Scales) -> tuple[Any, Any]:
    """Return x_0_hat and eps_hat."""
    if asked.prediction == "x_0":
        return value, (x - q.alpha_t * value) / q.sigma_t
    if asked.prediction == "v":
        return q.alpha_t * x - q.sigma_t * value, q.sigma_t * x + q.alpha_t * value
    eps = value if asked.prediction == "eps" else -q.sigma_t * value
    return (x - q.sigma_t * eps) / q.alpha_t, eps


def mean(parts: tuple[Any, Any], x: Array, q: Scales) -> Any:
    """Return the mean of the posterior at x_0_hat."""
    on_x_0, on_x_t = q.alpha_s * q.added / (1 - q.bar_t), q.alpha_t / q.alpha_s * (1 - q.bar_s) / (1 - q.bar_t)
    return on_x_0 * parts[0] + on_x_t * x


def ancestral_deviation(asked: Step, q: Scales) -> Any:
    """Return the standard deviation of the noise of ddpm, 0 in the last step."""
    if asked.variance == "posterior":
        return np.sqrt(q.variance)
    return (q.bar_s < 1) * np.sqrt(q.added)


def spread(asked: Step, q: Scales) -> Any:
    """Return the standard deviation of the noise of ddim."""
    return asked.eta * np.sqrt(q.variance)


def direct(asked: Step, parts: tuple[Any, Any], x: Array, z: Array, q: Scales) -> Any:
    """Return the step of ddim."""
    c = spread(asked, q)
    return q.alpha_s * parts[0] + np.sqrt(np.maximum(1 - q.bar_s - c * c, 0)) * parts[1] + c * z


@dataclass(frozen=True)
class Formulas:
    """The formulas of `Stepper`, each of which a test may replace."""

    parts: Formula = predicted
    mean: Formula = mean
    deviation: Formula = ancestral_deviation
    ddim: Formula = direct


@dataclass(frozen=True)
class Stepper:
    """A target that claims some steps of ddpm and ddim."""

    steps: tuple[Step, ...]
    processes: tuple[Process | type[Process], ...]
    dtype: DType = "float32"
    capabilities: frozenset[Capability] = frozenset({"step"})
    by: Formulas = field(default_factory=Formulas)

    @property
    def claim(self) -> Claim:
        """Return the claim, of contract version 2."""
        return Claim(
            name="stepper",
            version="1",
            dtype=self.dtype,
            processes=self.processes,
            capabilities=self.capabilities,
            contract=2,
            steps=self.steps,
        )

    def build(self, process: Process) -> Built:
        """Return the process with this target's formulas."""
        return Built(process, self.by, np.dtype(self.dtype))

    def with_fault(self, **formulas: Formula) -> Stepper:
        """Return this target with some formulas replaced."""
        return replace(self, by=replace(self.by, **formulas))


@dataclass(frozen=True)
class Built:
    """The object that `build` returns for one process."""

    process: Process
    by: Formulas
    dtype: np.dtype[Any]

    def _bar(self, t: Times, x: Array) -> Array:
        if isinstance(self.process, Chain):
            betas = np.array(self.process.betas, dtype=self.dtype)
            table = np.concatenate([np.ones(1, self.dtype), np.cumprod(1 - betas, dtype=self.dtype)])
            found = table[t]
        elif isinstance(self.process, Own) or self.dtype == np.float32:
            found = alpha_bar_of(self.process, t)
        else:
            p: Any = self.process
            found = np.exp(-t * (p.beta_min + 0.5 * (p.beta_max - p.beta_min) * t))
        return np.asarray(found, dtype=self.dtype).reshape(-1, *(1,) * (x.ndim - 1))

    def _beta(self, t: Times, x: Array) -> Array:
        if not isinstance(self.process, Chain):
            return np.zeros((len(t), *(1,) * (x.ndim - 1)), self.dtype)
        betas = np.array(self.process.betas, dtype=self.dtype)
        return np.asarray(betas[np.asarray(t) - 1].reshape(-1, *(1,) * (x.ndim - 1)))

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        bar = self._bar(t, x_0)
        return np.asarray(np.sqrt(bar) * x_0 + np.sqrt(1 - bar) * eps)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Return x_s."""
        with np.errstate(all="ignore"):
            q = Scales(self._bar(t, x_t), self._bar(s, x_t), self._beta(t, x_t))
            parts = self.by.parts(rule, value, x_t, q)
            if rule.kind == "ddim":
                found = self.by.ddim(rule, parts, x_t, noise, q)
            else:
                found = self.by.mean(parts, x_t, q) + self.by.deviation(rule, q) * noise
        return np.asarray(found, dtype=self.dtype)
