"""Chapter 4: the conversions follow from the definitions, and right code is within the tolerances."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.check import evidence

from ..oracles import symbolic
from .exact import (
    DEFAULTS,
    ROUNDOFF,
    Array,
    Case,
    Dtype,
    Exact,
    Floats,
    delta,
    exact,
    rho,
    rho_sigma,
    should_domain,
    times,
    wide,
    worst,
)
from .rationals import on_circle, over_rationals

NAMES = ("eps", "x_0", "v", "score")
PAIRS = tuple((source, to) for source in NAMES for to in NAMES if source != to)
VALUE = sp.Symbol("given", real=True)
Scales: TypeAlias = tuple[Fraction, Fraction]
Number: TypeAlias = Any
"""A Fraction, for exact algebra, or an array, for rounding."""

rationals = st.fractions(min_value=-8, max_value=8, max_denominator=1000)
points = st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(999, 1000), max_denominator=1000)
"""Arguments of `on_circle`."""


def convert(value: Number, x_t: Number, scales: tuple[Number, Number], source: str, to: str) -> Number:
    """Return the conversion of chapter 4 in the arithmetic of its arguments; where none is stated, through eps."""
    alpha, sigma = scales
    match source, to:
        case "eps", "x_0":
            return (x_t - sigma * value) / alpha
        case "x_0", "eps":
            return (x_t - alpha * value) / sigma
        case "v", "x_0":
            return alpha * x_t - sigma * value
        case "v", "eps":
            return sigma * x_t + alpha * value
        case "eps", "v":
            return (value - sigma * x_t) / alpha
        case "x_0", "v":
            return (alpha * x_t - value) / sigma
        case "eps", "score":
            return -value / sigma
        case "score", "eps":
            return -sigma * value
    return convert(convert(value, x_t, scales, source, "eps"), x_t, scales, "eps", to)


def conditional_score(x_t: Fraction, x_0: Fraction, scales: Scales) -> Fraction:
    """Return d log q(x_t | x_0)/dx_t by a central difference, which is exact for a quadratic function."""
    alpha, sigma = scales

    def quadratic(x: Fraction) -> Fraction:
        return -((x - alpha * x_0) ** 2) / (2 * sigma**2)

    return (quadratic(x_t + 1) - quadratic(x_t - 1)) / 2


@evidence("PAR-1", "PAR-2", "PAR-3", "PAR-4", kind="symbolic")
@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_conversion_follows_from_the_definitions(source: str, to: str) -> None:
    """PAR-1: each conversion follows from x_t = alpha x_0 + sigma eps, v = alpha eps - sigma x_0, s = grad log q."""
    assert symbolic.conversion_residual(source, to) == 0


@evidence("PAR-1", "PAR-2", "PAR-3", "PAR-4", kind="property")
@over_rationals
@given(m=points, x_0=rationals, eps=rationals)
def test_conversion_is_exact_over_the_rationals(m: Fraction, x_0: Fraction, eps: Fraction) -> None:
    """PAR-1: over the rationals, each of x_0, eps, v and the score converts to the definition of each other one."""
    alpha, sigma = scales = on_circle(m)
    x_t = alpha * x_0 + sigma * eps
    score = conditional_score(x_t, x_0, scales)
    meaning = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0, "score": score}
    for source, to in PAIRS:
        assert convert(meaning[source], x_t, scales, source, to) == meaning[to]


@evidence("PAR-5", kind="symbolic")
@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_round_trip_is_the_identity(source: str, to: str) -> None:
    """PAR-5: converting any value at any x_t and back returns the value."""
    assert symbolic.round_trip_residual(source, to) == 0


@evidence("PAR-5", "PAR-6", kind="property")
@over_rationals
@given(m=points, x_t=rationals, value=rationals)
def test_round_trip_is_exact_over_the_rationals(m: Fraction, x_t: Fraction, value: Fraction) -> None:
    """PAR-6: over the rationals, round trips are exact, and x_0 and eps converted from any value recompose x_t."""
    alpha, sigma = scales = on_circle(m)
    for source, to in PAIRS:
        assert convert(convert(value, x_t, scales, source, to), x_t, scales, to, source) == value
    for source in NAMES:
        x_0 = value if source == "x_0" else convert(value, x_t, scales, source, "x_0")
        eps = value if source == "eps" else convert(value, x_t, scales, source, "eps")
        assert alpha * x_0 + sigma * eps == x_t


@evidence("PAR-6", kind="symbolic")
@pytest.mark.parametrize("source", NAMES)
def test_converted_x_0_and_eps_recompose_x_t(source: str) -> None:
    """PAR-6: alpha x_0 + sigma eps = x_t for x_0 and eps converted from any value."""
    assert symbolic.recomposition_residual(source) == 0


@evidence("PAR-7", kind="symbolic")
@pytest.mark.parametrize(("source", "to"), [("v", "x_0"), ("v", "eps"), ("score", "eps")])
def test_conversion_has_no_denominator(source: str, to: str) -> None:
    """PAR-7: the conversions from v, and from the score to eps, divide by neither alpha nor sigma."""
    assert symbolic.divisors(source, to) == set()


@evidence("PAR-7", kind="property")
@over_rationals
@given(m=points, x_t=rationals, value=rationals)
def test_conversion_is_bounded_at_the_ends(m: Fraction, x_t: Fraction, value: Fraction) -> None:
    """PAR-7: also at alpha = 0 and sigma = 0, results from v, and eps from the score, are at most |x_t| + |value|."""
    for alpha, sigma in ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)), on_circle(m)):
        for source, to in (("v", "x_0"), ("v", "eps"), ("score", "eps")):
            assert abs(convert(value, x_t, (alpha, sigma), source, to)) <= abs(x_t) + abs(value)


@cache
def _functions(source: str, to: str) -> tuple[Any, ...]:
    """Return functions of arrays: a conversion, its derivatives in alpha and sigma, and the sum of |term|."""
    formula = symbolic.convert(source, to, VALUE)
    terms = sum(map(sp.Abs, sp.Add.make_args(sp.expand(formula))))
    expressions = (formula, sp.diff(formula, symbolic.alpha), sp.diff(formula, symbolic.sigma), terms)
    arguments = (symbolic.alpha, symbolic.sigma, symbolic.x_t, VALUE)
    return tuple(sp.lambdify(arguments, expression, "numpy") for expression in expressions)


def _expected(
    pair: tuple[str, str], q: Exact, x_t: Floats, value: Floats, of_scales: tuple[Floats, Floats], u: float
) -> tuple[Floats, Floats]:
    """Return the exact conversion and its tolerance by chapter 4; of_scales: the errors of alpha and sigma."""
    formula, by_alpha, by_sigma, terms = (f(q.alpha, q.sigma, x_t, value) for f in _functions(*pair))
    of_alpha, of_sigma = of_scales
    return formula, 8 / 7 * (np.abs(by_alpha) * of_alpha + np.abs(by_sigma) * of_sigma) + 8 * u * terms


def _draws(dtype: Dtype, seed: int) -> tuple[Array, Array]:
    """Return a random x_t and value per time, with |x| >= 2^-6: a relative tolerance does not allow for underflow."""
    draws = np.random.default_rng(seed).standard_normal((2, times(dtype).size))
    x_t, value = np.copysign(np.maximum(np.abs(draws), 2.0**-6), draws).astype(dtype)
    return x_t, value


def _judge(case: Case, dtype: Dtype, name: str, of: tuple[Floats, Floats], inside: dict[str, Array], seed: int) -> None:
    """Assert that conversions with a formula's alpha and sigma, in its dtype throughout, are within tolerance.

    of: the errors of alpha and sigma; inside: the domain of the tolerance ("") and that of each divisor.
    """
    q = exact(case.process, dtype)
    x_t, value = _draws(dtype, seed)
    got = case.formulas[name](times(dtype), case.process.parameters)
    for source, to in PAIRS:
        divisors = map(str, symbolic.divisors(source, to))
        domain = np.logical_and.reduce([inside[""], *(inside[divisor] for divisor in divisors)])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            converted = convert(value, x_t, (got["alpha"], got["sigma"]), source, to)
            expected, bound = _expected((source, to), q, wide(x_t), wide(value), of, ROUNDOFF[dtype])
            error = np.abs(wide(np.asarray(converted)) - expected)
        # Near t = 0 a score can exceed the largest number of the dtype (65504 in float16).
        domain &= np.abs(expected) < np.finfo(dtype).max
        assert np.count_nonzero(domain) > 100
        message = worst(error[domain], bound[domain], q.t[domain])
        assert np.all(error[domain] <= bound[domain]), f"{name}, {source} to {to}, {message}"


@evidence("PAR-1", "PAR-2", "PAR-3", "PAR-4", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_conversions_are_within_tolerance(case: Case, dtype: Dtype, seed: int) -> None:
    """PAR-1: at every float16 time, and float32 ones, where 8 delta is below the divisor, conversions are in tolerance.

    The error of sigma is min(delta/sigma, sqrt(delta)), as in MAR-4, since delta/sigma has no bound near t = 0.
    """
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    of_alpha, of_variance = delta(u, q.k_alpha), delta(u, q.k)
    with np.errstate(divide="ignore"):
        of_sigma = np.fmin(of_variance / q.sigma, np.sqrt(of_variance))
        inside = {"alpha": 8 * of_alpha <= q.alpha, "sigma": 8 * of_variance / q.sigma <= q.sigma, "": q.sigma >= 0}
    for name in case.formulas:
        _judge(case, dtype, name, (of_alpha, of_sigma), inside, seed)


@evidence("PAR-8", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_careful_conversions_are_within_the_should_tolerance(case: Case, dtype: Dtype, seed: int) -> None:
    """PAR-8: with alpha and sigma without cancellation, conversions are within the tolerance that follows from rho.

    The domain is where log alpha_bar is a normal number.
    """
    q = exact(case.process, dtype)
    inside = {"alpha": q.alpha > 0, "sigma": q.sigma > 0, "": should_domain(q, dtype)}
    _judge(case, dtype, "careful", (rho(dtype, q.alpha, q.k_alpha), rho_sigma(q, dtype)), inside, seed)
