"""A mixture of Gaussians on the line, and what noise makes of it: density, distribution, score, best predictions.

x_t = alpha x_0 + sigma eps turns component N(m, s^2) into N(alpha m, alpha^2 s^2 + sigma^2), and leaves the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr, ndtri

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """Weights, means and variances, one of each for a component."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]

    def noised(self, alpha: float, variance: float) -> Mixture:
        """Return the law of alpha x_0 + N(0, variance)."""
        means, spreads = (
            tuple(scale * x for x in xs) for scale, xs in ((alpha, self.means), (alpha**2, self.variances))
        )
        return Mixture(self.weights, means, tuple(spread + variance for spread in spreads))

    def _logs(self, x: Floats) -> Floats:
        w, m, v = (np.array(field)[:, None] for field in (self.weights, self.means, self.variances))
        return np.asarray(np.log(w) - 0.5 * (x - m) ** 2 / v - 0.5 * np.log(2 * np.pi * v))

    def log_density(self, x: Floats) -> Floats:
        """Return log p, shaped as x, (n,)."""
        return np.asarray(logsumexp(self._logs(x), axis=0))

    def score(self, x: Floats) -> Floats:
        """Return d log p/dx: the pull of each component, weighed by how likely it is at x."""
        logs = self._logs(x)
        share = np.exp(logs - logsumexp(logs, axis=0))
        m, v = (np.array(field)[:, None] for field in (self.means, self.variances))
        return np.asarray((share * (m - x) / v).sum(0))

    def score_slope(self, x: Floats) -> Floats:
        """Return d^2 log p/dx^2."""
        logs = self._logs(x)
        share = np.exp(logs - logsumexp(logs, axis=0))
        m, v = (np.array(field)[:, None] for field in (self.means, self.variances))
        pull = (m - x) / v
        return np.asarray((share * (pull**2 - 1 / v)).sum(0) - (share * pull).sum(0) ** 2)

    def cdf(self, x: Floats) -> Floats:
        """Return the distribution function."""
        w, m, v = (np.array(field)[:, None] for field in (self.weights, self.means, self.variances))
        return np.asarray((w * ndtr((x - m) / np.sqrt(v))).sum(0))

    def draw(self, n: int, generator: np.random.Generator) -> Floats:
        """Return n draws."""
        which = generator.choice(len(self.weights), size=n, p=self.weights)
        return np.asarray(np.array(self.means)[which] + np.sqrt(self.variances)[which] * generator.standard_normal(n))

    def reach(self, share: float) -> tuple[float, float]:
        """Return an interval outside which each component has less than `share` of its mass."""
        half = -float(ndtri(share / 2)) * np.sqrt(self.variances)
        return float(np.min(self.means - half)), float(np.max(self.means + half))


TWO = Mixture((0.3, 0.7), (-1.0, 0.8), (0.09, 0.04))
"""Two modes of unequal weight and width, apart by several of their deviations."""
ONE = Mixture((1.0,), (0.5,), (0.25,))
"""A single Gaussian, of which everything is known in closed form."""
