"""Chapter 11: right formulas are within the MUST tolerances, careful ones within the SHOULD tolerances.

Derivatives have the stated limits at both ends.
"""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest
import sympy as sp

from refdiff.conformance.check import evidence

from ..oracles import certified, naive, symbolic
from .exact import (
    COSINE,
    DEFAULTS,
    LINEAR,
    OTHERS,
    ROUNDOFF,
    Array,
    Case,
    Dtype,
    delta,
    exact,
    rho,
    rho_sigma,
    should_domain,
    times,
    ulp,
    wide,
    worst,
)

BOTH: tuple[Dtype, ...] = ("float16", "float32")


def _judge_must(case: Case, dtype: Dtype) -> None:
    """Assert that alpha, sigma^2, alpha_bar and alpha^2 + sigma^2 (MAR-3) of every right formula are in tolerance."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    for name, formula in case.formulas.items():
        got = formula(times(dtype), case.process.parameters)
        alpha, variance = wide(got["alpha"]), wide(got["sigma"]) ** 2
        checks = {
            "alpha": (alpha - q.alpha, delta(u, q.k_alpha)),
            "sigma": (variance - q.variance, delta(u, q.k)),
            "alpha_bar": (wide(got["alpha_bar"]) - q.alpha_bar, delta(u, q.k)),
            "both": (alpha**2 + variance - 1, 4 * u + delta(u, q.k)),
        }
        for quantity, (difference, bound) in checks.items():
            error = np.abs(difference)
            assert np.all(error <= bound), f"{name}, {quantity}, {worst(error, bound, q.t)}"


@evidence("NUM-1", "MAR-1", "MAR-2", "MAR-3", kind="exhaustive")
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_formulas_are_within_tolerance_at_every_float16(case: Case) -> None:
    """NUM-1: alpha, sigma^2 and alpha_bar of right formulas, in float16 throughout, are in tolerance at every time."""
    _judge_must(case, "float16")


@evidence("NUM-1", "MAR-1", "MAR-2", "MAR-3", kind="property")
@pytest.mark.parametrize("case", [*DEFAULTS, *OTHERS])
def test_right_formulas_are_within_tolerance_in_float32(case: Case) -> None:
    """NUM-1: alpha, sigma^2 and alpha_bar of right formulas, in float32 throughout, are in tolerance at sampled times.

    Also for parameters other than the defaults.
    """
    _judge_must(case, "float32")


@evidence("NUM-1", "SCH-4", kind="property")
@pytest.mark.parametrize("offset", [0.25, 0.5, 1.0, 2.0, 10.0, 100.0, 1000.0])
def test_right_formulas_with_large_offsets_are_within_tolerance(offset: float) -> None:
    """NUM-1: right formulas of a cosine schedule with offset s are within 1 + 2s times the tolerance.

    The angle starts near pi/2, and its rounding error is divided by the cosine of the start.
    """
    process = certified.cosine(offset)
    q, u = exact(process, "float32"), ROUNDOFF["float32"]
    for name, formula in naive.COSINE.items():
        got = formula(times("float32"), process.parameters)
        checks = {
            "alpha": (wide(got["alpha"]) - q.alpha, (1 + 2 * offset) * delta(u, q.k_alpha)),
            "sigma": (wide(got["sigma"]) ** 2 - q.variance, (1 + 2 * offset) * delta(u, q.k)),
        }
        for quantity, (difference, bound) in checks.items():
            assert np.all(np.abs(difference) <= bound), f"{name}, {quantity}, {worst(np.abs(difference), bound, q.t)}"


@evidence("NUM-3", kind="exhaustive")
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_formulas_are_finite(case: Case, dtype: Dtype) -> None:
    """NUM-3: at every float16 time, and float32 ones, no right formula gives NaN; the log-SNR is finite in its domain.

    The domain is where sigma^2 and alpha_bar exceed their tolerance.
    """
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    error = delta(u, q.k)
    domain = (q.variance > error) & (q.alpha_bar > error)
    for name, formula in case.formulas.items():
        got = formula(times(dtype), case.process.parameters)
        assert not any(np.any(np.isnan(values)) for values in got.values()), name
        assert all(np.all(np.isfinite(got[quantity])) for quantity in ("alpha", "sigma", "alpha_bar")), name
        assert np.all(np.isfinite(got["log_snr"][domain])), name
        assert np.all(np.isfinite(got["log_alpha_bar"][domain])), name


@evidence("NUM-3", kind="certified")
@pytest.mark.parametrize("t", [2.0**-1074, 2.0**-149, 2.0**-24, 0.5, 1 - 2.0**-11, 1 - 2.0**-53])
@pytest.mark.parametrize("process", [LINEAR, COSINE, certified.linear(0.0, 2.0), certified.cosine(0.0)])
def test_exact_values_are_finite_inside(process: certified.Process, t: float) -> None:
    """NUM-3: at floats in (0, 1), the smallest and the largest included, Arb proves that the log-SNR is finite."""
    with flint.ctx.workprec(6000):
        log_alpha_bar = process.log_alpha_bar(flint.arb(t), tuple(map(flint.arb, process.parameters)))
        assert log_alpha_bar < 0
        assert log_alpha_bar.is_finite()
        for quantity in ("log_snr", "alpha", "sigma"):
            assert certified.from_log_alpha_bar(log_alpha_bar, quantity).is_finite()
        assert certified.from_log_alpha_bar(log_alpha_bar, "sigma") > 0


@evidence("NUM-4", kind="symbolic")
def test_derivatives_at_the_ends_are_the_stated_limits() -> None:
    """NUM-4: SymPy's one-sided limits of d sigma/dt at 0 (linear) and of d alpha/dt at 1 (cosine) are those stated."""
    s = symbolic.offset
    assert symbolic.sigma_slope_at_zero(beta_min_is_zero=False) == sp.oo
    assert symbolic.is_zero(symbolic.sigma_slope_at_zero(beta_min_is_zero=True) - sp.sqrt(symbolic.beta_max / 2))
    expected = -sp.pi / 2 / ((1 + s) * sp.cos(sp.pi / 2 * s / (1 + s)))
    assert symbolic.is_zero(symbolic.alpha_slope_at_one() - expected)


def _slope(process: certified.Process, quantity: certified.Quantity, t: Any) -> Any:
    """Return the derivative of a quantity with respect to t, as an Arb ball."""
    series = process.log_alpha_bar(flint.arb_series([t, 1], prec=2), tuple(map(flint.arb, process.parameters)))
    return certified.from_log_alpha_bar(series, quantity)[1]


@evidence("NUM-4", kind="certified")
@pytest.mark.parametrize("bits", [100, 400])
def test_derivatives_converge_to_the_stated_limits(bits: int) -> None:
    """NUM-4: at a distance h from an end, each derivative is within 200 h of its limit, relative.

    The limits are sqrt(beta_min)/2 for sqrt(h) d sigma/dt, and, where they are finite, those of d sigma/dt and
    d alpha/dt. Each is analytic in h, with coefficients below 200. h is 2^-100 and 2^-400.
    """
    with flint.ctx.workprec(4 * bits):
        h = flint.arb(2) ** -bits
        found_and_expected = (
            (_slope(LINEAR, "sigma", h) * h.sqrt(), flint.arb(0.1).sqrt() / 2),
            (_slope(certified.linear(0.0, 20.0), "sigma", h), flint.arb(10).sqrt()),
            (_slope(COSINE, "alpha", 1 - h), _alpha_slope_at_one(0.008)),
            (_slope(certified.cosine(0.0), "alpha", 1 - h), _alpha_slope_at_one(0.0)),
        )
        for found, expected in found_and_expected:
            assert abs(found / expected - 1) < 200 * h


def _alpha_slope_at_one(s: float) -> Any:
    """Return the limit of d alpha/dt of the cosine schedule at t = 1, as an Arb ball."""
    half_pi, p = flint.arb.pi() / 2, flint.arb(s)
    return -half_pi / ((1 + p) * (half_pi * p / (1 + p)).cos())


def _sample(dtype: Dtype) -> Array:
    """Return indices into `times`: all for float32, every 16th for float16."""
    return np.arange(times(dtype).size)[:: 16 if dtype == "float16" else 1]


def _judge_should(case: Case, dtype: Dtype, quantity: certified.Quantity) -> None:
    """Assert that a careful formula is within the SHOULD tolerance, and equal to values that are 0 or infinite."""
    sample = _sample(dtype)
    t, domain = times(dtype)[sample], should_domain(exact(case.process, dtype), dtype)[sample]
    got = wide(case.formulas["careful"](t, case.process.parameters)[quantity])
    expected = certified.column(case.process, quantity, wide(t))
    finite = np.isfinite(expected.value)
    assert np.array_equal(got[~finite], expected.value[~finite])
    at = domain & finite
    error, bound = np.abs(got[at] - expected.value[at]), rho(dtype, expected.value[at], expected.conditioning[at])
    assert np.all(error <= bound), f"{quantity} {worst(error, bound, wide(t[at]))}"


@evidence("SCH-9", "NUM-2", "NUM-5", kind="property")
@pytest.mark.parametrize("quantity", ["log_alpha_bar", "alpha_bar", "beta", "log_snr"])
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("case", DEFAULTS)
def test_careful_schedules_are_within_the_should_tolerance(
    case: Case, dtype: Dtype, quantity: certified.Quantity
) -> None:
    """SCH-9: formulas without cancellation, in one dtype throughout, are within rho, and exact at 0 and infinity."""
    _judge_should(case, dtype, quantity)


@evidence("MAR-10", "NUM-2", kind="property")
@pytest.mark.parametrize("quantity", ["alpha", "sigma"])
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("case", DEFAULTS)
def test_careful_scales_are_within_the_should_tolerance(case: Case, dtype: Dtype, quantity: certified.Quantity) -> None:
    """MAR-10: alpha and sigma without cancellation, in one dtype throughout, are within rho."""
    _judge_should(case, dtype, quantity)


@evidence("MAR-11", kind="exhaustive")
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("case", DEFAULTS)
def test_careful_samples_are_within_the_should_tolerance(case: Case, dtype: Dtype) -> None:
    """MAR-11: at every float16 time, and float32 ones, x_t is within |x_0| rho(alpha) + |eps| rho(sigma) + rounding."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    got = case.formulas["careful"](times(dtype), case.process.parameters)
    x_0, eps = np.array([0.8125, -1.4375], dtype=dtype)
    of_scales = 0.8125 * rho(dtype, q.alpha, q.k_alpha) + 1.4375 * rho_sigma(q, dtype)
    bound = of_scales + 4 * u * (0.8125 * q.alpha + 1.4375 * q.sigma)
    error = np.abs(wide(got["alpha"] * x_0 + got["sigma"] * eps) - (0.8125 * q.alpha - 1.4375 * q.sigma))
    at = should_domain(q, dtype)
    assert np.all(error[at] <= bound[at]), worst(error[at], bound[at], q.t[at])


@evidence("NUM-2", kind="exhaustive")
def test_ulp_is_the_spacing_of_floats() -> None:
    """NUM-2: the ulp of every float16 in (0, 1) is the distance to the next float16, for subnormal numbers too."""
    halves = np.arange(1, 0x3C00, dtype=np.uint16).view(np.float16)
    assert np.array_equal(ulp("float16", wide(halves)), wide(np.nextafter(halves, np.float16(2))) - wide(halves))
