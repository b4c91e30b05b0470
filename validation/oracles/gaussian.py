"""Gaussian data under noise: the exact probability flow, and the best prediction of every kind, in closed form.

For x_0 ~ N(m, v), x_t ~ N(alpha m, S^2) with S^2 = alpha^2 v + sigma^2, and along the flow (x_t - alpha m)/S does not
change. So the flow from any time to any other is known from alpha and sigma at its two ends alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Levels: TypeAlias = Callable[[Floats], tuple[Floats, Floats]]
"""Maps times to alpha and sigma."""
Prediction: TypeAlias = Literal["eps", "x_0", "v", "score"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Gaussians, one for each example: means and variances, (n,). Of variance 0 it is a point."""

    mean: Floats
    variance: Floats

    def deviation(self, alpha: float, sigma: float) -> Floats:
        """Return S, the standard deviation of x_t."""
        return np.asarray(np.sqrt(alpha**2 * self.variance + sigma**2))

    def on_flow(self, z: Floats, alpha: float, sigma: float) -> Floats:
        """Return alpha m + S z: the solution of the flow that has this z, at any time."""
        return np.asarray(alpha * self.mean + self.deviation(alpha, sigma) * z)

    def predict(self, kind: Prediction, x: Floats, alpha: Floats, sigma: Floats) -> Floats:
        """Return the best prediction for x_t of shape (n,); eps and the score of a point without noise are 0."""
        power = alpha**2 * self.variance + sigma**2
        away = (x - alpha * self.mean) / np.where(power > 0.0, power, 1.0)
        eps, x_0 = sigma * away, self.mean + alpha * self.variance * away
        found = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0, "score": -away}
        return np.asarray(found[kind])


def linear_levels(beta_min: float, beta_max: float) -> Levels:
    """Return alpha and sigma of the linear schedule (SCH-2, SCH-3)."""

    def at(t: Floats) -> tuple[Floats, Floats]:
        integral = t * (beta_min + 0.5 * (beta_max - beta_min) * t)
        return np.exp(-0.5 * integral), np.sqrt(-np.expm1(-integral))

    return at


def cosine_levels(s: float) -> Levels:
    """Return alpha and sigma of the cosine schedule (SCH-4)."""
    start, speed = 0.5 * pi * s / (1.0 + s), 0.5 * pi / (1.0 + s)

    def at(t: Floats) -> tuple[Floats, Floats]:
        alpha = np.sin(speed * (1.0 - t)) / cos(start)
        return alpha, np.sqrt(np.sin(speed * t) * np.sin(2.0 * start + speed * t)) / cos(start)

    return at


def chain_levels(betas: tuple[float, ...]) -> Levels:
    """Return alpha and sigma of a chain at indices from 0 on (DIS-1)."""
    with np.errstate(divide="ignore"):  # of a last beta of 1
        logs = np.concatenate([[0.0], np.cumsum(np.log1p(-np.array(betas)))])

    def at(k: Floats) -> tuple[Floats, Floats]:
        found = logs[np.asarray(k, dtype=np.int64)]
        return np.exp(0.5 * found), np.sqrt(-np.expm1(found))

    return at
