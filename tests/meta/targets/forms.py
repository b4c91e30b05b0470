"""Right formulas in NumPy, in several algebraic forms, and a target that computes by a given form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Cosine,
    Denoiser,
    DType,
    Linear,
    Own,
    Parameterization,
    Process,
    Quantity,
    Reduction,
    Times,
    Unsupported,
    Weighting,
)

Scales: TypeAlias = tuple[Array, Array]
"""alpha and sigma, each of shape (n,)."""
ScalesBy: TypeAlias = Callable[[Any, Any, Any], Scales]
"""Maps a process, times and a NumPy type to alpha and sigma, computed in that type."""
LINEAR = Linear(beta_min=0.1, beta_max=20.0)
COSINE = Cosine(s=0.008)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)


def decay(p: Linear, t: Any, f: Any) -> Any:
    """Return -log alpha_bar of a linear schedule."""
    return t * (f(p.beta_min) + f(0.5) * f(p.beta_max - p.beta_min) * t)


def of_alpha_bar(alpha_bar: Any) -> Scales:
    """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar): right, but inaccurate where sigma is small."""
    return np.sqrt(alpha_bar), np.sqrt(type(alpha_bar.flat[0])(1) - alpha_bar)


def _cast(scales: Scales, f: Any) -> Scales:
    return scales[0].astype(f), scales[1].astype(f)


def _by_edm(p: Linear, t: Any, f: Any) -> Scales:
    noise = np.sqrt(np.exp(decay(p, t, f)) - f(1))
    alpha = f(1) / np.sqrt(f(1) + noise * noise)
    return alpha, noise * alpha


def _by_log_snr(p: Linear, t: Any, f: Any) -> Scales:
    log_snr = -np.log(np.expm1(decay(p, t, f)))
    return np.sqrt(f(1) / (f(1) + np.exp(-log_snr))), np.sqrt(f(1) / (f(1) + np.exp(log_snr)))


def _by_alpha(alpha: Any, f: Any) -> Scales:
    return alpha, np.sqrt((f(1) - alpha) * (f(1) + alpha))


def _halves(p: Linear, t: Any, f: Any) -> Any:
    return np.exp(-f(p.beta_min) * t / f(2)) * np.exp(-f(p.beta_max - p.beta_min) * t * t / f(4))


LINEAR_FORMS: Mapping[str, ScalesBy] = {
    "expm1": lambda p, t, f: (np.exp(-decay(p, t, f) / f(2)), np.sqrt(-np.expm1(-decay(p, t, f)))),
    "roots of an exponential": lambda p, t, f: of_alpha_bar(np.exp(-decay(p, t, f))),
    "square of a square": lambda p, t, f: of_alpha_bar(np.square(np.square(np.exp(-decay(p, t, f) / f(4))))),
    "square of a product": lambda p, t, f: of_alpha_bar(np.square(_halves(p, t, f))),
    "fourth power": lambda p, t, f: of_alpha_bar(np.exp(-decay(p, t, f) / f(4)) ** 4),
    "square": lambda p, t, f: of_alpha_bar(np.exp(-decay(p, t, f) / f(2)) ** 2),
    "product of two": lambda p, t, f: of_alpha_bar(
        np.exp(-f(p.beta_min) * t) * np.exp(-f(0.5) * f(p.beta_max - p.beta_min) * t**2)
    ),
    "product of four": lambda p, t, f: of_alpha_bar(_halves(p, t, f) * _halves(p, t, f)),
    "noise level": _by_edm,
    "log-SNR": _by_log_snr,
    "difference of squares": lambda p, t, f: _by_alpha(np.exp(-decay(p, t, f) / f(2)), f),
    "mean rate": lambda p, t, f: of_alpha_bar(
        np.exp(-t * (f(p.beta_min) + (f(p.beta_min) + t * (f(p.beta_max) - f(p.beta_min)))) / f(2))
    ),
    "two parabolas": lambda p, t, f: of_alpha_bar(
        np.exp(-(f(p.beta_min) * (t - t * t / f(2)) + f(p.beta_max) * t * t / f(2)))
    ),
    "powers of two": lambda p, t, f: of_alpha_bar(np.exp2(-decay(p, t, f) * f(1.0 / np.log(2.0)))),
    "power of 1/e": lambda p, t, f: of_alpha_bar(np.power(f(np.exp(-1.0)), decay(p, t, f))),
    "reciprocal": lambda p, t, f: of_alpha_bar(f(1) / np.exp(decay(p, t, f))),
    "binary64 inside": lambda p, t, f: _cast(of_alpha_bar(np.exp(-decay(p, t.astype(np.float64), np.float64))), f),
}
"""Forms for the linear schedule."""


def _angle(p: Cosine, t: Any, f: Any) -> Any:
    return f(np.pi / 2) * ((t + f(p.s)) / (f(1) + f(p.s)))


def _start(p: Cosine, f: Any) -> Any:
    return np.cos(f(np.pi / 2) * (f(p.s) / (f(1) + f(p.s))))


COSINE_FORMS: Mapping[str, ScalesBy] = {
    "square of a ratio": lambda p, t, f: of_alpha_bar((np.cos(_angle(p, t, f)) / _start(p, f)) ** 2),
    "ratio of squares": lambda p, t, f: of_alpha_bar(np.cos(_angle(p, t, f)) ** 2 / _start(p, f) ** 2),
    "ratio": lambda p, t, f: _by_alpha(np.minimum(np.maximum(np.cos(_angle(p, t, f)) / _start(p, f), f(0)), f(1)), f),
    "sine of the rest": lambda p, t, f: _by_alpha(
        np.minimum(np.sin(f(np.pi / 2) * ((f(1) - t) / (f(1) + f(p.s)))) / _start(p, f), f(1)), f
    ),
    "logarithms": lambda p, t, f: of_alpha_bar(
        np.minimum(np.exp(f(2) * (np.log(np.maximum(np.cos(_angle(p, t, f)), f(0))) - np.log(_start(p, f)))), f(1))
    ),
}
"""Forms for the cosine schedule; values that round to above 1 or below 0 are clipped."""


def _tree(factors: Any) -> Any:
    """Return the product of the factors by repeated multiplication of neighbours."""
    while len(factors) > 1:
        odd = factors[len(factors) // 2 * 2 :]
        factors = np.concatenate([factors[0 : len(factors) // 2 * 2 : 2] * factors[1::2], odd])
    return factors[0]


CHAIN_FORMS: Mapping[str, ScalesBy] = {
    "product": lambda p, k, f: of_alpha_bar(np.cumprod(f(1) - np.array(p.betas, f), dtype=f)[k - 1]),
    "sum of logarithms": lambda p, k, f: of_alpha_bar(
        np.exp(np.cumsum(np.log1p(-np.array(p.betas, f)), dtype=f))[k - 1]
    ),
    "tree": lambda p, k, f: of_alpha_bar(np.array([_tree(f(1) - np.array(p.betas[:n], f)) for n in k.tolist()])),
    "binary64 inside": lambda p, k, f: _cast(of_alpha_bar(np.cumprod(1.0 - np.array(p.betas))[k - 1]), f),
    "product of roots": lambda p, k, f: _by_alpha(np.cumprod(np.sqrt(f(1) - np.array(p.betas, f)), dtype=f)[k - 1], f),
}
"""Forms for a chain."""


def parts(value: Any, x_t: Any, q: Scales, source: Parameterization) -> tuple[Any, Any]:
    """Return x_0 and eps, converted from a value of any parameterization."""
    a, s = q
    if source == "v":
        return a * x_t - s * value, s * x_t + a * value
    if source == "x_0":
        return value, (x_t - a * value) / s
    eps = value if source == "eps" else -s * value
    return (x_t - s * eps) / a, eps


def told(x_0: Any, eps: Any, q: Scales, to: Parameterization) -> Any:
    """Return the value of a parameterization from x_0 and eps."""
    a, s = q
    return {"x_0": lambda: x_0, "eps": lambda: eps, "v": lambda: a * eps - s * x_0, "score": lambda: -eps / s}[to]()


UNIT: Mapping[Parameterization, Callable[[Any, Any], Any]] = {
    "eps": lambda a, s: a / a,
    "x_0": lambda a, s: s / a,
    "v": lambda a, s: 1 / a,
    "score": lambda a, s: 1 / s,
}
"""The error of each prediction for an error of 1 in eps."""


def weight_of_x_0(weight: Weighting, a: Any, s: Any) -> Any:
    """Return the weight of chapter 5 on the error of x_0."""
    return a / a if weight == "inverse_snr" else np.minimum((a / s) ** 2, 5)


@dataclass(frozen=True)
class Forms:
    """A target with these forms. way: the prediction through which it computes losses and conversions, if any."""

    process: Process | type[Process]
    scales: ScalesBy
    dtype: DType = "float32"
    way: Parameterization | None = None
    claim_of: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[Any], Any] = lambda t: t
    """Transformation of t for the network, inverted by its adapter."""
    noised: Callable[[Any, Any, Any, Any], tuple[Any, Any]] | None = None
    """x_t and the noise that the loss compares with, from x_0, eps, alpha and sigma."""
    reduction: Reduction = "none"

    @property
    def claim(self) -> Claim:
        """Claim one process, or a type."""
        given: dict[str, Any] = {
            "name": "forms",
            "version": "1",
            "dtype": self.dtype,
            "processes": (self.process,),
            "capabilities": frozenset({"schedule", "perturb", "convert", "loss"}),
            "reduction": self.reduction,
        }
        return Claim(**{**given, **self.claim_of})

    def build(self, process: Process) -> Forms:
        """Return this target for one process."""
        return replace(self, process=process)

    @property
    def number(self) -> Any:
        """The NumPy type to compute in."""
        return np.float64 if self.dtype == "float64" else np.float32

    def at(self, t: Times, data: Any) -> Scales:
        """Return alpha and sigma in a shape that broadcasts with the data."""
        a, s = (x.reshape(-1, *(1,) * (data.ndim - 1)) for x in self.scales(self.process, t, self.number))
        return a, s

    def coefficients(self, t: Times) -> dict[Quantity, Array]:
        """Return alpha, sigma and alpha_bar."""
        a, s = self.scales(self.process, t, self.number)
        return {"alpha": a, "sigma": s, "alpha_bar": np.asarray(a * a)}

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        a, s = self.at(t, x_0)
        return np.asarray(a * x_0 + s * eps)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Convert directly, or through the prediction `way`."""
        q = self.at(t, x_t)
        if self.way not in (None, source, to):
            assert self.way is not None
            value, source = told(*parts(value, x_t, q, source), q, self.way), self.way
        return np.asarray(told(*parts(value, x_t, q, source), q, to), dtype=self.number)

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Return the loss by the error of the prediction, or of `way` with the corresponding weight."""
        if weight == "likelihood":
            raise Unsupported("no likelihood weight")
        a, s = self.at(t, x_0)
        x_t, noise = a * x_0 + s * eps, eps
        if self.noised is not None:
            x_t, noise = self.noised(x_0, eps, a, s)
        found, way = denoiser(x_t, self.clock(t)), self.way or prediction
        guess = told(*parts(found, x_t, (a, s), prediction), (a, s), way) if way != prediction else found
        error = guess - told(x_0, noise, (a, s), way)
        if weight == "uniform":
            scale = UNIT[prediction](a, s) / UNIT[way](a, s) if way != prediction else a / a
            squares = scale**2 * error**2
        else:
            squares = weight_of_x_0(weight, a, s) * (UNIT["x_0"](a, s) / UNIT[way](a, s)) ** 2 * error**2
        sums = squares.reshape(len(t), -1).sum(1).astype(self.number)
        if self.reduction == "none":
            return np.asarray(sums)
        return np.asarray(sums.mean() / (x_0[0].size if self.reduction == "all_mean" else 1), dtype=self.number)


@dataclass(frozen=True)
class OwnForm:
    """A target of one `Own` process, which declares its `sigma_min`."""

    label: str
    sigma_min: float

    def target(self, scales: ScalesBy, dtype: DType = "float32", **claim: Any) -> Forms:
        """Return a target."""
        return Forms(Own(label=self.label, sigma_min=self.sigma_min), scales, dtype, claim_of=claim)
