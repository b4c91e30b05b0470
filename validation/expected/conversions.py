"""The twelve conversions as sums of terms, their sensitivities, and the bounds that follow (chapter 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Parameterization

from ..oracles.certified import Floats
from .tiers import JUDGE_U, Scales, divides

Terms: TypeAlias = Callable[[Any, Any, Any, Any], tuple[Any, ...]]
Pair: TypeAlias = tuple[Parameterization, Parameterization]

TERMS: Mapping[Pair, Terms] = {
    ("eps", "x_0"): lambda a, s, x, v: (x / a, -s * v / a),
    ("score", "x_0"): lambda a, s, x, v: (x / a, s * s * v / a),
    ("v", "x_0"): lambda a, s, x, v: (a * x, -s * v),
    ("x_0", "eps"): lambda a, s, x, v: (x / s, -a * v / s),
    ("v", "eps"): lambda a, s, x, v: (s * x, a * v),
    ("score", "eps"): lambda a, s, x, v: (-s * v,),
    ("eps", "v"): lambda a, s, x, v: (v / a, -s * x / a),
    ("x_0", "v"): lambda a, s, x, v: (a * x / s, -v / s),
    ("score", "v"): lambda a, s, x, v: (-s * v / a, -s * x / a),
    ("eps", "score"): lambda a, s, x, v: (-v / s,),
    ("x_0", "score"): lambda a, s, x, v: (-x / s / s, a * v / s / s),
    ("v", "score"): lambda a, s, x, v: (-x, -a * v / s),
}
"""(source, to) -> the terms of the result, from alpha, sigma, x_t and the value."""

PARTS: tuple[Parameterization, Parameterization] = ("x_0", "eps")
"""The two predictions of which the formulas of chapter 10 are made."""
BY_ALPHA: frozenset[Pair] = frozenset({("eps", "x_0"), ("score", "x_0"), ("eps", "v"), ("score", "v")})
BY_SIGMA: frozenset[Pair] = frozenset(
    {("x_0", "eps"), ("x_0", "v"), ("eps", "score"), ("x_0", "score"), ("v", "score")}
)
"""Predictions whose conversion divides by alpha, and those whose conversion divides by sigma."""


def ways(source: Parameterization, to: Parameterization) -> tuple[Parameterization, ...]:
    """Return the predictions by way of which a library may go from one to another."""
    return tuple(name for name in get_args(Parameterization) if name not in (source, to))


def magnitude(pair: Pair, x: Floats, v: Floats, q: Scales) -> Floats:
    """Return the sum of the magnitudes of the terms of a conversion, from those of x_t and of the value."""
    if pair[0] == pair[1]:
        return v
    return np.asarray(sum(np.abs(np.broadcast_to(term, x.shape)) for term in TERMS[pair](q.alpha, q.sigma, x, v)))


def divisor_lost(way: Parameterization, to: Parameterization, q: Scales) -> Floats:
    """Return by how much 1/alpha or 1/sigma may be larger in a result by that way, for scales that are not exact.

    By way of x_0 what is wanted divides by sigma, however it is written; to x_0 or v by way of eps or score, by alpha.
    Infinite where the divisor is not known from 0.
    """
    if way == "x_0":
        known = 1.0 - q.d_sigma / q.sigma
    elif way in ("eps", "score") and to in ("x_0", "v"):
        known = 1.0 - q.d_alpha / q.alpha
    else:
        return np.ones_like(q.alpha)
    return np.asarray(np.where(known > 0.0, 1.0 / known**2, np.inf))


def formed(allowance: Floats, q: Scales) -> Floats:
    """Return an allowance for a way, 0 where it does not exist: it divides by an exact 0."""
    absent = (q.alpha == 0.0) | (q.sigma == 0.0)
    return np.asarray(np.where(absent & ~np.isfinite(allowance), 0.0, np.where(np.isnan(allowance), np.inf, allowance)))


def _by_ways(pair: Pair, x: Floats, v: Floats, q: Scales, fmt: Format) -> Floats:
    """Return what a conversion by way of a third prediction may lose: 8u for each leg, 2 delta(alpha) and the floor.

    The last two are for alpha^2 + sigma^2 that is 1 to within MAR-3 only; a leg that overflows loses everything.
    """
    found = np.zeros(x.shape)
    for way in ways(*pair):
        first = magnitude((pair[0], way), x, v, q)
        size = magnitude((way, pair[1]), x, first, q) * divisor_lost(way, pair[1], q)
        error = (16.0 * fmt.u + 2.0 * (q.d_alpha + q.floor)) * np.where(first < fmt.largest, size, np.inf)
        found = np.maximum(found, formed(error, q))
    return found


def parts(x_0: Floats, eps: Floats, at: Scales) -> dict[Parameterization, Floats]:
    """Return the value of each parameterisation for a known x_0 and eps; the score is 0 where sigma is 0."""
    q = at.shaped(x_0.ndim)
    with np.errstate(all="ignore"):
        score = np.where(q.sigma > 0.0, -eps / q.sigma, 0.0)
    return {"eps": eps, "x_0": x_0, "v": q.alpha * eps - q.sigma * x_0, "score": score}


def converted(pair: Pair, value: Array, x_t: Array, at: Scales, fmt: Format, *, by_any_way: bool = False) -> Expected:
    """Return the conversion of a value at x_t, for scales known to within d_alpha and d_sigma; shaped as x_t.

    Args:
        pair: predictions to convert from and to.
        value: prediction to convert, (n, *event).
        x_t: noised data, (n, *event).
        at: scales at the n times.
        fmt: format of the target.
        by_any_way: whether to allow for what a conversion by way of a third prediction loses.
    """
    q = at.shaped(x_t.ndim)
    x, v = x_t.astype(np.float64), value.astype(np.float64)
    with np.errstate(all="ignore"):
        pieces = [np.broadcast_to(term, x.shape) for term in TERMS[pair](q.alpha, q.sigma, x, v)]
        size = np.asarray(sum(np.abs(piece) for piece in pieces))
        moved = _slope(pair, x, v, q, "alpha") * q.d_alpha + _slope(pair, x, v, q, "sigma") * q.d_sigma
        if pair == ("score", "x_0"):
            # sigma^2 without a divisor: where sigma is smaller than its uncertainty, the square of that counts.
            moved = moved + np.abs(v) / q.alpha * q.d_sigma**2
        tolerance = 8.0 / 7.0 * moved + (8.0 * fmt.u + JUDGE_U) * size + 4.0 * fmt.smallest
        if by_any_way:
            tolerance = np.maximum(tolerance, moved + _by_ways(pair, np.abs(x), np.abs(v), q, fmt))
        domain = np.ones(x.shape, dtype=bool)
        if pair in BY_ALPHA:
            domain &= divides(q.alpha, q.d_alpha)
        if pair in BY_SIGMA:
            domain &= divides(q.sigma, q.d_sigma)
        # What overflows the format is not asked for, nor what passes through an overflow.
        reached = size + np.where(np.isinf(tolerance), 0.0, tolerance)
        inside = reached / np.minimum(1.0, np.where(domain, q.sigma, 1.0)) < fmt.largest
        return Expected(np.asarray(sum(pieces)), tolerance, domain & inside)


def parts_of(
    prediction: Parameterization, value: Floats, x_t: Floats, at: Scales, fmt: Format
) -> tuple[Expected, Expected]:
    """Return x_0_hat and eps_hat of a prediction at x_t, by any way, each with its tolerance; shaped as x_t.

    Of what the prediction is itself, the tolerance is what a way through a third prediction and back may lose.
    """
    q = at.shaped(x_t.ndim)
    found = []
    for to in PARTS:
        if prediction != to:
            part = converted((prediction, to), value, x_t, at, fmt, by_any_way=True)
        else:
            with np.errstate(all="ignore"):
                part = Expected(value, _by_ways((to, to), np.abs(x_t), np.abs(value), q, fmt))
        found.append(Expected(part.value, part.tolerance, part.domain & np.isfinite(part.tolerance)))
    return found[0], found[1]


def sensitivity(pair: Pair, value: Array, x_t: Array, at: Scales) -> Floats:
    """Return |d converted / d value|, by which an error of the value is multiplied; shaped as x_t."""
    return _slope(pair, x_t.astype(np.float64), value.astype(np.float64), at.shaped(x_t.ndim), "value")


def _slope(pair: Pair, x: Floats, v: Floats, q: Scales, by: Literal["alpha", "sigma", "value"]) -> Floats:
    """Return the size of a partial derivative of a conversion, by a complex step: no difference, no cancellation."""
    step = 1e-30
    da, ds, dv = (step * 1j if by == name else 0.0 for name in ("alpha", "sigma", "value"))
    with np.errstate(all="ignore"):
        moved = sum(TERMS[pair](q.alpha + da, q.sigma + ds, x, v + dv))
        return np.asarray(np.broadcast_to(np.abs(np.imag(moved)), x.shape) / step)
