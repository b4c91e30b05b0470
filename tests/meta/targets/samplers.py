"""Targets with grids and whole samplers of their own writing, right and wrong, in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import (
    Array,
    Capability,
    Chain,
    Claim,
    Denoiser,
    DType,
    Linear,
    Own,
    Process,
    Sampler,
    Times,
    Unsupported,
    steps_of,
)
from tests.meta.variants.base import rate, scales

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)


@dataclass(frozen=True)
class At:
    """One time of a run, with alpha and sigma there."""

    t: Any
    a: Any
    s: Any

    @property
    def half_log_snr(self) -> Any:
        """Half the log-SNR."""
        with np.errstate(divide="ignore"):
            return np.log(self.a / self.s)


Predict = Callable[[Any, At], Any]
"""Maps x and a time to the prediction."""
Method = Callable[["Walk", Any], Any]
"""Maps a run and its x at the first time to x at the last."""


@dataclass
class Walk:
    """A run: its times, the denoiser, the noise, and the scales at any time."""

    times: list[At]
    predict: Predict
    noise: Callable[[], Any]
    at: Callable[[Any], At]
    process: Process

    @property
    def pairs(self) -> Any:
        """The steps."""
        return itertools.pairwise(self.times)

    def rate(self, t: Any) -> Any:
        """Return beta."""
        return rate(np, self.process, t)


def ddim(walk: Walk, x: Any) -> Any:
    """Run DDIM, of eps."""
    for t, s in walk.pairs:
        eps = walk.predict(x, t)
        x = s.a * ((x - t.s * eps) / t.a) + s.s * eps
    return x


def heun(walk: Walk, x: Any) -> Any:
    """Run Heun's method in sigma/alpha, as EDM has it, of eps; Euler at sigma = 0."""
    for t, s in walk.pairs:
        eps, h = walk.predict(x, t), s.s / s.a - t.s / t.a
        y = x / t.a + h * eps
        if s.s > 0.0:
            y = x / t.a + 0.5 * h * (eps + walk.predict(s.a * y, s))
        x = s.a * y
    return x


def flow(walk: Walk, x: Any) -> Any:
    """Run Euler's method in t on the probability flow, of the score."""
    for t, s in walk.pairs:
        x = x + 0.5 * walk.rate(t.t) * (t.t - s.t) * (x + walk.predict(x, t))
    return x


def multistep(*, unstarted: bool = False) -> Method:
    """Return DPM-Solver++(2M), of x_0; unstarted: without a first step of order 1, which is wrong."""

    def method(walk: Walk, x: Any) -> Any:
        old: Any = 0.0 * x if unstarted else None
        before: Any = None
        for t, s in walk.pairs:
            x_0 = walk.predict(x, t)
            if s.s == 0.0:
                return x_0
            h = s.half_log_snr - t.half_log_snr
            r = 1.0 if before is None else before / h
            mean = x_0 if old is None else x_0 + (x_0 - old) / (2.0 * r)
            x = s.s / t.s * x - s.a * np.expm1(-h) * mean
            old, before = x_0, h
        return x

    return method


def ancestral(walk: Walk, x: Any) -> Any:
    """Run DDPM's step, of eps, with the posterior's variance."""
    for t, s in walk.pairs:
        eps = walk.predict(x, t)
        added = np.maximum(1.0 - (t.a / s.a) ** 2, 0.0)
        x = (x - added / t.s * eps) * s.a / t.a + np.sqrt(added * s.s**2 / t.s**2) * walk.noise()
    return x


def euler_maruyama(walk: Walk, x: Any) -> Any:
    """Run Euler-Maruyama on the reverse SDE, of the score."""
    for t, s in walk.pairs:
        b, h = walk.rate(t.t), t.t - s.t
        x = x + h * b * (0.5 * x + walk.predict(x, t)) + np.sqrt(h * b) * walk.noise()
    return x


def by_v(walk: Walk, x: Any) -> Any:
    """Run DDIM, of v."""
    for t, s in walk.pairs:
        v = walk.predict(x, t)
        x = s.a * (t.a * x - t.s * v) + s.s * (t.s * x + t.a * v)
    return x


def even(n: int, process: Process) -> Any:
    """Return even times; of a chain, N i/n rounded up, which diffusers calls trailing."""
    if isinstance(process, Chain):
        return np.array([-(-len(process.betas) * i // n) for i in range(n, -1, -1)])
    return np.linspace(1.0, 0.0, n + 1)


@dataclass(frozen=True)
class Runner:
    """A target with one sampler, or with a grid alone."""

    method: Method | None = None
    sampler: Sampler | None = None
    grid_of: Callable[[int, Process], Any] = even
    dtype: DType = "float64"
    processes: tuple[Process, ...] = (LINEAR,)
    narrowed: tuple[tuple[str, Any], ...] = ()

    @property
    def claim(self) -> Claim:
        """Claim `grid`, and `sample` if there is a sampler; of a process of its own, its scales too."""
        names: set[Capability] = {"grid"} if self.sampler is None else {"grid", "sample"}
        if any(isinstance(process, Own) for process in self.processes):
            names.add("schedule")
        samplers = () if self.sampler is None else (self.sampler,)
        return Claim(
            name="runner",
            version="1",
            dtype=self.dtype,
            processes=self.processes,
            capabilities=frozenset(names),
            samplers=samplers,
            **dict(self.narrowed),
        )

    def build(self, process: Process) -> Running:
        """Return the runs of one process."""
        return Running(self, process)


@dataclass(frozen=True)
class Hidden(Runner):
    """A runner with a process of the library's own, whose constants the suite is not told."""

    behind: Process = LINEAR

    def build(self, process: Process) -> Running:
        """Return the runs of what is behind it."""
        return Running(self, self.behind)


@dataclass(frozen=True)
class Running:
    """The runs of one process."""

    of: Runner
    process: Process

    @property
    def dtype(self) -> Any:
        """The dtype in NumPy."""
        return FORMATS[self.of.dtype].storage

    def coefficients(self, t: Times) -> Mapping[str, Array]:
        """Return alpha and sigma."""
        alpha, sigma = scales(np, self.process, t)
        return {"alpha": alpha, "sigma": sigma}

    def grid(self, n: int) -> Times:
        """Return the times."""
        kind = np.int64 if steps_of(self.process) else self.dtype
        return np.asarray(self.of.grid_of(n, self.process)).astype(kind)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Run the sampler."""
        if self.of.method is None or self.of.sampler is None or sampler != self.of.sampler.name:
            raise Unsupported("no such sampler")
        rng = np.random.default_rng(seed)

        def at(t: Any) -> At:
            a, s = scales(np, self.process, np.asarray(t))
            return At(np.asarray(t), np.asarray(a, dtype=self.dtype), np.asarray(s, dtype=self.dtype))

        def predict(y: Any, at: At) -> Any:
            same: Times = np.repeat(np.asarray(at.t, dtype=times.dtype), len(x))
            return denoiser(np.asarray(y, dtype=self.dtype), same)

        def noise() -> Any:
            return rng.standard_normal(x.shape).astype(self.dtype)

        walk = Walk([at(t) for t in times], predict, noise, at, self.process)
        return np.asarray(self.of.method(walk, x)).astype(self.dtype)


def rosenbrock(*, earlier: bool = False) -> Method:
    """Return a two-step exponential Adams-Bashforth method of Rosenbrock type, of x_0; earlier: sigma_t for sigma_s."""

    def method(walk: Walk, x: Any) -> Any:
        past: list[tuple[Any, Any]] = []
        for t, s in walk.pairs:
            u, end = -t.half_log_snr, -s.half_log_snr
            past = [*past[-1:], (u, t.a / t.s * x - walk.predict(x, t) / t.s)]
            nodes = np.linspace(u, end, 65)
            factor = np.exp(nodes) / (1.0 + np.exp(2.0 * nodes))
            integral = 0.0
            for at, value in past:
                basis = np.ones_like(nodes)
                for other, _ in past:
                    basis = basis if other is at else basis * (nodes - other) / (at - other)
                integral = integral + np.trapezoid(factor * basis, nodes) * value
            x = x + np.sqrt(s.a**2 + (t.s if earlier else s.s) ** 2) * integral
        return x

    return method


def right() -> Runner:
    """Return a right target, to be started in a process of its own."""
    return Runner(ddim, Sampler(name="ddim", exact=True))


def wrong() -> Runner:
    """Return a target whose sampler does nothing."""
    return Runner(lambda walk, x: x, Sampler(name="ddim", exact=True))
