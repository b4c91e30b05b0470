"""alpha and sigma in an array library, without cancellation, for the variants of other topics."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Cosine, Linear, NoProcess, Own, Process


def scales(xp: Any, p: Process, t: Any) -> tuple[Any, Any]:
    """Return alpha and sigma at times t or indices k, in the shape and dtype of t; for a chain, from float64 tables."""
    match p:
        case Linear():
            b = t * (p.beta_min + 0.5 * (p.beta_max - p.beta_min) * t)
            return xp.exp(-0.5 * b), xp.sqrt(-xp.expm1(-b))
        case Cosine():
            start, x = 0.5 * pi * p.s / (1.0 + p.s), 0.5 * pi / (1.0 + p.s) * t
            alpha = xp.sin(0.5 * pi / (1.0 + p.s) * (1.0 - t)) / cos(start)
            variance = xp.sin(x) * xp.sin(2.0 * start + x) / cos(start) ** 2
            return xp.clip(alpha, 0.0, 1.0), xp.sqrt(xp.clip(variance, 0.0, 1.0))
        case Chain():
            logs = np.concatenate([[0.0], np.cumsum(np.log1p(-np.array(p.betas)))])
            return _taken(xp, np.exp(0.5 * logs), t), _taken(xp, np.sqrt(-np.expm1(logs)), t)
        case Own() | NoProcess():
            th = xp.tanh(2.0 * t)
            return xp.sqrt((1.0 - th) * (1.0 + th)), th


def _taken(xp: Any, table: Any, k: Any) -> Any:
    return (xp.tensor(table) if xp.__name__ == "torch" else xp.asarray(table))[k]


def rate(xp: Any, p: Process, t: Any) -> Any:
    """Return beta."""
    match p:
        case Linear():
            return p.beta_min + t * (p.beta_max - p.beta_min)
        case Cosine():
            start, speed = 0.5 * pi * p.s / (1.0 + p.s), 0.5 * pi / (1.0 + p.s)
            return 2.0 * speed * xp.sin(start + speed * t) / xp.sin(speed * (1.0 - t))
        case Own() | NoProcess():
            return 4.0 * xp.tanh(2.0 * t)
        case Chain():
            raise ValueError("a chain has no rate")


def column(values: Any, like: Any) -> Any:
    """Return values of shape (n,) in a shape that broadcasts with the data."""
    return values.reshape((-1,) + (1,) * (like.ndim - 1))


def over(xp: Any, p: Process, t: Any, like: Any) -> tuple[Any, Any]:
    """Return alpha and sigma in a shape that broadcasts with the data, and in its dtype."""
    alpha, sigma = (xp.asarray(values, dtype=like.dtype) for values in scales(xp, p, t))
    return column(alpha, like), column(sigma, like)
