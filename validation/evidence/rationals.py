"""Exact arithmetic: the Hypothesis settings of tests over the rationals, and rational points of the unit circle."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st

over_rationals = settings(deadline=None, derandomize=True, max_examples=50)
"""Settings of a test in exact arithmetic: the same 50 examples in every run, and no time limit for one."""

circle = st.fractions(min_value=Fraction(1, 20), max_value=Fraction(19, 20), max_denominator=40)
"""Arguments of `on_circle` with small denominators."""


def on_circle(m: Fraction) -> tuple[Fraction, Fraction]:
    """Return alpha and sigma with alpha^2 + sigma^2 = 1, as rationals above 0: (1 - m^2)/(1 + m^2) and 2m/(1 + m^2).

    m: in (0, 1).
    """
    return (1 - m * m) / (1 + m * m), 2 * m / (1 + m * m)
