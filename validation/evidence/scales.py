"""beta, alpha and sigma^2 of the default linear schedule, in NumPy, for tests that step or integrate in time."""

from __future__ import annotations

from math import exp, expm1

import numpy as np

from ..oracles.mixture import Floats


def linear_rate(t: Floats) -> Floats:
    """Return beta(t) of the default linear schedule."""
    return np.asarray(0.1 + 19.9 * t)


def linear_scales(t: float) -> tuple[float, float]:
    """Return alpha and sigma^2 of the default linear schedule."""
    integral = 0.1 * t + 19.9 * t * t / 2
    return exp(-integral / 2), -expm1(-integral)
