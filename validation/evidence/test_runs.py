"""Chapter 10: whole sampling runs. The flow of Gaussian data is known; errors at n, 2n and 4n steps tell an order."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from refdiff.conformance.check import evidence

from ..expected.convergence import largest_order
from ..oracles import symbolic_runs
from ..oracles.gaussian import Gaussian, chain_levels, cosine_levels, linear_levels
from .scales import linear_rate, linear_scales

NOTHING = (0.0,) * 3


@evidence("SMP-11", kind="symbolic")
def test_flow_of_gaussian_data() -> None:
    """SMP-11: alpha m + S z solves the probability flow, for any alpha(t)."""
    assert symbolic_runs.flow_residual() == 0


@evidence("SMP-13", kind="symbolic")
def test_local_orders_of_the_variance() -> None:
    """SMP-13: one step of em, and of ddpm, errs by h^2 in the variance of Gaussian data, so that a run errs by 1/n."""
    assert symbolic_runs.local_orders_of_variance() == {"em": 2, "ddpm": 2}


@evidence("SMP-11", kind="quadrature")
@pytest.mark.parametrize(("mean", "variance", "z"), [(1.0, 0.09, 1.0), (-0.5, 2.25, -1.5), (0.0, 1.0, 0.7)])
def test_flow_of_gaussian_data_by_an_integrator(mean: float, variance: float, z: float) -> None:
    """SMP-11: DOP853 on the flow ends within 1e-9 of alpha m + S z, and not on that of another variance."""
    data, end = Gaussian(np.array([mean]), np.array([variance])), 0.1

    def at(t: float) -> tuple[float, float]:
        alpha, power = linear_scales(t)
        return alpha, sqrt(power)

    def slope(t: float, x: np.ndarray) -> np.ndarray:
        alpha, sigma = (np.array([y]) for y in at(t))
        return np.asarray(-0.5 * linear_rate(np.asarray(t)) * (x + data.predict("score", x, alpha, sigma)))

    found = solve_ivp(slope, (0.5, end), data.on_flow(np.array([z]), *at(0.5)), method="DOP853", rtol=1e-12, atol=1e-13)
    assert abs(found.y[0, -1] - data.on_flow(np.array([z]), *at(end))[0]) < 1e-9
    wrong = Gaussian(data.mean, 1.1 * data.variance)
    assert abs(found.y[0, -1] - wrong.on_flow(np.array([z]), *at(end))[0]) > 1e-3


@evidence("SMP-11", kind="property")
@given(
    order=st.integers(1, 4),
    first=st.floats(-1.0, 1.0),
    second=st.floats(-1.0, 1.0),
    scale=st.floats(1e-3, 1e3),
    lacking=st.sampled_from([0.0, 1.0]),
)
def test_slopes_bound_an_order(order: int, first: float, second: float, scale: float, lacking: float) -> None:
    """SMP-11: errors C n^-p (1 + a/n + b/n^2) from n = 16 on agree with the order q if p = q, and not if p = q - 1."""
    power = order - lacking
    errors = [scale * n**-power * (1.0 + first / n + second / n**2) for n in (16, 32, 64)]
    most, last = largest_order(errors, NOTHING)
    assert last == 2
    assert (most >= order - 0.5) == (lacking == 0.0)


@given(order=st.integers(1, 4), signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 5), level=st.floats(1e-6, 1e-3))
def test_rounding_lowers_no_order(order: int, signs: tuple[float, ...], level: float) -> None:
    """SMP-11: errors that rounding of any sign moved, within their floors, agree with the order all the same."""
    steps = (4, 8, 16, 32, 64)
    floors = [level * n for n in steps]
    errors = [abs(float(n) ** -order + sign * floor) for n, sign, floor in zip(steps, signs, floors, strict=True)]
    assert largest_order(errors, floors)[0] >= order - 0.5


def test_an_error_that_is_no_number_has_no_order() -> None:
    """SMP-11: NaN and infinite errors give NaN, which no bound admits."""
    for error in (np.nan, np.inf):
        assert np.isnan(largest_order([1.0, 0.5, error], NOTHING)[0])


@pytest.mark.parametrize("t", [0.01, 0.3, 0.9])
def test_levels_agree_with_the_definitions(t: float) -> None:
    """SMP-11: alpha^2 + sigma^2 = 1; the linear schedule is that of `scales`, and a chain is a product of 1 - beta."""
    at = np.array([t])
    for levels in (linear_levels(0.1, 20.0), cosine_levels(0.008)):
        alpha, sigma = levels(at)
        assert abs(alpha[0] ** 2 + sigma[0] ** 2 - 1.0) < 1e-14
    wanted, got = linear_scales(t), linear_levels(0.1, 20.0)(at)
    assert abs(got[0][0] - wanted[0]) + abs(got[1][0] ** 2 - wanted[1]) < 1e-14
    alpha_2, sigma_2 = chain_levels((0.1, 0.2))(np.array([0, 1, 2]))
    assert np.allclose(alpha_2**2, [1.0, 0.9, 0.72], rtol=0.0, atol=1e-15)
    assert np.allclose(sigma_2**2, [0.0, 0.1, 0.28], rtol=0.0, atol=1e-15)
