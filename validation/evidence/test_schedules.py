"""Chapter 1: schedules have the stated integrals, derivatives, monotonicity, inverses and tolerances."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy as sp

from refdiff.conformance.check import evidence

from ..oracles import certified, naive, quadrature, symbolic
from .exact import COSINE, DEFAULTS, LINEAR, ROUNDOFF, Case, Dtype, Floats, delta, exact, times, wide, worst

NAMES: tuple[symbolic.Name, ...] = ("general", "linear", "cosine")
TIMES = (2.0**-20, 0.01, 0.25, 0.5, 0.75, 0.9375)
RATES: tuple[tuple[certified.Process, quadrature.Real], ...] = (
    (LINEAR, quadrature.linear_rate(0.1, 20.0)),
    (certified.linear(0.0, 2.0), quadrature.linear_rate(0.0, 2.0)),
    (COSINE, quadrature.cosine_rate(0.008)),
    (certified.cosine(0.0), quadrature.cosine_rate(0.0)),
)


def ball(process: certified.Process, quantity: certified.Quantity, t: float) -> Any:
    """Return an Arb ball that contains the exact number: value plus residual has a relative error below 2^-105."""
    found = certified.at(process, quantity, t)
    return (flint.arb(found.value) + flint.arb(found.residual)) * flint.arb(1, 2.0**-105)


@evidence("SCH-3", "SCH-4", "SCH-5", "SDE-4", kind="symbolic")
@pytest.mark.parametrize("name", NAMES)
def test_log_alpha_bar_is_minus_the_integral_of_the_rate(name: symbolic.Name) -> None:
    """SCH-3: d log alpha_bar/dt = -beta and log alpha_bar(0) = 0, for an unspecified rate and for both schedules."""
    q = symbolic.schedule(name)
    assert symbolic.is_zero(symbolic.rate_residual(q))
    assert symbolic.at_zero(q.log_alpha_bar) == 0


@evidence("SCH-3", "SCH-4", "SCH-5", "SDE-4", kind="quadrature")
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(("process", "rate"), RATES)
def test_integrated_rate_agrees_with_the_certified_logarithm(
    process: certified.Process, rate: quadrature.Real, t: float
) -> None:
    """SCH-3: the integral of the rate, by quad, is minus Arb's log alpha_bar, within quad's estimate and rounding.

    Relative rounding errors: 2^-50 for the rate, and 2^-52/(1 - t) for the argument of the tangent.
    """
    found = quadrature.integral(rate, 0.0, t)
    expected = certified.at(process, "log_alpha_bar", t).value
    assert abs(-found.value - expected) <= found.error + (2.0**-50 + 2.0**-52 / (1.0 - t)) * abs(expected)


@evidence("SCH-3", kind="certified")
@pytest.mark.parametrize("t", TIMES)
def test_derivative_of_the_linear_logarithm_is_the_rate(t: float) -> None:
    """SCH-3: -d log alpha_bar/dt by Arb, rounded once, is beta_min + t (beta_max - beta_min), rounded once."""
    expected = Fraction(0.1) + Fraction(t) * (Fraction(20.0) - Fraction(0.1))
    assert certified.at(LINEAR, "beta", t).value == float(expected)


@evidence("SCH-4", "SCH-5", kind="certified")
@pytest.mark.parametrize("t", [*TIMES, 1 - 2.0**-53])
@pytest.mark.parametrize("s", [0.0, 0.008, 1.0])
def test_derivative_of_the_cosine_logarithm_is_the_tangent(s: float, t: float) -> None:
    """SCH-5: the ball of pi/(1 + s) tan(pi/2 (t + s)/(1 + s)) overlaps that of Arb's derivative of SCH-4."""
    with flint.ctx.workprec(300):
        p, time = flint.arb(s), flint.arb(t)
        rate = flint.arb.pi() / (1 + p) * (flint.arb.pi() / 2 * (time + p) / (1 + p)).tan()
        assert rate.rel_accuracy_bits() > 200
        assert rate.overlaps(ball(certified.cosine(s), "beta", t))


@evidence("SCH-4", kind="certified")
@pytest.mark.parametrize("s", [0.0, 0.008, 1.0])
def test_cosine_signal_ends_at_zero(s: float) -> None:
    """SCH-4: 0 < alpha(1 - h) <= C h for h from 2^-10 to 2^-50, where C = |d alpha/dt| at 1, so the limit is 0."""
    process = certified.cosine(s)
    slope = certified.at(process, "alpha", 1.0).conditioning
    for h in (2.0**-10, 2.0**-30, 2.0**-50):
        assert 0.0 < certified.at(process, "alpha", 1.0 - h).value <= slope * h * (1 + 2.0**-50)


@evidence("SCH-6", kind="symbolic")
@pytest.mark.parametrize("name", NAMES)
def test_log_snr_decreases_at_the_rate_over_the_variance(name: symbolic.Name) -> None:
    """SCH-6: d lambda/dt = -beta/sigma^2, so lambda and log alpha_bar never increase if beta >= 0."""
    assert symbolic.is_zero(symbolic.log_snr_slope_residual(symbolic.schedule(name)))


@evidence("SCH-6", kind="certified")
@pytest.mark.parametrize("process", [LINEAR, COSINE, certified.cosine(0.0), certified.linear(0.0, 2.0)])
def test_rate_is_enclosed_above_zero(process: certified.Process) -> None:
    """SCH-6: beta(0) >= 0, and Arb's enclosures of d beta/dt over intervals that cover [0, 1 - 2^-10] are above 0."""
    parameters = tuple(map(flint.arb, process.parameters))
    start = process.log_alpha_bar(flint.arb_series([0, 1], prec=2), parameters)
    assert -start[1] >= 0
    edges = np.concatenate([np.arange(512) / 512.0, [1 - 2.0**-10]])
    for low, high in itertools.pairwise(edges):
        time = flint.arb_series([flint.arb((low + high) / 2, (high - low) / 2), 1], prec=3)
        slope = -2 * process.log_alpha_bar(time, parameters)[2]
        assert slope > 0, f"the rate may decrease in [{low}, {high}]: {slope}"


@evidence("SCH-6", kind="exhaustive")
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_formulas_increase_by_less_than_the_tolerance(case: Case) -> None:
    """SCH-6: between any two float16 times, alpha_bar of a right formula increases by at most 24u (rounding).

    The same holds for the alpha_bar inferred from its log-SNR.
    """
    for name, formula in case.formulas.items():
        got = formula(times("float16"), case.process.parameters)
        with np.errstate(over="ignore"):
            by_log_snr = 1.0 / (1.0 + np.exp(-wide(got["log_snr"])))
        for alpha_bar in (wide(got["alpha_bar"]), by_log_snr):
            rise = alpha_bar[1:] - np.minimum.accumulate(alpha_bar)[:-1]
            assert np.max(rise) <= 24 * ROUNDOFF["float16"], name


@evidence("SCH-7", kind="symbolic")
def test_log_snr_is_the_logit_of_alpha_bar() -> None:
    """SCH-7: log(alpha^2/sigma^2) = log alpha_bar - log(1 - alpha_bar); the logistic function is its inverse.

    It tends to -infinity at alpha_bar = 0 and to infinity at alpha_bar = 1.
    """
    a = sp.Symbol("a", positive=True)
    logit = symbolic.log_snr(a / (1 + a))
    difference = sp.log(a / (1 + a)) - sp.log(1 - a / (1 + a))
    assert symbolic.is_zero(sp.expand_log(logit - difference.simplify(), force=True))
    assert symbolic.is_zero(1 / (1 + sp.exp(-logit)) - a / (1 + a))
    assert sp.limit(logit, a, sp.oo) == sp.oo
    assert sp.limit(logit, a, 0, "+") == -sp.oo


@evidence("SCH-7", "SCH-8", kind="certified")
@pytest.mark.parametrize("t", [2.0**-1000, *TIMES, 1 - 2.0**-53])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_certified_quantities_agree_on_alpha_bar(process: certified.Process, t: float) -> None:
    """SCH-8: the balls of exp(log alpha_bar), alpha^2, 1 - sigma^2 and the logistic of lambda overlap alpha_bar's."""
    with flint.ctx.workprec(2500):
        alpha_bar = ball(process, "alpha_bar", t)
        others = (
            ball(process, "log_alpha_bar", t).exp(),
            ball(process, "alpha", t) ** 2,
            1 - ball(process, "sigma", t) ** 2,
            1 - ball(process, "variance", t),
            1 / (1 + (-ball(process, "log_snr", t)).exp()),
        )
        for other in others:
            assert other.overlaps(alpha_bar)
            assert other.rad() < 2.0**-90


@evidence("SCH-8", kind="symbolic")
@pytest.mark.parametrize("name", NAMES)
def test_all_quantities_are_functions_of_alpha_bar(name: symbolic.Name) -> None:
    """SCH-8: alpha^2, 1 - sigma^2 and the logistic of lambda equal exp(log alpha_bar)."""
    q = symbolic.schedule(name)
    alpha_bar = sp.exp(q.log_alpha_bar)
    assert symbolic.is_zero(q.mean**2 - alpha_bar)
    assert symbolic.is_zero(1 - sp.sqrt(q.variance) ** 2 - alpha_bar)
    assert symbolic.is_zero(1 / (1 + sp.exp(-(symbolic.log_snr(symbolic.alpha**2)))) - symbolic.alpha**2)


@evidence("SCH-3", "SCH-4", kind="exhaustive")
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_logarithms_are_within_tolerance(case: Case) -> None:
    """SCH-3: at every float16 time, exp of a right log alpha_bar is within delta + 4u alpha_bar |log alpha_bar|."""
    q, u = exact(case.process, "float16"), ROUNDOFF["float16"]
    scale = np.where(q.alpha_bar > 0, q.alpha_bar * np.abs(np.where(q.alpha_bar > 0, q.log_alpha_bar, 0)), 0)
    bound = delta(u, q.k) + 4 * u * scale
    for name, formula in case.formulas.items():
        got = formula(times("float16"), case.process.parameters)["log_alpha_bar"]
        error = np.abs(np.exp(wide(got)) - q.alpha_bar)
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t)}"


@evidence("SCH-7", kind="exhaustive")
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_log_snrs_are_within_tolerance(case: Case) -> None:
    """SCH-7: at every float16 time, the logistic of a right lambda is within delta + 4u alpha_bar sigma^2 |lambda|."""
    q, u = exact(case.process, "float16"), ROUNDOFF["float16"]
    inside = np.isfinite(q.log_snr)
    scale = np.where(inside, q.alpha_bar * q.variance * np.abs(np.where(inside, q.log_snr, 0)), 0)
    bound = delta(u, q.k) + 4 * u * scale
    for name, formula in case.formulas.items():
        with np.errstate(over="ignore"):
            got = 1 / (1 + np.exp(-wide(formula(times("float16"), case.process.parameters)["log_snr"])))
        error = np.abs(got - q.alpha_bar)
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t)}"


def _conditioning_in_remaining_time(s: float, t: Floats) -> Floats:
    """Return (1 - t) d beta/dt, the conditioning of beta in 1 - t."""
    speed = np.pi / 2 / (1 + s)
    slope: Floats = 2 * (speed / np.cos(speed * (t + s))) ** 2
    return (1 - t) * slope


@evidence("SCH-5", kind="property")
@pytest.mark.parametrize("s", [0.008, 0.0, 0.2])
def test_right_rates_are_within_tolerance(s: float) -> None:
    """SCH-5: at a sample of float16 and float32 times, beta of right formulas is within tolerance."""
    process = certified.cosine(s)
    samples: dict[Dtype, slice] = {"float16": slice(0, -1, 41), "float32": slice(0, -1, 3)}
    for dtype, sample in samples.items():
        t = times(dtype)[sample]
        q = certified.column(process, "beta", wide(t))
        conditioning = q.conditioning + _conditioning_in_remaining_time(s, wide(t))
        bound = (1 + 2 * s) * delta(ROUNDOFF[dtype], conditioning)
        for name, formula in {**DEFAULTS[1].formulas, "cotangent": naive.cotangent}.items():
            got = formula(t, process.parameters)
            if "beta" in got:
                error = np.abs(wide(got["beta"]) - q.value)
                assert np.all(error <= bound), f"{name} {worst(error, bound, wide(t))}"


@evidence("SCH-5", kind="property")
def test_rate_needs_the_conditioning_in_remaining_time() -> None:
    """SCH-5: in float32 the cotangent, a right formula, exceeds a tolerance without the conditioning in 1 - t."""
    t = (np.arange(1, 1024) / 16384).astype(np.float32)
    q = certified.column(COSINE, "beta", wide(t))
    error = np.abs(wide(naive.cotangent(t, COSINE.parameters)["beta"]) - q.value)
    assert np.any(error > (1 + 0.016) * delta(ROUNDOFF["float32"], q.conditioning))


@evidence("SCH-10", kind="symbolic")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_inverse_time_solves_for_log_snr(name: Any) -> None:
    """SCH-10: log alpha_bar at t(lambda) is -log(1 + exp(-lambda)), as algebra."""
    assert symbolic.is_zero(symbolic.inverse_residual(name))


def _linear_inverse(log_snr: Any) -> Any:
    b = (1 + (-log_snr).exp()).log()
    low, high = flint.arb(0.1), flint.arb(20.0)
    return 2 * b / (low + (low * low + 2 * (high - low) * b).sqrt())


def _cosine_inverse(log_snr: Any) -> Any:
    s = flint.arb(0.008)
    start = flint.arb.pi() / 2 * s / (1 + s)
    return ((start.cos() / (1 + (-log_snr).exp()).sqrt()).acos() - start) * 2 * (1 + s) / flint.arb.pi()


@evidence("SCH-10", kind="certified")
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(("process", "inverse"), [(LINEAR, _linear_inverse), (COSINE, _cosine_inverse)])
def test_inverse_time_of_log_snr_is_the_time(
    process: certified.Process, inverse: Callable[[Any], Any], t: float
) -> None:
    """SCH-10: the ball of t(lambda(t)) contains t, and has a relative width below 2^-60."""
    with flint.ctx.workprec(400):
        found = inverse(ball(process, "log_snr", t))
        assert found.contains(flint.arb(t))
        assert found.rel_accuracy_bits() > 60
