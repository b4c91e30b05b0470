"""Chapter 4: the conversions mean what their names say, exactly, and right code is within the bounds."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
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
    asks_rho,
    delta,
    exact,
    rho,
    rho_sigma,
    times,
    wide,
    worst,
)

NAMES = ("eps", "x_0", "v", "score")
PAIRS = tuple((source, to) for source in NAMES for to in NAMES if source != to)
VALUE = sp.Symbol("given", real=True)
Scales: TypeAlias = tuple[Fraction, Fraction]
Number: TypeAlias = Any
"""A Fraction, for exact algebra, or an array, for rounding."""

rationals = st.fractions(min_value=-8, max_value=8, max_denominator=1000)
slopes = st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(999, 1000), max_denominator=1000)
exactly = settings(deadline=None, derandomize=True, max_examples=50)


def on_circle(m: Fraction) -> Scales:
    """Return rational alpha and sigma above 0 with alpha^2 + sigma^2 = 1."""
    return (1 - m * m) / (1 + m * m), 2 * m / (1 + m * m)


def convert(value: Number, x_t: Number, scales: tuple[Number, Number], source: str, to: str) -> Number:
    """Return the chapter's conversion in whatever arithmetic its arguments have, through eps where it says so."""
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


def slope_of_log_density(x_t: Fraction, x_0: Fraction, scales: Scales) -> Fraction:
    """Return the gradient of log q(x_t | x_0): a central difference, exact as the logarithm is quadratic."""
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
@exactly
@given(m=slopes, x_0=rationals, eps=rationals)
def test_conversion_is_exact_over_the_rationals(m: Fraction, x_0: Fraction, eps: Fraction) -> None:
    """PAR-1: drawn as rationals, x_0, eps, v and the score go into one another without any error."""
    alpha, sigma = scales = on_circle(m)
    x_t = alpha * x_0 + sigma * eps
    score = slope_of_log_density(x_t, x_0, scales)
    meaning = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0, "score": score}
    for source, to in PAIRS:
        assert convert(meaning[source], x_t, scales, source, to) == meaning[to]


@evidence("PAR-5", kind="symbolic")
@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_round_trip_is_the_identity(source: str, to: str) -> None:
    """PAR-5: there and back returns any value, at any x_t, of data or not."""
    assert symbolic.round_trip_residual(source, to) == 0


@evidence("PAR-5", "PAR-6", kind="property")
@exactly
@given(m=slopes, x_t=rationals, value=rationals)
def test_round_trip_is_exact_over_the_rationals(m: Fraction, x_t: Fraction, value: Fraction) -> None:
    """PAR-6: over the rationals there and back is exact, and x_0 and eps from anything make x_t again."""
    alpha, sigma = scales = on_circle(m)
    for source, to in PAIRS:
        assert convert(convert(value, x_t, scales, source, to), x_t, scales, to, source) == value
    for source in NAMES:
        x_0, eps = (value if to == source else convert(value, x_t, scales, source, to) for to in ("x_0", "eps"))
        assert alpha * x_0 + sigma * eps == x_t


@evidence("PAR-6", kind="symbolic")
@pytest.mark.parametrize("source", NAMES)
def test_predictions_recompose(source: str) -> None:
    """PAR-6: alpha x_0 + sigma eps = x_t for x_0 and eps converted from any value."""
    assert symbolic.recomposition_residual(source) == 0


@evidence("PAR-7", kind="symbolic")
@pytest.mark.parametrize(("source", "to"), [("v", "x_0"), ("v", "eps"), ("score", "eps")])
def test_velocity_needs_no_divisor(source: str, to: str) -> None:
    """PAR-7: neither alpha nor sigma is in a denominator."""
    assert symbolic.divisors(source, to) == set()


@evidence("PAR-7", kind="property")
@exactly
@given(m=slopes, x_t=rationals, value=rationals)
def test_velocity_is_finite_at_the_ends(m: Fraction, x_t: Fraction, value: Fraction) -> None:
    """PAR-7: from v, and from score to eps, alpha = 0 and sigma = 0 do no harm, and no result is above the sum."""
    for alpha, sigma in ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)), on_circle(m)):
        for source, to in (("v", "x_0"), ("v", "eps"), ("score", "eps")):
            assert abs(convert(value, x_t, (alpha, sigma), source, to)) <= abs(x_t) + abs(value)


@cache
def _functions(source: str, to: str) -> tuple[Any, ...]:
    """Return a conversion, its slopes in alpha and sigma, and the sum of the magnitudes of its terms, for arrays."""
    formula = symbolic.convert(source, to, VALUE)
    terms = sum(map(sp.Abs, sp.Add.make_args(sp.expand(formula))))
    expressions = (formula, sp.diff(formula, symbolic.alpha), sp.diff(formula, symbolic.sigma), terms)
    arguments = (symbolic.alpha, symbolic.sigma, symbolic.x_t, VALUE)
    return tuple(sp.lambdify(arguments, expression, "numpy") for expression in expressions)


def _uncertainty(
    pair: tuple[str, str], q: Exact, x_t: Floats, value: Floats, of_scales: tuple[Floats, Floats], u: float
) -> tuple[Floats, Floats]:
    """Return the exact conversion and chapter 4's bound round it."""
    formula, by_alpha, by_sigma, terms = (f(q.alpha, q.sigma, x_t, value) for f in _functions(*pair))
    of_alpha, of_sigma = of_scales
    return formula, 8 / 7 * (np.abs(by_alpha) * of_alpha + np.abs(by_sigma) * of_sigma) + 8 * u * terms


def _draws(dtype: Dtype, seed: int) -> tuple[Array, Array]:
    """Return x_t and a value a time, kept from underflow, which no relative bound allows for."""
    draws = np.random.default_rng(seed).standard_normal((2, times(dtype).size))
    x_t, value = np.copysign(np.maximum(np.abs(draws), 2.0**-6), draws).astype(dtype)
    return x_t, value


def _judge(case: Case, dtype: Dtype, name: str, of: tuple[Floats, Floats], inside: dict[str, Array], seed: int) -> None:
    """Convert with a formula's alpha and sigma, in its dtype throughout, where t ("") and its divisors are `inside`."""
    q = exact(case.process, dtype)
    x_t, value = _draws(dtype, seed)
    got = case.formulas[name](times(dtype), case.process.parameters)
    for source, to in PAIRS:
        divisors = map(str, symbolic.divisors(source, to))
        asked = np.logical_and.reduce([inside[""], *(inside[divisor] for divisor in divisors)])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            made = convert(value, x_t, (got["alpha"], got["sigma"]), source, to)
            wanted, bound = _uncertainty((source, to), q, wide(x_t), wide(value), of, ROUNDOFF[dtype])
            error = np.abs(wide(np.asarray(made)) - wanted)
        # No bound holds for a score near 0 that is beyond the dtype: float16 ends at 65504.
        asked &= np.abs(wanted) < np.finfo(dtype).max
        assert np.count_nonzero(asked) > 100
        message = worst(error[asked], bound[asked], q.t[asked])
        assert np.all(error[asked] <= bound[asked]), f"{name}, {source} to {to}, {message}"


@evidence("PAR-1", "PAR-2", "PAR-3", "PAR-4", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_conversions_meet_their_bound(case: Case, dtype: Dtype, seed: int) -> None:
    """PAR-1: at every float16 time, and float32 ones, where 8 delta is below the divisor, they keep their bounds.

    Where nothing is divided by sigma, min(delta/sigma, sqrt(delta)) is asked, as in MAR-4: delta/sigma is empty near 0.
    """
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    of_alpha, loss = delta(u, q.k_alpha), delta(u, q.k)
    with np.errstate(divide="ignore"):
        of_sigma = np.fmin(loss / q.sigma, np.sqrt(loss))
        inside = {"alpha": 8 * of_alpha <= q.alpha, "sigma": 8 * loss / q.sigma <= q.sigma, "": q.sigma >= 0}
    for name in case.formulas:
        _judge(case, dtype, name, (of_alpha, of_sigma), inside, seed)


@evidence("PAR-8", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_careful_conversions_meet_the_narrow_bound(case: Case, dtype: Dtype, seed: int) -> None:
    """PAR-8: without cancellation in alpha and sigma, the bound holds with rho, wherever log alpha_bar is normal."""
    q = exact(case.process, dtype)
    inside = {"alpha": q.alpha > 0, "sigma": q.sigma > 0, "": asks_rho(q, dtype)}
    _judge(case, dtype, "careful", (rho(dtype, q.alpha, q.k_alpha), rho_sigma(q, dtype)), inside, seed)
