"""Losses as expectations over a mixture of Gaussians, by Gauss-Hermite quadrature.

`count` is the number of nodes; the difference between two counts estimates the quadrature error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import scipy  # which imports its parts when they are first used, and many a judgement uses none

from .mixture import Floats, Mixture

Function: TypeAlias = Callable[[Any], Any]
"""A function of x, elementwise, real or complex."""


@cache
def _nodes(count: int) -> tuple[Floats, Floats]:
    """Return quadrature nodes and weights for an expectation over N(0, 1). The cached arrays are read-only."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / np.sqrt(2 * np.pi)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def over_marginal(law: Mixture, f: Function, count: int = 160) -> Any:
    """Return E f(x), where x has this mixture distribution."""
    nodes, weights = _nodes(count)
    return sum(
        w * (weights * f(m + np.sqrt(v) * nodes)).sum()
        for w, m, v in zip(law.weights, law.means, law.variances, strict=True)
    )


def over_pairs(data: Mixture, f: Callable[[Any, Any], Any], count: int = 160) -> Any:
    """Return E f(x_0, eps) for independent x_0 from the data and eps from N(0, 1)."""
    nodes, weights = _nodes(count)
    grid = weights[:, None] * weights[None, :]
    return sum(
        w * (grid * f((m + np.sqrt(v) * nodes)[:, None], nodes[None, :])).sum()
        for w, m, v in zip(data.weights, data.means, data.variances, strict=True)
    )


def denoising(data: Mixture, alpha: float, variance: float, s_hat: Function, count: int = 160) -> Any:
    """Return the loss of denoising score matching, E (s_hat(x_t) + eps/sigma)^2 over (x_0, eps)."""
    sigma = np.sqrt(variance)
    return over_pairs(data, lambda x_0, eps: (s_hat(alpha * x_0 + sigma * eps) + eps / sigma) ** 2, count)


def explicit(data: Mixture, alpha: float, variance: float, s_hat: Function, count: int = 160) -> Any:
    """Return the loss of explicit score matching, E (s_hat(x_t) - d log p_t/dx)^2 over x_t."""
    law = data.noised(alpha, variance)
    return over_marginal(law, lambda x: (s_hat(x) - law.score(np.real(x))) ** 2, count)


def irreducible(data: Mixture, alpha: float, variance: float, count: int = 160) -> float:
    """Return the irreducible loss, min E (eps_hat - eps)^2 = 1 - sigma^2 E (d log p_t/dx)^2."""
    law = data.noised(alpha, variance)
    return float(1.0 - variance * over_marginal(law, lambda x: law.score(x) ** 2, count))


def divergence(p: Mixture, q: Mixture, count: int = 160) -> float:
    """Return the Kullback-Leibler divergence KL(p | q) = E_p (log p - log q)."""
    return float(over_marginal(p, lambda x: p.log_density(x) - q.log_density(x), count))


def level_mass(level: int, levels: int, mean: Floats, std: float) -> Floats:
    """Return the log-probability of one of the levels -1, ..., 1 under N(mean, std^2), rounded to the nearest level.

    The two outermost levels include the tails.
    """
    centre, half = -1.0 + 2.0 * level / (levels - 1), 1.0 / (levels - 1)
    low = np.full_like(mean, -np.inf) if level == 0 else (centre - half - mean) / std
    high = np.full_like(mean, np.inf) if level == levels - 1 else (centre + half - mean) / std
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    below_low, below_high = scipy.special.log_ndtr(low), scipy.special.log_ndtr(high)
    return np.asarray(below_high + np.log1p(-np.exp(below_low - below_high)))
