"""Expected losses and their tolerances (chapter 11), with the table of weights, in binary64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, MinSNR, Parameterization, Times, Weight

from ..oracles.certified import Floats
from .conversions import divisor_lost, formed, magnitude, ways
from .tiers import JUDGE_U, Scales, divides

GAMMA = 5.0
"""gamma of the weight that is named min_snr."""
Formula: TypeAlias = Callable[[Any, Any, Any], Any]
Kind: TypeAlias = tuple[Parameterization, Weight]
"""Prediction type, and the weight on its squared error."""


def _snr(a: Any, s: Any) -> Any:
    return (a / s) ** 2


WEIGHTS: Mapping[Kind, Formula] = {
    ("eps", "inverse_snr"): lambda a, s, b: _snr(s, a),
    ("x_0", "inverse_snr"): lambda a, s, b: np.ones_like(a),
    ("v", "inverse_snr"): lambda a, s, b: s * s,
    ("score", "inverse_snr"): lambda a, s, b: s * s * _snr(s, a),
    ("eps", "snr"): lambda a, s, b: np.ones_like(a),
    ("x_0", "snr"): lambda a, s, b: _snr(a, s),
    ("v", "snr"): lambda a, s, b: a * a,
    ("score", "snr"): lambda a, s, b: s * s,
    ("eps", "snr_plus_one"): lambda a, s, b: 1.0 / (a * a),
    ("x_0", "snr_plus_one"): lambda a, s, b: 1.0 / (s * s),
    ("v", "snr_plus_one"): lambda a, s, b: np.ones_like(a),
    ("score", "snr_plus_one"): lambda a, s, b: _snr(s, a),
    ("eps", "likelihood"): lambda a, s, b: b / (s * s),
    ("x_0", "likelihood"): lambda a, s, b: b * _snr(a, s * s),
    ("v", "likelihood"): lambda a, s, b: b * _snr(a, s),
    ("score", "likelihood"): lambda a, s, b: b * np.ones_like(a),
}
"""The table of chapter 5, from alpha, sigma and beta. `uniform` is 1, whatever the prediction."""

_BY_ALPHA = {(y, w) for y in ("eps", "score") for w in ("inverse_snr", "snr_plus_one")}
_BY_SIGMA = {*((y, "likelihood") for y in ("eps", "x_0", "v")), ("x_0", "snr"), ("x_0", "snr_plus_one")}


def _min_snr(prediction: Parameterization, gamma: float) -> Formula:
    """Return the min-SNR weight, without 0/0."""
    forms: Mapping[Parameterization, Formula] = {
        "eps": lambda a, s, b: np.minimum(1.0, gamma * _snr(s, a)),
        "x_0": lambda a, s, b: np.minimum(_snr(a, s), gamma),
        "v": lambda a, s, b: np.minimum(a * a, gamma * s * s),
        "score": lambda a, s, b: s * s * np.minimum(1.0, gamma * _snr(s, a)),
    }
    return forms[prediction]


def _formula(kind: Kind) -> Formula:
    prediction, weight = kind
    if isinstance(weight, MinSNR):
        return _min_snr(prediction, weight.gamma)
    return _min_snr(prediction, GAMMA) if weight == "min_snr" else WEIGHTS[kind]


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of a loss: the denoiser's prediction and the arguments, each with n examples."""

    predicted: Array
    x_0: Array
    eps: Array
    t: Times

    def rows(self, index: npt.NDArray[np.intp]) -> Batch:
        """Return some of the examples, in the order given."""
        return Batch(self.predicted[index], self.x_0[index], self.eps[index], self.t[index])

    @property
    def size(self) -> int:
        """Size of one example."""
        return int(np.prod(self.x_0.shape[1:]))


@final
@dataclass(frozen=True, slots=True)
class Known:
    """The scales of a process at some times, (n,), each with its uncertainty; beta is 0 where nothing needs it."""

    at: Scales
    beta: Floats
    d_beta: Floats


@np.errstate(all="ignore")
def weight(kind: Kind, known: Known, fmt: Format) -> Expected:
    """Return the weight at each time, (n,).

    Weights are monotone in each scale, so the largest change is at a corner of the uncertainty intervals.
    """
    q = known.at
    if kind[1] == "uniform":
        ones = np.ones(len(q.alpha))
        return Expected(ones, np.zeros_like(ones), ones > 0.0)
    formula = _formula(kind)
    domain = np.isfinite(known.beta)
    if kind in _BY_ALPHA:
        domain &= divides(q.alpha, q.d_alpha)
    if kind in _BY_SIGMA:
        domain &= divides(q.sigma, q.d_sigma)
    value = np.asarray(formula(q.alpha, q.sigma, known.beta))
    moved = np.zeros(len(value))
    for a, s, b in product((-1.0, 1.0), repeat=3):
        corner = formula(
            np.maximum(q.alpha + a * q.d_alpha, 0.0),
            np.maximum(q.sigma + s * q.d_sigma, 0.0),
            np.maximum(known.beta + b * known.d_beta, 0.0),
        )
        moved = np.fmax(moved, np.abs(corner - value))
    tolerance = 8.0 / 7.0 * moved + 8.0 * fmt.u * np.abs(value)
    return Expected(value, tolerance, domain & np.isfinite(value) & np.isfinite(tolerance))


@np.errstate(all="ignore")
def truth(prediction: Parameterization, batch: Batch, at: Scales, fmt: Format) -> Expected:
    """Return what the denoiser has to predict: eps, x_0, v or the conditional score. The domain has shape (n,)."""
    x, e, q = batch.x_0.astype(np.float64), batch.eps.astype(np.float64), at.shaped(batch.x_0.ndim)
    everywhere = np.ones(len(x), dtype=bool)
    if prediction in ("eps", "x_0"):
        value = e if prediction == "eps" else x
        return Expected(value, np.zeros_like(value), everywhere)
    u = 4.0 * fmt.u + JUDGE_U
    if prediction == "v":
        size = q.alpha * np.abs(e) + q.sigma * np.abs(x)
        tolerance = 8.0 / 7.0 * (np.abs(e) * q.d_alpha + np.abs(x) * q.d_sigma) + u * size
        return Expected(q.alpha * e - q.sigma * x, tolerance, everywhere)
    score = -e / q.sigma
    domain = divides(at.sigma, at.d_sigma)
    return Expected(score, np.abs(score) * (8.0 / 7.0 * q.d_sigma / q.sigma + u), domain)


@np.errstate(all="ignore")
def losses(kind: Kind, batch: Batch, known: Known, fmt: Format, factor: float = 1.0) -> Expected:
    """Return c w sum (y_hat - y)^2 for each example, (n,), where y_hat is the output of the denoiser, and c `factor`.

    The tolerance allows a loss to be computed from another prediction; it is infinite where that conversion may divide
    by nearly 0.
    """
    w, y, size = weight(kind, known, fmt), truth(kind[0], batch, known.at, fmt), batch.size
    r = np.abs(batch.predicted.astype(np.float64) - y.value)
    squares, d_r = (r**2).reshape(len(r), -1).sum(1), y.tolerance + 4.0 * fmt.u * r
    value = w.value * squares
    moved = _moved(r, d_r)
    direct = w.value * moved + w.tolerance * (squares + moved) + (size + 8) * fmt.u * value + size * fmt.smallest
    largest = np.maximum(np.abs(value + direct), np.abs(squares + moved))
    domain = w.domain & y.domain & (max(1.0, factor) * largest < fmt.largest) & np.isfinite(direct)
    moved = _moved(r, d_r + _by_ways(kind[0], batch, known.at, fmt))
    tolerance = np.where(w.value > 0.0, w.value * moved, 0.0) + np.where(
        w.tolerance > 0.0, w.tolerance * (squares + moved), 0.0
    )
    tolerance = tolerance + (size + 20) * fmt.u * value + size * fmt.smallest
    return Expected(value, tolerance, domain) if factor == 1.0 else _scaled(value, tolerance, domain, factor, fmt)


def _moved(r: Floats, d_r: Floats) -> Floats:
    """Return how far the sums of r^2 move, (n,), if each r moves by d_r, which may be infinite."""
    return np.asarray((np.where(r > 0.0, 2.0 * r * d_r, 0.0) + d_r**2).reshape(len(r), -1).sum(1))


def _scaled(value: Floats, tolerance: Floats, domain: Any, factor: float, fmt: Format) -> Expected:
    """Return losses times a constant, which is rounded to the format, and so is the product."""
    return Expected(factor * value, factor * (tolerance + 3.0 * fmt.u * value) + fmt.smallest, domain)


def each(found: Expected, size: int, fmt: Format) -> Expected:
    """Return the means over the event, (n,), of losses that are sums over the event; size: of one example."""
    return Expected(found.value / size, found.tolerance / size + 2.0 * fmt.u * found.value / size + fmt.smallest)


def mean(found: Expected, share: float, fmt: Format) -> Expected:
    """Return the sum of the losses of a batch, times `share`: their mean over examples, or over all numbers."""
    value = np.asarray(share * found.value.sum())
    rounded = (len(found.value) + 8) * fmt.u * np.abs(value) + fmt.smallest
    return Expected(value, share * found.tolerance.sum() + rounded)


def _by_ways(prediction: Parameterization, batch: Batch, at: Scales, fmt: Format) -> Floats:
    """Return the error of prediction minus target if it is computed from another prediction.

    It is 8u times the magnitudes of the terms of both, propagated back: x_t, prediction, target and weight use the same
    scales up to two roundings. It is infinite if a square overflows.
    """
    q = at.shaped(batch.x_0.ndim)
    x, e, v = (np.abs(array.astype(np.float64)) for array in (batch.x_0, batch.eps, batch.predicted))
    x_t = q.alpha * x + q.sigma * e
    truths = {"eps": e, "x_0": x, "v": q.alpha * e + q.sigma * x, "score": e / q.sigma}
    found = np.zeros(x.shape)
    for way in ways(prediction, prediction):
        terms = magnitude((prediction, way), x_t, v, q) + truths[way]
        back = magnitude((way, prediction), np.zeros_like(x_t), terms, q) * divisor_lost(way, prediction, q)
        inside = terms**2 * batch.size < fmt.largest
        found = np.maximum(found, formed((8.0 * fmt.u + 2.0 * q.floor) * np.where(inside, back, np.inf), q))
    return found


@final
@dataclass(frozen=True, slots=True, eq=False)
class Solves:
    """A denoiser that computes the exact prediction from its input x_t and the known x_0."""

    prediction: Parameterization
    x_0: Array
    at: Scales
    format: Format
    calls: list[tuple[Array, Any]] = field(default_factory=list)
    """The (x_t, t) of every call."""

    def __call__(self, x_t: Array, t: Times) -> Array:
        """Return the exact prediction, rounded once."""
        self.calls.append((np.array(x_t), np.array(t)))
        q = self.at.shaped(self.x_0.ndim)
        with np.errstate(all="ignore"):
            eps = (x_t.astype(np.float64) - q.alpha * self.x_0.astype(np.float64)) / q.sigma
            return self.format.rounded(self.exact(eps))

    def exact(self, eps: Floats) -> Floats:
        """Return the prediction that is right for this noise: eps, v or the score."""
        q = self.at.shaped(self.x_0.ndim)
        with np.errstate(all="ignore"):
            if self.prediction == "eps":
                return eps
            if self.prediction == "v":
                return np.asarray(q.alpha * eps - q.sigma * self.x_0.astype(np.float64))
            return np.asarray(-eps / q.sigma)

    def tolerance(self, size: Floats) -> Floats:
        """Return the tolerance of the prediction for data and noise of this size.

        x_t is rounded three times, and its scales have errors d_alpha and d_sigma; both are divided by sigma, and then
        the prediction is rounded once.
        """
        q = self.at.shaped(self.x_0.ndim)
        with np.errstate(all="ignore"):
            of_eps = 8.0 / 7.0 * (q.d_alpha + q.d_sigma + 4.0 * self.format.u) * size / q.sigma
            slope = {"v": q.alpha}.get(self.prediction, 1.0 / q.sigma if self.prediction == "score" else 1.0)
            return np.asarray(slope * (of_eps + 2.0 * self.format.u * size))
