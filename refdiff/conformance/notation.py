"""Converters for adapters of libraries whose notation is another (spec chapter 0).

An adapter speaks the canonical notation always; these are the translations that come up most.
All are elementwise, in the dtype of their argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refdiff.conformance.interface import Array
from refdiff.errors import DomainError

Indices = npt.NDArray[np.integer[Any]]


def from_edm_sigma(sigma_edm: Array) -> tuple[Array, Array]:
    """Return (alpha, sigma) of EDM's sigma = sigma/alpha; EDM's state is x_t/alpha. Any shape; inf gives (0, 1)."""
    if (np.isnan(sigma_edm) | (sigma_edm < 0)).any():
        raise DomainError("chapter 0", "EDM's sigma >= 0", sigma_edm.min())
    # hypot neither overflows nor rounds 1 + sigma^2 to 1 before the root.
    scale = np.hypot(np.ones_like(sigma_edm), sigma_edm)
    ratio = np.divide(sigma_edm, scale, out=np.ones_like(sigma_edm), where=np.isfinite(sigma_edm))
    return 1 / scale, ratio


def to_edm_sigma(alpha: Array, sigma: Array) -> Array:
    """Return EDM's sigma = sigma/alpha; inf where alpha is 0."""
    with np.errstate(divide="ignore"):
        return sigma / alpha


def zero_based(k: Indices) -> Indices:
    """Return the index into a table whose first entry belongs to k = 1. Raises DomainError for k < 1."""
    if (k < 1).any():
        raise DomainError("DIS-1", "k in 1..N", k.min())
    return k - 1


def time_reversed(t: Array) -> Array:
    """Return 1 - t, for a library in which t = 1 is the data.

    In floats 1 - t forgets a t below the unit roundoff: such a library is judged as well as it can be called.
    """
    return 1 - t


def time_scaled(t: Array, end: float) -> Array:
    """Return T t, for a library whose time runs to T (NOT-1); its rate is to be multiplied by T."""
    return t * t.dtype.type(end)
