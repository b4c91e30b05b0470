"""Comparison of an expected value, and of its bound, with numbers that were worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import FORMATS
from validation.expected.tiers import Scales

HALF = FORMATS["float16"]
"""u = 2^-11, the smallest number is 2^-24, and the largest 65504: no term of a bound is lost beside the others."""
U, LEAST, LARGEST = 2.0**-11, 2.0**-24, 65504.0
FINE = replace(HALF, bits=1000, smallest_exponent=-16)
"""A format without roundings, u = 2^-1000, for the other terms of a bound; its largest number is 131072."""
JUDGE = 2.0**-50
"""Error of the suite's own arithmetic, in units of the terms of a sum."""


def same(found: npt.ArrayLike, by_hand: npt.ArrayLike) -> None:
    """Assert that numbers are those worked out by hand, in value and in shape, to the rounding of binary64."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(by_hand), rtol=1e-13, atol=0.0, strict=True)


def says(found: Expected, value: npt.ArrayLike, tolerance: npt.ArrayLike, domain: npt.ArrayLike = True) -> None:
    """Assert an expected value with its tolerance, and its domain, which broadcasts to the value."""
    same(found.value, np.asarray(value, dtype=np.float64))
    same(found.tolerance, np.asarray(tolerance, dtype=np.float64))
    assert (
        np.broadcast_to(found.domain, found.value.shape).tolist() == np.broadcast_to(domain, np.shape(value)).tolist()
    )


def scales(alpha: Any, sigma: Any, d_alpha: Any = 0.0, d_sigma: Any = 0.0, floor: float = 0.0) -> Scales:
    """Return scales with their uncertainties, each number repeated for all examples."""
    columns = (np.atleast_1d(np.asarray(x, np.float64)) for x in (alpha, sigma, d_alpha, d_sigma))
    a, s, d_a, d_s = (np.array(x) for x in np.broadcast_arrays(*columns))
    return Scales(a, s, d_a, d_s, floor)
