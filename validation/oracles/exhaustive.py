"""alpha and sigma in binary64 by NumPy, fast enough for every float32: other formulas than refdiff's.

A test holds their error against Arb on a sample (tests/test_accuracy.py).
"""

from __future__ import annotations

from math import pi
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

ERROR = 2.0**-48
"""Relative error of every function, default parameters: 32 u. exp(-B/2) at B(1) = 10, B to 4 u, needs 20 of them."""


def linear_alpha(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return exp(-B/2), the two rates apart."""
    return np.asarray(np.exp(-0.5 * _integral(beta_min, beta_max, t)))


def linear_sigma(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return sqrt(1 - exp(-B)) as exp(-B/4) sqrt(2 sinh(B/2)), which does not cancel; B = 80 is 1 in binary64."""
    b = np.minimum(_integral(beta_min, beta_max, t), 80.0)
    return np.asarray(np.exp(-0.25 * b) * np.sqrt(2.0 * np.sinh(0.5 * b)))


def cosine_alpha(s: float, t: Floats) -> Floats:
    """Return cos(a + x)/cos(a) by the sine of what is left to pi/2; 1 - t is exact where that matters."""
    speed = 0.5 * pi / (1.0 + s)
    return np.asarray(np.sin(speed * (1.0 - t)) / np.sin(speed))


def cosine_sigma(s: float, t: Floats) -> Floats:
    """Return sqrt(cos(a)^2 - cos(a + x)^2)/cos(a) as sqrt(sin(x) sin(2a + x))/cos(a)."""
    speed = 0.5 * pi / (1.0 + s)
    x = speed * t
    return np.asarray(np.sqrt(np.sin(x)) * np.sqrt(np.sin(2.0 * speed * s + x)) / np.sin(speed))


def _integral(beta_min: float, beta_max: float, t: Floats) -> Floats:
    """Return the integral of the rate: what beta_max adds, and what beta_min adds."""
    ramp = 0.5 * t * t
    return np.asarray(beta_max * ramp + beta_min * (t - ramp))
