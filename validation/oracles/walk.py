"""The exact distribution of a sampler's output on the line, propagated step by step without Monte Carlo.

A step x' = m(x) + sqrt(v) z with z ~ N(0, 1) maps the density p to p'(y) = integral of p(x) N(y; m(x), v) dx. On an
even grid the trapezoidal rule converges faster than any power of the spacing for such smooth integrands, if the grid
resolves sqrt(v) and p. `Law.mass` minus 1, and a grid of half the spacing, estimate the error. `walked` propagates
densities in this way; `carried` propagates distribution functions, and its grid need not resolve sqrt(v).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import scipy  # which imports its parts when they are first used, and many a judgement uses none

from .mixture import Floats, Mixture

Map: TypeAlias = Callable[[Floats], Floats]


@final
@dataclass(frozen=True, slots=True)
class Law:
    """A distribution on an even grid: its density, and its distribution function where it was computed."""

    x: Floats
    density: Floats
    below: Floats
    """The distribution function at x; NaN if it was not computed."""

    @property
    def mass(self) -> float:
        """Total mass of the density: 1, up to the quadrature error and the mass outside the grid."""
        return float(self.density.sum() * (self.x[1] - self.x[0]))

    def cdf(self, at: Floats) -> Floats:
        """Return the distribution function at any point by cubic splines, with an error of order 4 in the spacing."""
        inside = np.clip(at, self.x[0], self.x[-1])
        return np.asarray(np.clip(scipy.interpolate.CubicSpline(self.x, self.below)(inside), 0.0, 1.0))

    def distance(self, other: Callable[[Floats], Floats]) -> float:
        """Return the Kolmogorov distance to a distribution function, on this grid."""
        return float(np.max(np.abs(self.below - other(self.x))))


def start(law: Mixture, points: int) -> Law:
    """Return a mixture on an even grid outside which it has a mass of at most 1e-12."""
    low, high = law.reach(1e-12)
    x = np.linspace(low, high, points)
    return Law(x, np.exp(law.log_density(x)), law.cdf(x))


def stepped(law: Law, mean: Map, variance: float, x: Floats, *, whole: bool = True) -> Law:
    """Return the distribution of mean(X) + N(0, variance) on the grid x. If the variance is 0, mean must be increasing.

    whole: whether to compute the distribution function too, which costs three times as much as the density.
    """
    middle, d = mean(law.x), law.x[1] - law.x[0]
    if variance == 0.0:
        below = np.clip(scipy.interpolate.CubicSpline(middle, law.below)(np.clip(x, middle[0], middle[-1])), 0.0, 1.0)
        return Law(x, np.gradient(below, x), below)
    z = (x[:, None] - middle[None, :]) / np.sqrt(variance)
    masses = law.density * d
    below = scipy.special.ndtr(z) @ masses if whole else np.full(len(x), np.nan)
    np.square(z, out=z)
    z *= -0.5
    density = np.exp(z, out=z) @ masses / np.sqrt(2 * np.pi * variance)
    return Law(x, density, below)


def walked(data: Mixture, steps: Sequence[tuple[Map, float]], first: Mixture, last: Mixture, points: int = 600) -> Law:
    """Return the distribution after all steps, started from `first`.

    steps: mean and variance of each. The grid covers first, last and data, and so every intermediate distribution.
    """
    ends = [law.reach(1e-12) for law in (first, last, data)]
    x = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), points)
    law = Law(x, np.exp(first.log_density(x)), first.cdf(x))
    # Only a step without noise, and the result, needs the distribution function.
    wholes = [variance == 0.0 for _, variance in steps[1:]] + [True]
    for (mean, variance), whole in zip(steps, wholes, strict=False):
        law = stepped(law, mean, variance, x, whole=whole)
    return law


def ancestral(data: Mixture, alphas: Floats, sigmas: Floats) -> list[tuple[Map, float]]:
    """Return the steps of ancestral sampling: the posterior (MAR-7) at the best x_0_hat, E[x_0 | x_t].

    alphas, sigmas: at decreasing times, one step between each two.
    """
    steps: list[tuple[Map, float]] = []
    for a_t, s_t, a_s, s_s in zip(alphas, sigmas, alphas[1:], sigmas[1:], strict=False):
        ratio = a_t / a_s
        added = s_t**2 - ratio**2 * s_s**2
        on_x_0, on_x_t, variance = a_s * added / s_t**2, ratio * s_s**2 / s_t**2, added * s_s**2 / s_t**2
        law = data.noised(float(a_t), float(s_t**2))

        def mean(
            x: Floats, law: Mixture = law, a: float = a_t, v: float = s_t**2, on: tuple[float, float] = (on_x_0, on_x_t)
        ) -> Floats:
            # E[x_0 | x_t] by Tweedie's formula.
            return np.asarray(on[0] * (x + v * law.score(x)) / a + on[1] * x)

        steps.append((mean, float(variance)))
    return steps


def euler_maruyama(
    data: Mixture,
    times: Floats,
    rate: Callable[[Floats], Floats],
    scales: Callable[[float], tuple[float, float]],
    factor: float = 1.0,
) -> list[tuple[Map, float]]:
    """Return the Euler-Maruyama steps of the reverse SDE over decreasing times.

    scales: maps a time to alpha and sigma^2. factor: multiplies the score (1 is right).
    """
    steps: list[tuple[Map, float]] = []
    for t, s in itertools.pairwise(times):
        law, beta, h = data.noised(*scales(float(t))), float(rate(np.asarray(t))), float(t - s)

        def mean(x: Floats, law: Mixture = law, bh: float = beta * h) -> Floats:
            return np.asarray(x + bh * (0.5 * x + factor * law.score(x)))

        steps.append((mean, beta * h))
    return steps


NODES = np.arange(-85, 86) / 10.0
"""Quadrature nodes for the normal noise of a step, with the weights _WEIGHTS: the trapezoidal rule has an error of
1e-15 for integrands that are smooth at this spacing."""
_WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()


def carried(data: Mixture, steps: Sequence[tuple[Map, float]], first: Mixture, last: Mixture, points: int) -> Law:
    """Return the distribution after all steps by its distribution function F; a step's noise may have any width.

    For an increasing mean m, a step gives F'(y) = E F(m^-1(y - sqrt(v) z)), by splines through (m(x), F(x)). The grid
    must resolve F, whose components are never narrower than those of the data, but not the noise.
    Raises ArithmeticError if a mean does not increase. data, first, last: as in `walked`.
    """
    ends = [law.reach(1e-12) for law in (first, last, data)]
    x = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), points)
    below = first.cdf(x)
    for mean, variance in steps:
        middle = mean(x)
        if not (np.isfinite(middle).all() and np.all(np.diff(middle) > 0.0)):
            raise ArithmeticError("the mean of a step does not increase on the grid")
        spline = scipy.interpolate.CubicSpline(middle, below)
        at = np.clip(x[:, None] - np.sqrt(variance) * NODES, middle[0], middle[-1])
        below = np.clip(spline(at) @ _WEIGHTS, 0.0, 1.0)
    return Law(x, np.gradient(below, x), below)
