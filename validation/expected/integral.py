"""Integrals of sampled functions by Romberg's rule, with an estimate of their error."""

from __future__ import annotations

import numpy as np
import scipy  # which imports its parts when they are first used, and many a judgement uses none

from ..oracles.certified import Floats

CUTS = np.array([16, 32, 64])
"""Numbers of intervals over which the running integral is taken."""


def romberg(values: Floats, spacing: float) -> tuple[Floats, Floats]:
    """Return the integral over the first 16, 32 and 64 intervals, and its difference to that by every other node.

    Args:
        values: function at 65 nodes of equal spacing.
        spacing: distance of neighbouring nodes.
    """
    fine = np.array([scipy.integrate.romb(values[: k + 1], dx=spacing) for k in CUTS])
    coarse = np.array([scipy.integrate.romb(values[: k + 1 : 2], dx=2.0 * spacing) for k in CUTS])
    return fine, np.abs(fine - coarse)
