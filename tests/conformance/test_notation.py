"""The converters say what chapter 0 says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.notation import from_edm_sigma, time_reversed, time_scaled, to_edm_sigma, zero_based
from refdiff.errors import DomainError


@given(st.floats(0.0, 1e300))
def test_edm_sigma(sigma_edm: float) -> None:
    """Scales are those of a variance-preserving process, and their quotient is EDM's sigma."""
    alpha, sigma = from_edm_sigma(np.array([sigma_edm]))
    # hypot and two quotients round once each: 3u on alpha and sigma, 6u on a sum of squares, 7u on the quotient.
    assert abs(alpha[0] ** 2 + sigma[0] ** 2 - 1) <= 6 * 2.0**-53
    assert abs(to_edm_sigma(alpha, sigma)[0] - sigma_edm) <= 7 * 2.0**-53 * sigma_edm


def test_edm_ends() -> None:
    """No noise, all noise, and what is no standard deviation."""
    alpha, sigma = from_edm_sigma(np.array([0.0, np.inf], dtype=np.float32))
    assert (alpha.tolist(), sigma.tolist()) == ([1.0, 0.0], [0.0, 1.0])
    assert alpha.dtype == sigma.dtype == np.float32
    assert to_edm_sigma(alpha, sigma).tolist() == [0.0, np.inf]
    with pytest.raises(DomainError, match="EDM's sigma >= 0, got -1"):
        from_edm_sigma(np.array([-1.0]))


def test_indices_and_times() -> None:
    """Indices count from 1; time runs from data to noise, to 1."""
    assert zero_based(np.array([1, 1000])).tolist() == [0, 999]
    with pytest.raises(DomainError, match=r"k in 1\.\.N, got 0"):
        zero_based(np.array([0]))
    assert time_reversed(np.array([0.0, 0.25], dtype=np.float32)).tolist() == [1.0, 0.75]
    assert time_scaled(np.array([0.5], dtype=np.float32), 1000.0).tolist() == [500.0]
