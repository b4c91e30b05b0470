"""Chapter 9: the time embedding separates times."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from refdiff.conformance.check import evidence

K = np.arange(1000)


def _frequencies(half: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the frequencies of an embedding with 2 half channels."""
    return np.geomspace(1.0, 1e-4, half)


@evidence("NET-1", kind="symbolic")
def test_distance_at_one_frequency() -> None:
    """NET-1: (sin a - sin b)^2 + (cos a - cos b)^2 = 4 sin^2((a - b)/2)."""
    a, b = sp.symbols("a b", real=True)
    distance = (sp.sin(a) - sp.sin(b)) ** 2 + (sp.cos(a) - sp.cos(b)) ** 2
    assert sp.simplify(sp.expand_trig(sp.expand(distance)) - sp.expand_trig(2 - 2 * sp.cos(a - b))) == 0
    assert sp.simplify(2 - 2 * sp.cos(a - b) - 4 * sp.sin((a - b) / 2) ** 2) == 0


@evidence("NET-1", kind="exhaustive")
def test_scale_separates_a_thousand_times() -> None:
    """NET-1: times k/1000 have distances of at least 0.99, for 16 to 512 channels; without scale, of at most 2e-3."""
    differences = np.arange(1, 1000) / 1000
    for half in range(8, 257):
        distance = 2.0 * np.sqrt((np.sin(np.outer(differences, 1000.0 * _frequencies(half)) / 2.0) ** 2).sum(1))
        assert distance.min() >= 0.99, half
    for half, bound in ((8, 1.1e-3), (64, 2.0e-3)):
        unscaled = 2.0 * np.sqrt((np.sin(0.001 * _frequencies(half) / 2.0) ** 2).sum())
        assert unscaled < bound


@evidence("NET-1", kind="property")
@pytest.mark.parametrize("half", [32, 64, 128, 256])
def test_five_sixths_of_the_channels_are_nearly_constant_without_scale(half: int) -> None:
    """NET-1: with c = 1, a fraction of 5/6 +- 0.01 of the channels varies by less than 0.1 over [0, 1] (erratum E6)."""
    phase = np.outer(np.linspace(0.0, 1.0, 1001), _frequencies(half))
    constant = [int((np.ptp(f(phase), axis=0) < 0.1).sum()) for f in (np.sin, np.cos)]
    assert abs(sum(constant) / (2 * half) - 5 / 6) < 0.01
    if half == 128:
        assert constant == [96, 117]
