"""Sampling steps (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Parameterization, Times
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
        return x + h * self.reverse_drift(x, eps, beta, sigma) + self.em_deviation(beta, h) * z

    def reverse_drift(self, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
        """Return beta x/2 - beta eps/sigma, the drift of the reverse SDE by the length of a step."""
        return 0.5 * beta * x - beta * eps / sigma

    def em_deviation(self, beta: Any, h: Any) -> Any:
        """Return sqrt(beta h), the deviation of Euler-Maruyama's noise."""
        return np.sqrt(beta * h)

    def ode(self, x: Any, eps: Any, t: Any, s: Any) -> Any:
        """Return Euler's step of the probability flow (SMP-4)."""
        h, beta, sigma = (column(y, x) for y in (self.length(t, s), self.rate(wide(t)), self.sigma(t)))
        nonzero(sigma)
        return x + h * self.flow_drift(x, eps, beta, sigma)

    def flow_drift(self, x: Any, eps: Any, beta: Any, sigma: Any) -> Any:
        """Return beta (x - eps/sigma)/2, the drift of the flow by the length of a step."""
        return 0.5 * beta * (x - eps / sigma)

    def noise_variance(self, t: Any, s: Any, variance: str) -> Any:
        """Return the variance of the noise of ddpm, 0 at the last step."""
        if variance == "posterior":
            return self.posterior_variance(t, s)
        return np.where(np.asarray(s) == 0, 0.0, self.transition_variance(t, s))

    def ddpm(self, x: Any, x_0: Any, z: Any, t: Any, s: Any, variance: str) -> Any:
        """Return DDPM's step (SMP-2)."""
        nonzero(self.sigma(t))
        spread = self.root(self.noise_variance(t, s, variance))
        return self.ddpm_mean(x_0, x, t, s) + column(spread, x) * z

    def root(self, variance: Any) -> Any:
        """Return the deviation of ddpm's noise from its variance."""
        return np.sqrt(variance)

    def ddpm_mean(self, x_0: Any, x: Any, t: Any, s: Any) -> Any:
        """Return the mean of ddpm's step, that of the posterior."""
        return self.posterior_mean(x_0, x, t, s)

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

    def part(self, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
        """Return x_0 or eps by a prediction, for a step."""
        return self.converted(value, x, t, source, to)

    def stepped(self, x: Any, value: Any, t: Times, s: Times, z: Any, rule: Step) -> Any:
        """Return x_s, in float64."""

        def part(to: Parameterization) -> Any:
            return self.part(value, x, t, rule.prediction, to)

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
