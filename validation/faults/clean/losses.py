"""Losses and their weights (chapter 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Denoiser, MinSNR, Parameterization, Times, Unsupported, Weight

from .conversions import Conversions
from .scales import column, wide


class Losses(Conversions):
    """Losses of one process."""

    def target(self, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
        """Return what the denoiser has to predict."""
        match prediction:
            case "eps":
                return eps
            case "x_0":
                return x_0
            case "v":
                return a * eps - s * x_0
            case "score":
                return -eps / s

    def of_uniform(self, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
        """Return the weight `uniform`, on any prediction."""
        return np.ones_like(a)

    def of_inverse_snr(self, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
        """Return the weight `inverse_snr`: that of the plain loss on x_0."""
        return {"x_0": np.ones_like(a), "eps": (s / a) ** 2, "v": s**2, "score": s**2 * (s / a) ** 2}[prediction]

    def of_snr(self, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
        """Return the weight `snr`: that of the plain loss on eps."""
        return {"eps": np.ones_like(a), "x_0": (a / s) ** 2, "v": a**2, "score": s**2}[prediction]

    def of_snr_plus_one(self, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
        """Return the weight `snr_plus_one`: that of the plain loss on v."""
        return {"v": np.ones_like(a), "eps": 1.0 / a**2, "x_0": 1.0 / s**2, "score": (s / a) ** 2}[prediction]

    def of_min_snr(self, prediction: Parameterization, a: Any, s: Any, t: Any, gamma: float = 5.0) -> Any:
        """Return the weight `min_snr`: min(SNR, gamma) on x_0."""
        on_eps = np.minimum(1.0, gamma * (s / a) ** 2)
        on_v = np.minimum(a**2, gamma * s**2)
        return {"eps": on_eps, "x_0": np.minimum((a / s) ** 2, gamma), "v": on_v, "score": s**2 * on_eps}[prediction]

    def of_likelihood(self, prediction: Parameterization, a: Any, s: Any, t: Any) -> Any:
        """Return the weight `likelihood`: beta on the score."""
        on_score = {"score": np.ones_like(a), "eps": 1.0 / s**2, "x_0": (a / s**2) ** 2, "v": (a / s) ** 2}
        return column(self.rate(wide(t)), a) * on_score[prediction]

    def weight(self, weight: Weight, prediction: Parameterization, a: Any, s: Any, t: Times) -> Any:
        """Return the weight on the squared error of a prediction."""
        if isinstance(weight, MinSNR):
            return self.of_min_snr(prediction, a, s, t, weight.gamma)
        if weight == "likelihood" and self.is_chain:
            raise Unsupported("a chain has no rate")
        return getattr(self, f"of_{weight}")(prediction, a, s, t)

    def noise_of(self, eps: Any) -> Any:
        """Return the noise of each example, in x_t and in the target."""
        return eps

    def mixed(self, x_0: Any, eps: Any, t: Times) -> Any:
        """Return x_t."""
        return self.noised(x_0, eps, t)

    def seen(self, x_t: Any, t: Times) -> tuple[Any, Times]:
        """Return what the denoiser is given."""
        return x_t, t

    def asked(self, denoiser: Denoiser, x_t: Any, t: Times) -> Any:
        """Return the prediction."""
        return wide(denoiser(self.rounded(x_t), t))

    def squares(self, weight: Any, residual: Any) -> Any:
        """Return the weighted squared errors, shaped as the data."""
        return weight * residual**2

    def factor(self) -> float:
        """Return the constant of every loss."""
        return self.claim.loss_factor

    def reduced(self, squares: Any) -> Any:
        """Return the loss from the weighted squares, as the claim says."""
        sums = squares.reshape(len(squares), -1).sum(1)
        match self.claim.reduction:
            case "none":
                return sums
            case "example_mean":
                return squares.reshape(len(squares), -1).mean(1)
            case "batch_mean":
                return sums.mean()
            case "all_mean":
                return squares.mean()

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Return the loss."""
        x, e = wide(x_0), self.noise_of(wide(eps))
        a, s = self.over(t, x)
        with np.errstate(all="ignore"):
            w = self.weight(weight, prediction, a, s, t)
            predicted = self.asked(denoiser, *self.seen(self.mixed(x, e, t), t))
            squares = self.squares(w, predicted - self.target(prediction, x, e, a, s))
            return self.rounded(self.factor() * self.reduced(squares + np.zeros_like(x)))
