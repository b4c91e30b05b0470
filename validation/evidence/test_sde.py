"""Chapter 3: the SDE, the reverse SDE and the flow have the marginals that the clauses state."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import sqrt

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from refdiff.conformance.check import evidence

from ..oracles import symbolic, symbolic_sde
from ..oracles.mixture import TWO, Floats
from .rationals import over_rationals
from .scales import linear_rate, linear_scales

rationals = st.fractions(min_value=-4, max_value=4, max_denominator=50)
FIRST = 1.0 / 64.0
"""The earliest time of the flow; the narrowest component of the mixture has a standard deviation of 0.22 there."""
TOLERANCE = 1e-10
"""Relative and absolute tolerance of each step of DOP853."""


@evidence("SDE-3", kind="symbolic")
def test_unit_second_moment_is_preserved() -> None:
    """SDE-3: at E[x^2] = 1, d E[x^2]/dt is 0 for the drift -g^2 x/2, and not 0 for the drift -g^2 x."""
    assert symbolic_sde.power_rate(sp.Rational(1, 2)) == 0
    assert symbolic_sde.power_rate(sp.Integer(1)) != 0


@evidence("SDE-3", kind="property")
@over_rationals
@given(g_squared=st.fractions(min_value=0, max_value=20, max_denominator=50), x=rationals, power=rationals)
def test_only_this_drift_preserves_unit_second_moment(g_squared: Fraction, x: Fraction, power: Fraction) -> None:
    """SDE-3: over the rationals, a drift -c g^2 x preserves E[x^2] = 1 only if c = 1/2; deviations from 1 decay."""
    assert 2 * (-g_squared * x / 2) * x + g_squared == g_squared * (1 - x * x)
    for c in (Fraction(1), Fraction(1, 4), Fraction(-1, 2)):
        assert g_squared == 0 or 2 * (-c * g_squared) + g_squared != 0
    assert -g_squared * (1 + power) + g_squared == -g_squared * power


@evidence("SDE-6", kind="symbolic")
def test_reverse_sde_has_the_forward_densities() -> None:
    """SDE-6: for any density, the Fokker-Planck equation of the reverse SDE is that of the forward SDE."""
    assert symbolic.is_zero(symbolic_sde.reverse_residual())
    assert not symbolic.is_zero(symbolic_sde.reverse_residual(-1))


@evidence("SDE-7", kind="symbolic")
def test_flow_has_the_forward_densities() -> None:
    """SDE-7: on any density, the continuity equation of the flow is the forward Fokker-Planck equation."""
    assert symbolic.is_zero(symbolic_sde.flow_residual())
    assert symbolic.is_zero(symbolic_sde.log_density_residual())


def _slope(t: float, state: Floats) -> Floats:
    """Return dx/dt of the flow, and d log p/dt along it: minus the divergence of the velocity."""
    x = state[: len(state) // 2]
    law, beta = TWO.noised(*linear_scales(t)), float(linear_rate(np.asarray(t)))
    return np.concatenate([-0.5 * beta * (x + law.score(x)), 0.5 * beta * (1.0 + law.score_slope(x))])


@cache
def _flowed(start: float, end: float) -> tuple[Floats, Floats, Floats, int]:
    """Return quantiles of p_start, their images under the flow, the change of log p along it, and the step count."""
    law = TWO.noised(*linear_scales(start))
    grid = np.linspace(*law.reach(1e-6), 4001)
    x = np.interp(np.linspace(0.01, 0.99, 25), law.cdf(grid), grid)
    state = np.concatenate([x, np.zeros_like(x)])
    found = solve_ivp(_slope, (start, end), state, method="DOP853", rtol=TOLERANCE, atol=TOLERANCE)
    assert found.success
    moved, change = np.split(found.y[:, -1], 2)
    return x, moved, change, len(found.t)


@evidence("SDE-7", kind="quadrature")
@pytest.mark.parametrize(("start", "end"), [(1.0, FIRST), (FIRST, 1.0)])
def test_flow_maps_quantiles_to_quantiles(start: float, end: float) -> None:
    """SDE-7: on the line the flow is monotone, so it maps each quantile of p_s to the same quantile of p_t, both ways.

    A step has an error of at most 2 TOLERANCE sqrt(50), as the norm is a root mean square over 50 numbers. The flow may
    amplify it by the largest ratio of the densities on the way: (sigma(1)/0.2)^2 < 25 here.
    """
    x, moved, _, steps = _flowed(start, end)
    density = np.exp(TWO.noised(*linear_scales(end)).log_density(moved))
    bound = density * steps * 2 * TOLERANCE * sqrt(50) * 25
    error = TWO.noised(*linear_scales(end)).cdf(moved) - TWO.noised(*linear_scales(start)).cdf(x)
    assert np.all(np.abs(error) <= bound)
    assert np.max(bound) < 1e-4


@evidence("SDE-7", kind="quadrature")
@pytest.mark.parametrize(("start", "end"), [(1.0, FIRST), (FIRST, 1.0)])
def test_integrated_divergence_is_the_change_of_log_density(start: float, end: float) -> None:
    """SDE-7: minus the integral of the divergence is the change of log p along the flow, so it gives the likelihood."""
    x, moved, change, steps = _flowed(start, end)
    first, last = TWO.noised(*linear_scales(start)), TWO.noised(*linear_scales(end))
    error = last.log_density(moved) - first.log_density(x) - change
    # An error in a point changes log p by the score times that error; the error of the integral is added.
    bound = (1.0 + np.abs(last.score(moved))) * steps * 2 * TOLERANCE * sqrt(50) * 25
    assert np.all(np.abs(error) <= bound)
    assert np.max(bound) < 1e-3
