"""Whole sampling runs (chapter 10): grids and samplers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Chain, Denoiser, Sampler, Times, Unsupported

from .scales import wide
from .steps import Steps

Ask = Callable[[Any, Any], Any]
"""Maps x and one time to the prediction of the denoiser."""
Noise = Callable[[], Any]

SAMPLERS = (
    Sampler(name="ddim", exact=True),
    Sampler(name="heun", order=2, exact=True),
    Sampler(name="multistep", prediction="x_0", order=2, exact=True),
    Sampler(name="flow", prediction="score", chains=False),
    Sampler(name="ancestral", exact=True, stochastic=True),
    Sampler(name="reverse", prediction="score", stochastic=True, chains=False),
)
"""The samplers of `Runs`."""


class Runs(Steps):
    """Grids and samplers of one process."""

    def grid_of(self, n: int) -> Any:
        """Return n + 1 even times from the last to the first; of a chain, N i/n rounded up."""
        if isinstance(self.process, Chain):
            return np.array([-(-len(self.process.betas) * i // n) for i in range(n, -1, -1)])
        low = self.claim.t_min if self.claim.grid.t_min is None else self.claim.grid.t_min
        high = self.claim.t_max if self.claim.grid.t_max is None else self.claim.grid.t_max
        return np.linspace(high, low, n + 1)

    def grid(self, n: int) -> Times:
        """Return the times of a run of n steps."""
        return np.asarray(self.grid_of(n), dtype=np.int64) if self.is_chain else self.rounded(self.grid_of(n))

    def pairs(self, times: Any) -> Any:
        """Return the steps of a run."""
        return pairwise(times)

    def run_ddim(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run DDIM, of eps."""
        for t, s in self.pairs(times):
            x = self.moved(x, ask(x, t), t, s)
        return x

    def moved(self, x: Any, eps: Any, t: Any, s: Any) -> Any:
        """Return DDIM's step from t to s."""
        return self.alpha(s) * (x - self.sigma(t) * eps) / self.alpha(t) + self.sigma(s) * eps

    def run_heun(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run Heun's method in sigma/alpha, of eps; Euler's where sigma_s = 0."""
        for t, s in self.pairs(times):
            eps, h = ask(x, t), self.sigma(s) / self.alpha(s) - self.sigma(t) / self.alpha(t)
            y = x / self.alpha(t) + h * eps
            if self.sigma(s) > 0.0:
                y = x / self.alpha(t) + h * self.slope(eps, self.alpha(s) * y, t, s, ask)
            x = self.alpha(s) * y
        return x

    def slope(self, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
        """Return Heun's slope, the mean of those at both ends of the step."""
        return 0.5 * (eps + ask(end, s))

    def run_multistep(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run DPM-Solver++(2M), of x_0; the first step is of order 1."""
        old: Any = None
        before: Any = None
        for t, s in self.pairs(times):
            x_0 = ask(x, t)
            if self.sigma(s) == 0.0:
                return x_0
            h = 0.5 * (self.log_snr(s) - self.log_snr(t))
            mean = x_0 if old is None else self.extrapolated(x_0, old, h, before)
            x = self.kept(t, s) * x - self.alpha(s) * np.expm1(-h) * mean
            old, before = x_0, h
        return x

    def extrapolated(self, x_0: Any, old: Any, h: Any, before: Any) -> Any:
        """Return x_0 in the middle of a step of length h, from x_0 at its start and before the step before."""
        return x_0 + (x_0 - old) * h / (2.0 * before)

    def kept(self, t: Any, s: Any) -> Any:
        """Return the factor of x in DPM-Solver++'s step."""
        return self.sigma(s) / self.sigma(t)

    def run_flow(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run Euler's method on the probability flow, of the score."""
        for t, s in self.pairs(times):
            x = x + (t - s) * self.flow_slope(x, ask(x, t), t)
        return x

    def flow_slope(self, x: Any, score: Any, t: Any) -> Any:
        """Return beta (x + score)/2."""
        return 0.5 * self.rate(wide(t)) * (x + score)

    def run_ancestral(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run DDPM's step, of eps, with the variance of the posterior."""
        for t, s in self.pairs(times):
            x_0 = self.denoised(x, ask(x, t), t)
            on_x_0, on_x_t = self.posterior_factors(t, s)
            x = on_x_0 * x_0 + on_x_t * x + self.spread_of(t, s) * noise()
        return x

    def denoised(self, x: Any, eps: Any, t: Any) -> Any:
        """Return x_0 by eps."""
        return (x - self.sigma(t) * eps) / self.alpha(t)

    def spread_of(self, t: Any, s: Any) -> Any:
        """Return the deviation of the noise of DDPM's step."""
        return np.sqrt(self.posterior_variance(t, s))

    def run_reverse(self, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
        """Run Euler-Maruyama on the reverse SDE, of the score."""
        for t, s in self.pairs(times):
            beta, h = self.rate(wide(t)), t - s
            x = x + h * beta * self.reverse_slope(x, ask(x, t)) + np.sqrt(h * beta) * noise()
        return x

    def reverse_slope(self, x: Any, score: Any) -> Any:
        """Return x/2 + score, the drift of the reverse SDE by beta and the length of a step."""
        return 0.5 * x + score

    def noise_source(self, seed: int) -> np.random.Generator:
        """Return the generator of the noise of a run."""
        return np.random.default_rng(seed)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        """Return the noise of one step of a run."""
        return rng.standard_normal(shape)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Run one of the samplers of the claim."""
        one = next((one for one in self.claim.samplers if one.name == sampler), None)
        if one is None or (self.is_chain and not one.chains):
            raise Unsupported("no such sampler")
        rng = self.noise_source(seed)

        def ask(y: Any, t: Any) -> Any:
            return wide(denoiser(self.rounded(y), np.repeat(np.asarray(t, dtype=times.dtype), len(x))))

        def noise() -> Any:
            return self.draw(rng, x.shape)

        with np.errstate(all="ignore"):
            return self.rounded(getattr(self, f"run_{sampler}")(wide(x), wide(times), ask, noise))
