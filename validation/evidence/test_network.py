"""Chapter 9: the embedding tells times apart."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from refdiff.conformance.check import evidence

K = np.arange(1000)


def _rates(half: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.geomspace(1.0, 1e-4, half)


@evidence("NET-1", kind="symbolic")
def test_distance_of_one_frequency() -> None:
    """NET-1: (sin a - sin b)^2 + (cos a - cos b)^2 = 4 sin^2((a - b)/2)."""
    a, b = sp.symbols("a b", real=True)
    apart = (sp.sin(a) - sp.sin(b)) ** 2 + (sp.cos(a) - sp.cos(b)) ** 2
    assert sp.simplify(sp.expand_trig(sp.expand(apart)) - sp.expand_trig(2 - 2 * sp.cos(a - b))) == 0
    assert sp.simplify(2 - 2 * sp.cos(a - b) - 4 * sp.sin((a - b) / 2) ** 2) == 0


@evidence("NET-1", kind="exhaustive")
def test_every_two_of_a_thousand_times_are_apart() -> None:
    """NET-1: at each of the 999 differences, for every even number of channels from 16 to 512; without scale not."""
    apart = np.arange(1, 1000) / 1000
    for half in range(8, 257):
        distance = 2.0 * np.sqrt((np.sin(np.outer(apart, 1000.0 * _rates(half)) / 2.0) ** 2).sum(1))
        assert distance.min() >= 0.99, half
    for half, wanted in ((8, 1.1e-3), (64, 2.0e-3)):
        unscaled = 2.0 * np.sqrt((np.sin(0.001 * _rates(half) / 2.0) ** 2).sum())
        assert unscaled < wanted


@evidence("NET-1", kind="property")
@pytest.mark.parametrize("half", [32, 64, 128, 256])
def test_five_sixths_hardly_move_without_scale(half: int) -> None:
    """NET-1: with c = 1 five sixths of the channels, to 1 in 100, vary by less than 0.1 over [0, 1] (erratum E6)."""
    phase = np.outer(np.linspace(0.0, 1.0, 1001), _rates(half))
    still = [int((np.ptp(f(phase), axis=0) < 0.1).sum()) for f in (np.sin, np.cos)]
    assert abs(sum(still) / (2 * half) - 5 / 6) < 0.01
    if half == 128:
        assert still == [96, 117]
