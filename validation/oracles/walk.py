"""The exact law of a sampler's walk on the line: densities carried from step to step, without Monte Carlo.

A step x' = m(x) + sqrt(v) z with z ~ N(0, 1) turns the density p into p'(y) = integral of p(x) N(y; m(x), v) dx. On an
even grid the trapezium rule is accurate beyond all orders for such smooth integrands, as long as the grid resolves
sqrt(v) and p: `Law.mass` tells how far it is off, and halving the grid tells again. `carried` needs no grid as fine as
the noise of a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from .mixture import Floats, Mixture

Map: TypeAlias = Callable[[Floats], Floats]


@final
@dataclass(frozen=True, slots=True)
class Law:
    """A law on an even grid: its density, and its distribution function where it has been worked out."""

    x: Floats
    density: Floats
    below: Floats
    """The distribution function at x, or NaN where it was not asked for."""

    @property
    def mass(self) -> float:
        """Total mass of the density: 1, up to the mass outside the grid."""
        return float(self.density.sum() * (self.x[1] - self.x[0]))

    def cdf(self, at: Floats) -> Floats:
        """Return the distribution function anywhere, by cubic splines: off by the fourth power of the grid."""
        inside = np.clip(at, self.x[0], self.x[-1])
        return np.asarray(np.clip(CubicSpline(self.x, self.below)(inside), 0.0, 1.0))

    def distance(self, other: Callable[[Floats], Floats]) -> float:
        """Return Kolmogorov's distance from a distribution function, on this grid."""
        return float(np.max(np.abs(self.below - other(self.x))))


def start(law: Mixture, points: int) -> Law:
    """Return a mixture on a grid that leaves out 1e-12 of it."""
    low, high = law.reach(1e-12)
    x = np.linspace(low, high, points)
    return Law(x, np.exp(law.log_density(x)), law.cdf(x))


def stepped(law: Law, mean: Map, variance: float, x: Floats, *, whole: bool = True) -> Law:
    """Return the law of mean(X) + N(0, variance), on another grid; for variance 0, mean increases.

    whole: whether the distribution function is needed too: it costs three times what the density does.
    """
    middle, d = mean(law.x), law.x[1] - law.x[0]
    if variance == 0.0:
        below = np.clip(CubicSpline(middle, law.below)(np.clip(x, middle[0], middle[-1])), 0.0, 1.0)
        return Law(x, np.gradient(below, x), below)
    z = (x[:, None] - middle[None, :]) / np.sqrt(variance)
    carried = law.density * d
    below = ndtr(z) @ carried if whole else np.full(len(x), np.nan)
    np.square(z, out=z)
    z *= -0.5
    density = np.exp(z, out=z) @ carried / np.sqrt(2 * np.pi * variance)
    return Law(x, density, below)


def walked(data: Mixture, steps: Sequence[tuple[Map, float]], first: Mixture, last: Mixture, points: int = 600) -> Law:
    """Return the law after all steps, each a mean and a variance, from `first` on a grid that holds `last` too.

    data: only its reach counts: every intermediate law lies within that of first, last and data.
    """
    ends = [law.reach(1e-12) for law in (first, last, data)]
    x = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), points)
    law = Law(x, np.exp(first.log_density(x)), first.cdf(x))
    # Only a step without noise, and who asks for the law, needs the distribution function.
    wholes = [variance == 0.0 for _, variance in steps[1:]] + [True]
    for (mean, variance), whole in zip(steps, wholes, strict=False):
        law = stepped(law, mean, variance, x, whole=whole)
    return law


def ancestral(data: Mixture, alphas: Floats, sigmas: Floats) -> list[tuple[Map, float]]:
    """Return the steps of the posterior at the best x_0_hat, between the times at which alpha and sigma are given."""
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
    """Return the steps of the reverse SDE over falling times; `factor` multiplies the score. scales: alpha, sigma^2."""
    steps: list[tuple[Map, float]] = []
    for t, s in itertools.pairwise(times):
        law, beta, h = data.noised(*scales(float(t))), float(rate(np.asarray(t))), float(t - s)

        def mean(x: Floats, law: Mixture = law, bh: float = beta * h) -> Floats:
            return np.asarray(x + bh * (0.5 * x + factor * law.score(x)))

        steps.append((mean, beta * h))
    return steps


NODES = np.arange(-85, 86) / 10.0
"""Of the normal noise of a step: the trapezium rule over them is exact to 1e-15 for what is smooth at this spacing."""
_WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()


def carried(data: Mixture, steps: Sequence[tuple[Map, float]], first: Mixture, last: Mixture, points: int) -> Law:
    """Return the law after all steps by its distribution function, whatever the width of a step's noise.

    F'(y) = E F(m^-1(y - sqrt(v) z)) for an increasing mean m, by splines through (m(x), F(x)): the grid resolves the
    law, whose components are never narrower than those of the data, and not the kernel, which may be as narrow as it
    likes. Raises ArithmeticError if a mean does not increase. data, first, last: as of `walked`.
    """
    ends = [law.reach(1e-12) for law in (first, last, data)]
    x = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), points)
    below = first.cdf(x)
    for mean, variance in steps:
        middle = mean(x)
        if not (np.isfinite(middle).all() and np.all(np.diff(middle) > 0.0)):
            raise ArithmeticError("the mean of a step does not increase on the grid")
        spline = CubicSpline(middle, below)
        at = np.clip(x[:, None] - np.sqrt(variance) * NODES, middle[0], middle[-1])
        below = np.clip(spline(at) @ _WEIGHTS, 0.0, 1.0)
    return Law(x, np.gradient(below, x), below)
