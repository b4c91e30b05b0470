"""Scales of a process, and what follows from them alone: the marginal, the SDE and the posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import (
    Array,
    Chain,
    Claim,
    Cosine,
    Linear,
    NoProcess,
    Own,
    Process,
    Times,
    Unsupported,
)

Floats = npt.NDArray[np.float64]


class Scales:
    """One process. Formulas compute in float64; what crosses the contract is rounded to the format of the claim."""

    def __init__(self, process: Process, claim: Claim) -> None:
        """Take what `build` is given, and the claim of the target."""
        self.process = process
        self.claim = claim
        self.format = FORMATS[claim.dtype]

    # Chapters 1 and 7: schedules.

    def betas(self) -> Floats:
        """Return beta_1, ..., beta_N of a chain."""
        assert isinstance(self.process, Chain)
        return np.array(self.process.betas)

    def logs(self) -> Floats:
        """Return log alpha_bar_k of a chain, k = 0, ..., N."""
        with np.errstate(divide="ignore"):
            return np.concatenate([[0.0], np.cumsum(np.log1p(-self.betas()))])

    def row(self, k: Any) -> Any:
        """Return the row of a table (k = 0, ..., N) that holds step k."""
        return k

    def integral(self, t: Any) -> Floats:
        """Return the integral of the rate from 0 to t, of a schedule."""
        match self.process:
            case Linear(beta_min=low, beta_max=high):
                return np.asarray(t * (low + 0.5 * (high - low) * t))
            case Cosine():
                kept, lost = self.halves(t)
                with np.errstate(divide="ignore"):
                    return np.where(lost < 0.5, -np.log1p(-np.minimum(lost, 0.5)), -2.0 * np.log(kept))
            case _:
                return self.own_integral(t)

    def own_integral(self, t: Any) -> Floats:
        """Return the integral of the rate of the library's own process: alpha_bar = sech^2(2t)."""
        return np.asarray(2.0 * np.log(np.cosh(2.0 * np.asarray(t))))

    def own_rate(self, t: Any) -> Floats:
        """Return the rate of the library's own process."""
        return np.asarray(4.0 * np.tanh(2.0 * np.asarray(t)))

    def halves(self, t: Any) -> tuple[Floats, Floats]:
        """Return alpha and sigma^2 of the cosine schedule, neither from the other."""
        assert isinstance(self.process, Cosine)
        s, t = self.process.s, np.asarray(t, dtype=np.float64)
        start, x = 0.5 * np.pi * s / (1.0 + s), 0.5 * np.pi / (1.0 + s) * t
        lost = np.sin(x) * np.sin(2.0 * start + x) / np.cos(start) ** 2
        return np.maximum(np.sin(0.5 * np.pi / (1.0 + s) * (1.0 - t)) / np.cos(start), 0.0), np.asarray(lost)

    def rate(self, t: Any) -> Floats:
        """Return beta at t, of a schedule."""
        match self.process:
            case Linear(beta_min=low, beta_max=high):
                return np.asarray(low + (high - low) * t)
            case Cosine(s=s):
                start, speed = 0.5 * np.pi * s / (1.0 + s), 0.5 * np.pi / (1.0 + s)
                with np.errstate(divide="ignore"):
                    return np.asarray(2.0 * speed * np.sin(start + speed * t) / np.sin(speed * (1.0 - np.asarray(t))))
            case Own(steps=0) | NoProcess():
                return self.own_rate(t)
            case _:
                raise Unsupported("a chain has no rate")

    def log_alpha_bar(self, t: Any) -> Floats:
        """Return log alpha_bar."""
        if isinstance(self.process, Chain):
            return np.asarray(self.logs()[self.row(t)])
        return -self.integral(np.asarray(t, dtype=np.float64))

    def alpha_bar(self, t: Any) -> Floats:
        """Return alpha_bar."""
        return np.exp(self.log_alpha_bar(t))

    def alpha(self, t: Any) -> Floats:
        """Return alpha = sqrt(alpha_bar)."""
        return np.exp(0.5 * self.log_alpha_bar(t))

    def sigma(self, t: Any) -> Floats:
        """Return sigma = sqrt(1 - alpha_bar)."""
        return np.sqrt(-np.expm1(self.log_alpha_bar(t)))

    def log_snr(self, t: Any) -> Floats:
        """Return log(alpha_bar/(1 - alpha_bar))."""
        log = self.log_alpha_bar(t)
        with np.errstate(divide="ignore"):
            if isinstance(self.process, Cosine):
                kept, lost = self.halves(t)
                return np.asarray(np.log(kept**2 / lost))
            return np.asarray(log - np.log(-np.expm1(log)))

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Return all quantities at t."""
        names = ["alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr"]
        found = {name: getattr(self, name)(t) for name in names}
        if not self.is_chain:
            found["beta"] = self.rate(np.asarray(t, dtype=np.float64))
        return {name: self.rounded(value) for name, value in found.items()}

    # Chapter 2: marginal and posterior.

    def noised(self, x_0: Any, eps: Any, t: Times) -> Any:
        """Return x_t = alpha x_0 + sigma eps, of `perturb` and of `loss`."""
        a, s = self.over(t, x_0)
        return a * x_0 + s * eps

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t."""
        return self.rounded(self.noised(wide(x_0), wide(eps), t))

    def ratio(self, t: Any, s: Any) -> Any:
        """Return alpha_bar_t/alpha_bar_s."""
        return np.exp(self.log_alpha_bar(t) - self.log_alpha_bar(s))

    def transition_variance(self, t: Any, s: Any) -> Any:
        """Return the variance of q(x_t | x_s), 1 - alpha_bar_t/alpha_bar_s."""
        return -np.expm1(self.log_alpha_bar(t) - self.log_alpha_bar(s))

    def posterior_variance(self, t: Any, s: Any) -> Any:
        """Return the variance of q(x_s | x_t, x_0)."""
        return self.transition_variance(t, s) * self.sigma(s) ** 2 / self.sigma(t) ** 2

    def posterior_factors(self, t: Any, s: Any) -> tuple[Any, Any]:
        """Return the factors of x_0 and of x_t in the mean of q(x_s | x_t, x_0)."""
        variance = self.sigma(t) ** 2
        on_x_0 = self.alpha(s) * self.transition_variance(t, s) / variance
        return on_x_0, np.sqrt(self.ratio(t, s)) * self.sigma(s) ** 2 / variance

    def posterior_mean(self, x_0: Any, x_t: Any, t: Any, s: Any) -> Any:
        """Return the mean of q(x_s | x_t, x_0)."""
        on_x_0, on_x_t = (column(factor, x_t) for factor in self.posterior_factors(t, s))
        return on_x_0 * x_0 + on_x_t * x_t

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return the mean and the variance of q(x_s | x_t, x_0)."""
        nonzero(self.sigma(t))
        mean = self.posterior_mean(wide(x_0), wide(x_t), t, s)
        return self.rounded(mean), self.rounded(self.posterior_variance(t, s))

    # Chapter 3: SDE.

    def drift_of(self, x: Any, beta: Any) -> Any:
        """Return f = -beta x/2."""
        return -0.5 * beta * x

    def diffusion_of(self, beta: Any) -> Any:
        """Return g = sqrt(beta)."""
        return np.sqrt(beta)

    def drift(self, x: Array, t: Times) -> Array:
        """Return f(x, t)."""
        return self.rounded(self.drift_of(wide(x), column(self.rate(wide(t)), x)))

    def diffusion(self, t: Times) -> Array:
        """Return g(t)."""
        return self.rounded(self.diffusion_of(self.rate(wide(t))))

    # What every chapter uses.

    @property
    def is_chain(self) -> bool:
        """Whether times are indices."""
        return isinstance(self.process, Chain)

    def over(self, t: Times, like: Any) -> tuple[Any, Any]:
        """Return alpha and sigma in a shape that broadcasts with the data."""
        return column(self.alpha(t), like), column(self.sigma(t), like)

    def rounded(self, values: Any) -> Array:
        """Return values in the format of the claim."""
        with np.errstate(all="ignore"):
            return np.asarray(self.format.rounded(np.asarray(values, dtype=np.float64)))


def wide(array: Any) -> Any:
    """Return an array in float64; indices stay as they are."""
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def column(values: Any, like: Any) -> Any:
    """Return values of shape (n,) in a shape that broadcasts with the data."""
    return np.asarray(values).reshape((-1,) + (1,) * (np.ndim(like) - 1))


def nonzero(divisor: Any) -> None:
    """Raise Unsupported if a divisor is 0."""
    if np.any(np.asarray(divisor) == 0.0):
        raise Unsupported("this divides by 0")
