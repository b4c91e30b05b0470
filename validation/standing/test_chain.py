"""Chapter 7: the product is what a chain does."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refdiff.conformance.check import standing

from ..oracles import certified, symbolic
from .exact import ROUNDOFF, Array, Dtype, Floats, delta, rho, wide, worst

N = 1000
DDPM = tuple(np.linspace(1e-4, 0.02, N).tolist())
"""The betas of DDPM, 1e-4 to 0.02."""
K = np.arange(1, N + 1)

rational_betas = st.lists(
    st.fractions(min_value=Fraction(1, 100), max_value=Fraction(99, 100), max_denominator=100), min_size=1, max_size=12
)
exactly = settings(deadline=None, derandomize=True, max_examples=50)


@standing("DIS-1", kind="symbolic")
def test_one_step_more_is_one_factor_more() -> None:
    """DIS-1: if k - 1 steps make sqrt(a) x_0 + sqrt(1 - a) eps, step k makes the same of a (1 - beta_k): induction."""
    for residual in symbolic.chain_step_residuals():
        assert symbolic.is_zero(residual)


@standing("DIS-1", kind="property")
@exactly
@given(betas=rational_betas)
def test_moments_of_a_chain_are_the_product(betas: list[Fraction]) -> None:
    """DIS-1: over the rationals, k steps from a known x_0 keep prod(1 - beta_i) of its square and add 1 less that."""
    squared_scale, variance = Fraction(1), Fraction(0)
    for k, beta in enumerate(betas, start=1):
        squared_scale, variance = (1 - beta) * squared_scale, (1 - beta) * variance + beta
        alpha_bar = prod((1 - b for b in betas[:k]), start=Fraction(1))
        assert squared_scale == alpha_bar
        assert variance == 1 - alpha_bar


@standing("DIS-1", kind="certified")
def test_certified_products_are_exact() -> None:
    """DIS-1: Arb's alpha_bar_k, k = 0..50, is the rational product of the binary64 betas, rounded once; k = 0 is 1."""
    table = certified.chain_column(DDPM, "alpha_bar", range(51))
    product = Fraction(1)
    for k in range(51):
        product *= 1 if k == 0 else 1 - Fraction(DDPM[k - 1])
        assert table.value[k] == float(product)


def _products(beta: Array) -> dict[str, Array]:
    """Return alpha_bar by right formulas, in the dtype of the betas throughout."""
    one = beta.dtype.type(1)
    return {
        "cumprod": np.cumprod(one - beta, dtype=beta.dtype),
        "exp of sum": np.exp(np.cumsum(np.log(one - beta), dtype=beta.dtype)),
        "square of roots": np.cumprod(np.sqrt(one - beta), dtype=beta.dtype) ** 2,
    }


@standing("DIS-1", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_right_products_meet_their_bound(dtype: Dtype) -> None:
    """DIS-1: for DDPM's betas, at every k, right products and 1 less them are within delta + k u alpha_bar."""
    wanted = certified.chain_column(DDPM, "alpha_bar", K)
    u = ROUNDOFF[dtype]
    bound = delta(u, wanted.conditioning) + K * u * wanted.value
    for name, alpha_bar in _products(np.array(DDPM, dtype=dtype)).items():
        error = np.abs(wide(alpha_bar) - wanted.value)
        assert np.all(error <= bound), f"{name} {worst(error, bound, wide(K))}"
        error = np.abs(wide(1 - alpha_bar) - (1 - wanted.value))
        assert np.all(error <= bound), f"1 - {name} {worst(error, bound, wide(K))}"


@standing("DIS-1", "NUM-1", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_right_scales_meet_their_bound(dtype: Dtype) -> None:
    """NUM-1: at every k, alpha from a right product is within delta + k u alpha/2."""
    wanted = certified.chain_column(DDPM, "alpha", K)
    u = ROUNDOFF[dtype]
    bound = delta(u, wanted.conditioning) + K * u * wanted.value / 2
    for name, alpha_bar in _products(np.array(DDPM, dtype=dtype)).items():
        error = np.abs(wide(np.sqrt(alpha_bar)) - wanted.value)
        assert np.all(error <= bound), f"{name} {worst(error, bound, wide(K))}"


@standing("DIS-1", kind="exhaustive")
def test_shifted_index_is_outside_the_bound() -> None:
    """DIS-1: in float32 a table read one step early misses alpha_bar_k by more than the bound, at every k."""
    u = ROUNDOFF["float32"]
    table = certified.chain_column(DDPM, "alpha_bar", range(N + 1))
    bound = delta(u, table.conditioning[1:]) + K * u * table.value[1:]
    assert np.all(table.value[:-1] - table.value[1:] > bound)


def _narrow(dtype: Dtype, wanted: certified.Column) -> Floats:
    """Return rho for a chain: 2k ulps more than for a continuous process."""
    per_step = rho(dtype, wanted.value, np.zeros(N)) / 4
    return rho(dtype, wanted.value, wanted.conditioning) + 2 * K * per_step


@standing("DIS-2", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_careful_chains_meet_the_narrow_bound(dtype: Dtype) -> None:
    """DIS-2: at every k, log1p and expm1 of a running sum, in one dtype, give alpha_bar, alpha and sigma within rho."""
    log_alpha_bar = np.cumsum(np.log1p(-np.array(DDPM, dtype=dtype)), dtype=dtype)
    found: dict[certified.Quantity, Array] = {
        "alpha_bar": np.exp(log_alpha_bar),
        "alpha": np.exp(log_alpha_bar / 2),
        "sigma": np.sqrt(-np.expm1(log_alpha_bar)),
    }
    for quantity, values in found.items():
        wanted = certified.chain_column(DDPM, quantity, K)
        error, bound = np.abs(wide(values) - wanted.value), _narrow(dtype, wanted)
        assert np.all(error <= bound), f"{quantity} {worst(error, bound, wide(K))}"
