"""A plain float32 target for training and sampling, whose formulas a test can replace by faulty ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Cosine,
    Denoiser,
    Linear,
    NoProcess,
    Own,
    Parameterization,
    Process,
    Reduction,
    Rule,
    Times,
    Unsupported,
    Weighting,
)

F = np.float32
Formula = Callable[..., Any]


def _sech(t: Any) -> Array:
    """Return alpha_bar of an `Own` process: 1 - tanh^2(2t), with the rate 4 tanh(2t)."""
    th = np.tanh(F(2) * t)
    return np.asarray((F(1) - th) * (F(1) + th))


def alpha_bar_of(p: Process, t: Times) -> Array:
    """Return alpha_bar, each operation in float32."""
    match p:
        case Linear():
            return np.asarray(np.exp(-t * (F(p.beta_min) + F(0.5) * F(p.beta_max - p.beta_min) * t)))
        case Cosine():
            half_pi, s = F(np.pi / 2), F(p.s)
            found = np.maximum(np.cos(half_pi * ((t + s) / (F(1) + s))), F(0)) / np.cos(half_pi * (s / (F(1) + s)))
            return np.asarray(np.minimum(np.asarray(found) ** 2, F(1)))
        case Chain():
            table = np.cumprod(F(1) - np.array(p.betas, dtype=F), dtype=F)
            return np.asarray(np.concatenate([[F(1)], table])[t])
        case Own() | NoProcess():
            return np.asarray(_sech(t))


def rate_of(p: Process, t: Any) -> Array:
    """Return beta."""
    match p:
        case Linear():
            return np.asarray(F(p.beta_min) + F(p.beta_max - p.beta_min) * t)
        case Cosine():
            s = F(p.s)
            return np.asarray(F(np.pi) / (F(1) + s) * np.tan(F(np.pi / 2) * ((t + s) / (F(1) + s))))
        case Own() | NoProcess():
            return np.asarray(F(4) * np.tanh(F(2) * t))
        case Chain():
            raise Unsupported("a chain has no rate")


def weight_of(snr: Array, sigma2: Array, beta: Any, name: Weighting, prediction: Parameterization) -> Any:
    """Return the weight by the table of chapter 5; min(SNR, g)/SNR has its limits at SNR = 0 and infinity."""
    if name == "uniform":
        return np.ones_like(snr)
    if name == "likelihood":
        on_eps = beta() / sigma2
    elif name == "inverse_snr":
        on_eps = F(1) / snr
    else:
        on_eps = np.minimum(F(1), F(5) / snr)
    if prediction == "x_0":
        plain = {"inverse_snr": np.ones_like(snr), "min_snr": np.minimum(snr, F(5))}
        return plain[name] if name in plain else on_eps * snr
    if prediction == "v":
        plain = {"inverse_snr": sigma2, "min_snr": np.minimum(snr, F(5)) * sigma2}
        return plain[name] if name in plain else on_eps * snr * sigma2
    return on_eps if prediction == "eps" else on_eps * sigma2


def target_of(x_0: Array, eps: Array, a: Array, s: Array, prediction: Parameterization) -> Array:
    """Return the target of a prediction."""
    return np.asarray({"eps": eps, "x_0": x_0, "v": a * eps - s * x_0, "score": -eps / s}[prediction])


def stratified(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return stratified times, shuffled."""
    return ((rng.permutation(n) + rng.random(n)) / n).astype(F), np.ones(n, dtype=F)


def importance(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return times of density 1/2 + t, by its inverse, and the inverse of the density."""
    t = (np.sqrt(0.25 + 2.0 * rng.random(n)) - 0.5).astype(F)
    return np.minimum(t, F(1)), F(1) / (F(0.5) + t)


def posterior_step(x: Array, e: Array, z: Array, t: tuple[Array, Array], s: tuple[Array, Array]) -> Array:
    """Return DDPM's step in its eps form; t, s: (alpha_bar, beta) as columns."""
    ratio = t[0] / s[0]
    mean = (x - (F(1) - ratio) / np.sqrt(F(1) - t[0]) * e) / np.sqrt(ratio)
    return np.asarray(mean + np.sqrt((F(1) - ratio) * (F(1) - s[0]) / (F(1) - t[0])) * z)


def posterior_mean(x_0: Array, x_t: Array, t: Array, s: Array) -> Array:
    """Return the mean of q(x_s | x_t, x_0) from alpha_bar at t and s."""
    ratio = t / s
    on_x_0, on_x_t = np.sqrt(s) * (F(1) - ratio) / (F(1) - t), np.sqrt(ratio) * (F(1) - s) / (F(1) - t)
    return np.asarray(on_x_0 * x_0 + on_x_t * x_t)


def ddim_step(x: Array, e: Array, t: Array, s: Array) -> Array:
    """Return DDIM's step from alpha_bar at t and s."""
    x_0 = (x - np.sqrt(F(1) - t) * e) / np.sqrt(t)
    return np.asarray(np.sqrt(s) * x_0 + np.sqrt(F(1) - s) * e)


def averaged(decay: float, history: Array) -> Array:
    """Return the averages, by the form a + (1 - d)(w - a), which preserves constant weights."""
    rows = [history[0]]
    for row in history[1:]:
        rows.append(rows[-1] + F(1 - decay) * (row - rows[-1]))
    return np.stack(rows)


@dataclass(frozen=True)
class Formulas:
    """The formulas of `Trainer`, each of which a test may replace."""

    drift: Formula = lambda beta, x: F(-0.5) * beta * x
    diffusion: Formula = np.sqrt
    weight: Formula = weight_of
    target: Formula = target_of
    noise: Formula = lambda eps: eps
    asked: Formula = lambda denoiser, x_t, t: denoiser(x_t, t)
    squares: Formula = lambda weight, residual: weight * residual**2
    times: Formula = stratified
    index: Formula = lambda t, steps: np.minimum((t * steps).astype(np.int64), steps - 1) + 1
    em: Formula = lambda x, e, z, h, b, s: x + h * (F(0.5) * b * x - b * e / s) + np.sqrt(b * h) * z
    ode: Formula = lambda x, e, h, b, s: x + F(0.5) * h * b * (x - e / s)
    ddpm: Formula = posterior_step
    ddim: Formula = ddim_step
    ema: Formula = averaged
    mean: Formula = posterior_mean
    variance: Formula = lambda t, s: (F(1) - t / s) * (F(1) - s) / (F(1) - t)


@dataclass(frozen=True)
class Trainer:
    """A target with the capabilities of training and sampling."""

    processes: tuple[Process | type[Process], ...] = (Linear(beta_min=0.1, beta_max=20.0),)
    reduction: Reduction = "none"
    by: Formulas = field(default_factory=Formulas)

    @property
    def claim(self) -> Claim:
        """Return the claim; a chain and an `Own` process have fewer capabilities."""
        return Claim(
            name="trainer",
            version="1",
            dtype="float32",
            processes=self.processes,
            capabilities=frozenset({"perturb", "sde", "loss", "times", "step", "posterior", "ema"}),
            reduction=self.reduction,
        )

    def build(self, process: Process) -> Built:
        """Return the process with this target's formulas."""
        return Built(process, self.by, self.reduction)

    def with_fault(self, **formulas: Formula) -> Trainer:
        """Return this target with some formulas replaced."""
        return replace(self, by=replace(self.by, **formulas))


@dataclass(frozen=True)
class Built:
    """The object that `build` returns for one process."""

    process: Process
    by: Formulas
    reduction: Reduction

    def _scales(self, t: Times, x: Array) -> tuple[Array, Array]:
        bar = alpha_bar_of(self.process, t).reshape(-1, *(1,) * (x.ndim - 1))
        return np.sqrt(bar), np.sqrt(F(1) - bar)

    def _column(self, values: Array, x: Array) -> Array:
        return values.reshape(-1, *(1,) * (x.ndim - 1))

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        a, s = self._scales(t, x_0)
        return np.asarray(a * x_0 + s * eps)

    def drift(self, x: Array, t: Array) -> Array:
        """Return the drift."""
        return np.asarray(self.by.drift(self._column(rate_of(self.process, t), x), x), dtype=F)

    def diffusion(self, t: Array) -> Array:
        """Return the diffusion."""
        return np.asarray(self.by.diffusion(rate_of(self.process, t)), dtype=F)

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Return the loss, reduced as claimed."""
        with np.errstate(all="ignore"):
            a, s = self._scales(t, x_0)
            predicted = self.by.asked(denoiser, a * x_0 + s * self.by.noise(eps), t)
            rate = lambda: self._column(rate_of(self.process, t), x_0)  # noqa: E731  # asked for by one weight only
            w = self.by.weight((a / s) ** 2, s * s, rate, weight, prediction)
            squares = np.asarray(
                self.by.squares(w, predicted - self.by.target(x_0, eps, a, s, prediction)) * np.ones_like(x_0), dtype=F
            )
        sums = squares.reshape(len(t), -1).sum(1)
        return np.asarray({"none": sums, "batch_mean": sums.mean(), "all_mean": squares.mean()}[self.reduction], F)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return times and weights."""
        t, weight = self.by.times(n, np.random.default_rng(seed))
        if isinstance(self.process, Chain):
            return self.by.index(t, len(self.process.betas)), weight
        return t, weight

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Return x_s."""
        with np.errstate(all="ignore"):
            bar_t, bar_s = (self._column(alpha_bar_of(self.process, y), x_t) for y in (t, s))
            if rule == "ddim":
                return np.asarray(self.by.ddim(x_t, eps_hat, bar_t, bar_s), dtype=F)
            if rule == "ddpm":
                beta = np.zeros_like(bar_t)
                if isinstance(self.process, Chain):
                    beta = self._column(np.array(self.process.betas, dtype=F)[np.asarray(t) - 1], x_t)
                return np.asarray(self.by.ddpm(x_t, eps_hat, noise, (bar_t, beta), (bar_s, beta)), dtype=F)
            h, b = (self._column(y, x_t) for y in (np.asarray(t - s), rate_of(self.process, t)))
            sigma = np.sqrt(F(1) - bar_t)
            made = (
                self.by.em(x_t, eps_hat, noise, h, b, sigma) if rule == "em" else self.by.ode(x_t, eps_hat, h, b, sigma)
            )
            return np.asarray(made, dtype=F)

    def ema(self, decay: float, history: Array) -> Array:
        """Return the averages."""
        return np.asarray(self.by.ema(decay, history))

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return mean and variance."""
        with np.errstate(all="ignore"):
            bar_t, bar_s = (alpha_bar_of(self.process, y) for y in (t, s))
            mean = self.by.mean(x_0, x_t, self._column(bar_t, x_t), self._column(bar_s, x_t))
            return np.asarray(mean, dtype=F), np.asarray(self.by.variance(bar_t, bar_s), dtype=F)
