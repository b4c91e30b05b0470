"""alpha and sigma in binary64 by NumPy, fast enough for a sweep over every float32; the formulas differ from refdiff's.

tests/test_accuracy.py compares their error with Arb on a sample of times.
"""

from __future__ import annotations

from math import pi
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

ERROR = 2.0**-48
"""Bound on the relative error of every function for the default parameters: 32 u. exp(-B/2) has the largest: 20 u at
B(1) = 10, as B has a relative error of 4 u."""


def linear_alpha(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return alpha of the linear schedule: exp(-B/2), where B is the integral of beta."""
    return np.asarray(np.exp(-0.5 * _integral(beta_min, beta_max, t)))


def linear_sigma(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return sigma of the linear schedule: sqrt(1 - exp(-B)) = exp(-B/4) sqrt(2 sinh(B/2)), without cancellation.

    B is capped at 80, where sigma is 1 in binary64 already.
    """
    b = np.minimum(_integral(beta_min, beta_max, t), 80.0)
    return np.asarray(np.exp(-0.25 * b) * np.sqrt(2.0 * np.sinh(0.5 * b)))


def cosine_alpha(s: float, t: Floats) -> Floats:
    """Return alpha of the cosine schedule, cos(a + x)/cos(a), by sines of pi/2 minus each angle.

    Near t = 1, where the cosine would cancel, 1 - t is exact.
    """
    speed = 0.5 * pi / (1.0 + s)
    return np.asarray(np.sin(speed * (1.0 - t)) / np.sin(speed))


def cosine_sigma(s: float, t: Floats) -> Floats:
    """Return sigma of the cosine schedule: sqrt(cos(a)^2 - cos(a + x)^2)/cos(a) = sqrt(sin(x) sin(2a + x))/cos(a)."""
    speed = 0.5 * pi / (1.0 + s)
    x = speed * t
    return np.asarray(np.sqrt(np.sin(x)) * np.sqrt(np.sin(2.0 * speed * s + x)) / np.sin(speed))


def _integral(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return B, the integral of beta over [0, t], as beta_max t^2/2 + beta_min (t - t^2/2)."""
    ramp = 0.5 * t * t
    return np.asarray(beta_max * ramp + beta_min * (t - ramp))
