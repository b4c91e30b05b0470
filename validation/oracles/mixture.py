"""A mixture of Gaussians on the line, and its marginals under noise: density, distribution function, score, draws.

x_t = alpha x_0 + sigma eps maps component N(m, s^2) to N(alpha m, alpha^2 s^2 + sigma^2) and keeps the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy  # which imports its parts when they are first used, and many a judgement uses none

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """Mixture of Gaussians: the weight, mean and variance of each component."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]

    def noised(self, alpha: float, variance: float) -> Mixture:
        """Return the distribution of alpha x_0 + N(0, variance)."""
        means = tuple(alpha * mean for mean in self.means)
        variances = tuple(alpha**2 * v + variance for v in self.variances)
        return Mixture(self.weights, means, variances)

    def _logs(self, x: Floats) -> Floats:
        """Return the log-density of each component times its weight, (components, n)."""
        w, m, v = (np.array(field)[:, None] for field in (self.weights, self.means, self.variances))
        return np.asarray(np.log(w) - 0.5 * (x - m) ** 2 / v - 0.5 * np.log(2 * np.pi * v))

    def log_density(self, x: Floats) -> Floats:
        """Return log p at x, of shape (n,)."""
        return np.asarray(scipy.special.logsumexp(self._logs(x), axis=0))

    def score(self, x: Floats) -> Floats:
        """Return d log p/dx: the scores (m - x)/v of the components, averaged with their posterior probabilities."""
        logs = self._logs(x)
        probability = np.exp(logs - scipy.special.logsumexp(logs, axis=0))
        m, v = (np.array(field)[:, None] for field in (self.means, self.variances))
        return np.asarray((probability * (m - x) / v).sum(0))

    def score_slope(self, x: Floats) -> Floats:
        """Return the derivative of the score, d^2 log p/dx^2."""
        logs = self._logs(x)
        probability = np.exp(logs - scipy.special.logsumexp(logs, axis=0))
        m, v = (np.array(field)[:, None] for field in (self.means, self.variances))
        score = (m - x) / v
        return np.asarray((probability * (score**2 - 1 / v)).sum(0) - (probability * score).sum(0) ** 2)

    def cdf(self, x: Floats) -> Floats:
        """Return the distribution function at x."""
        w, m, v = (np.array(field)[:, None] for field in (self.weights, self.means, self.variances))
        return np.asarray((w * scipy.special.ndtr((x - m) / np.sqrt(v))).sum(0))

    def draw(self, n: int, generator: np.random.Generator) -> Floats:
        """Return n independent draws."""
        component = generator.choice(len(self.weights), size=n, p=self.weights)
        means, deviations = np.array(self.means)[component], np.sqrt(self.variances)[component]
        return np.asarray(means + deviations * generator.standard_normal(n))

    def reach(self, mass: float) -> tuple[float, float]:
        """Return an interval outside which each component has at most this mass."""
        half = -float(scipy.special.ndtri(mass / 2)) * np.sqrt(self.variances)
        return float(np.min(self.means - half)), float(np.max(self.means + half))


TWO = Mixture((0.3, 0.7), (-1.0, 0.8), (0.09, 0.04))
"""Two modes of unequal weight and width, several standard deviations apart."""
ONE = Mixture((1.0,), (0.5,), (0.25,))
"""A single Gaussian, for which all quantities have a closed form."""
