"""Sampling steps (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times
from refdiff.conformance.step import Step

from .conversions import Conversions
from .scales import column, nonzero, wide


class Steps(Conversions):
    """Steps of one process."""

    def length(self, t: Any, s: Any) -> Any:
        """Return h = t - s."""
        return wide(t) - wide(s)

    def em(self, x: Any, eps: Any, z: Any, t: Any, s: Any) -> Any:
        """Return Euler-Maruyama's step of the reverse SDE (SMP-1)."""
        h, beta, sigma = (column(y, x) for y in (self.length(t, s), self.rate(wide(t)), self.sigma(t)))
        nonzero(sigma)
        return x + h * (0.5 * beta * x - beta * eps / sigma) + np.sqrt(beta * h) * z

    def ode(self, x: Any, eps: Any, t: Any, s: Any) -> Any:
        """Return Euler's step of the probability flow (SMP-4)."""
        h, beta, sigma = (column(y, x) for y in (self.length(t, s), self.rate(wide(t)), self.sigma(t)))
        nonzero(sigma)
        return x + 0.5 * h * beta * (x - eps / sigma)

    def noise_variance(self, t: Any, s: Any, variance: str) -> Any:
        """Return the variance of the noise of ddpm, 0 at the last step."""
        if variance == "posterior":
            return self.posterior_variance(t, s)
        return np.where(np.asarray(s) == 0, 0.0, self.transition_variance(t, s))

    def ddpm(self, x: Any, x_0: Any, z: Any, t: Any, s: Any, variance: str) -> Any:
        """Return DDPM's step (SMP-2)."""
        nonzero(self.sigma(t))
        spread = np.sqrt(self.noise_variance(t, s, variance))
        return self.posterior_mean(x_0, x, t, s) + column(spread, x) * z

    def noise_factors(self, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
        """Return the factors of eps and of the noise in DDIM's step."""
        if eta == 0.0:
            return self.sigma(s), np.zeros_like(self.sigma(s))
        nonzero(self.sigma(t))
        kept = self.ratio(t, s) * self.sigma(s) ** 2 / self.sigma(t) ** 2
        rest = self.sigma(s) * np.sqrt(1.0 - eta**2 + eta**2 * kept)
        return rest, eta * np.sqrt(self.posterior_variance(t, s))

    def ddim(self, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
        """Return DDIM's step (SMP-3)."""
        on_eps, on_z = self.noise_factors(t, s, eta)
        return column(self.alpha(s), x_0) * x_0 + column(on_eps, x_0) * eps + column(on_z, x_0) * z

    def stepped(self, x: Any, value: Any, t: Times, s: Times, z: Any, rule: Step) -> Any:
        """Return x_s, in float64."""

        def part(to: Any) -> Any:
            return self.converted(value, x, t, rule.prediction, to)

        match rule.kind:
            case "em":
                return self.em(x, part("eps"), z, t, s)
            case "ode":
                return self.ode(x, part("eps"), t, s)
            case "ddpm":
                return self.ddpm(x, part("x_0"), z, t, s, rule.variance)
            case "ddim":
                return self.ddim(part("x_0"), part("eps"), z, t, s, rule.eta)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Return x_s."""
        with np.errstate(all="ignore"):
            return self.rounded(self.stepped(wide(x_t), wide(value), t, s, wide(noise), rule))
