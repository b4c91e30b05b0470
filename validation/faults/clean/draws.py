"""Draws of times (chapter 6), averages of weights (chapter 8), guidance (chapter 10) and training."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.averaging import Equal, Power, Ratio
from refdiff.conformance.interface import Array, Chain, Denoiser, Times

from ...expected.denoiser import DATA, Predict, best
from .scales import Scales, wide


class Draws(Scales):
    """Times, averages, guidance and a trained denoiser of one process."""

    def generator(self, seed: int) -> np.random.Generator:
        """Return the generator of all draws of one call."""
        return np.random.default_rng(seed)

    def shares(self, n: int, rng: np.random.Generator) -> Any:
        """Return n places in [0, 1): one in each of n strata, in random order."""
        return (rng.permutation(n) + rng.random(n)) / n

    def spread(self, share: Any) -> Any:
        """Return the times at places of [0, 1]: from the smallest to the largest, evenly."""
        low = self.claim.t_min if self.claim.draws.t_min is None else self.claim.draws.t_min
        high = self.claim.t_max if self.claim.draws.t_max is None else self.claim.draws.t_max
        return low + (high - low) * share

    def index(self, share: Any) -> Any:
        """Return the index k in 1, ..., N at places of [0, 1)."""
        assert isinstance(self.process, Chain)
        steps = len(self.process.betas)
        return np.minimum((share * steps).astype(np.int64), steps - 1) + 1

    def weights_of(self, share: Any) -> Any:
        """Return the weights of the times drawn: the inverse of their density."""
        return np.ones_like(share)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return times and weights."""
        share = self.shares(n, self.generator(seed))
        weight = self.rounded(self.weights_of(share))
        return (self.index(share) if self.is_chain else self.rounded(self.spread(share))), weight

    def density_of(self, t: Any) -> Any:
        """Return the density of the times, up to a constant factor."""
        return np.ones(np.shape(t))

    def density(self, t: Times) -> Array:
        """Return the density that a claim may declare."""
        return self.rounded(self.density_of(wide(t)))

    def decay(self, decay: float, k: int) -> float:
        """Return the decay of update k = 1, 2, ..."""
        match self.claim.warm_up:
            case Ratio(offset=offset):
                return min(decay, (1.0 + k) / (offset + k))
            case Power(inv_gamma=inv_gamma, power=power, least=least, after=after):
                risen = 1.0 - (1.0 + (k - after) / inv_gamma) ** -power if k > after else 0.0
                return min(decay, max(risen, least)) if k > after else 0.0
            case Equal():
                return k / (k + 1.0)
            case _:
                return decay

    def decays(self, decay: float, n: int) -> Any:
        """Return the decays of n updates."""
        return np.array([self.decay(decay, k) for k in range(1, n + 1)])

    def updated(self, average: Any, weights: Any, decay: float) -> Any:
        """Return the average after one update."""
        return average + (1.0 - decay) * (weights - average)

    def averages(self, decay: float, history: Any) -> Any:
        """Return the average after each row of a history."""
        rows = [history[0]]
        for k, row in enumerate(history[1:], start=1):
            rows.append(self.updated(rows[-1], row, self.decay(decay, k)))
        return np.stack(rows)

    def ema(self, decay: float, history: Array) -> Array:
        """Return the averages."""
        return self.rounded(self.averages(decay, wide(history)))

    def guided(self, conditional: Any, unconditional: Any, scale: float) -> Any:
        """Return u + scale (c - u)."""
        return unconditional + scale * (conditional - unconditional)

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        """Return the guided prediction."""
        return self.rounded(self.guided(wide(conditional), wide(unconditional), scale))

    def learned(self, alpha: float, variance: float) -> Predict:
        """Return what a network that reaches the least loss predicts at one time: E[eps | x_t]."""
        return best(DATA, alpha, variance)

    def fit(self, data: Array, seed: int, seconds: float) -> Denoiser:
        """Return the denoiser of the least loss, without training."""

        def denoiser(x_t: Array, t: Times) -> Array:
            found = np.empty(x_t.shape)
            for when in np.unique(t):
                rows = t == when
                predict = self.learned(float(self.alpha(when)), float(self.sigma(when)) ** 2)
                found[rows, 0] = predict(wide(x_t[rows, 0]))
            return self.rounded(found)

        return denoiser
