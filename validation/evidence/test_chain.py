"""Chapter 7: the product is what a chain does."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import log2, prod

import flint
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from refdiff.conformance.check import evidence

from ..oracles import certified, symbolic
from .exact import COSINE, ROUNDOFF, Array, Dtype, Floats, delta, rho, wide, worst

N = 1000
DDPM = tuple(np.linspace(1e-4, 0.02, N).tolist())
"""The betas of DDPM, 1e-4 to 0.02."""
K = np.arange(1, N + 1)

rational_betas = st.lists(
    st.fractions(min_value=Fraction(1, 100), max_value=Fraction(99, 100), max_denominator=100), min_size=1, max_size=12
)
exactly = settings(deadline=None, derandomize=True, max_examples=50)


@evidence("DIS-1", kind="symbolic")
def test_one_step_more_is_one_factor_more() -> None:
    """DIS-1: if k - 1 steps make sqrt(a) x_0 + sqrt(1 - a) eps, step k makes the same of a (1 - beta_k): induction."""
    for residual in symbolic.chain_step_residuals():
        assert symbolic.is_zero(residual)


@evidence("DIS-1", kind="property")
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


@evidence("DIS-1", kind="certified")
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


@evidence("DIS-1", kind="exhaustive")
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


@evidence("DIS-1", "NUM-1", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_right_scales_meet_their_bound(dtype: Dtype) -> None:
    """NUM-1: at every k, alpha from a right product is within delta + k u alpha/2."""
    wanted = certified.chain_column(DDPM, "alpha", K)
    u = ROUNDOFF[dtype]
    bound = delta(u, wanted.conditioning) + K * u * wanted.value / 2
    for name, alpha_bar in _products(np.array(DDPM, dtype=dtype)).items():
        error = np.abs(wide(np.sqrt(alpha_bar)) - wanted.value)
        assert np.all(error <= bound), f"{name} {worst(error, bound, wide(K))}"


@evidence("DIS-1", kind="exhaustive")
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


@evidence("DIS-2", kind="exhaustive")
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


K_ALL = np.arange(N + 1)


@evidence("DIS-4", kind="symbolic")
def test_steps_compose_and_their_posterior_strides() -> None:
    """DIS-4: one step, induction, and Bayes's rule: MAR-6 and MAR-7, whatever lies between."""
    for residual in (*symbolic.chain_step_residuals(), *symbolic.semigroup_residuals(), *symbolic.bayes_residuals()):
        assert symbolic.is_zero(residual)


@evidence("DIS-4", kind="property")
@exactly
@given(betas=rational_betas)
def test_strided_kernels_over_the_rationals(betas: list[Fraction]) -> None:
    """DIS-4: composing s+1..k adds 1 - abar_k/abar_s, beta_k for s = k - 1 alone; the posterior follows."""
    bars = [Fraction(1)]
    for beta in betas:
        bars.append(bars[-1] * (1 - beta))
    k = len(betas)
    for s in range(k):
        added = Fraction(0)
        for beta in betas[s:]:
            added = (1 - beta) * added + beta
        assert added == 1 - bars[k] / bars[s]
        assert (added == betas[-1]) == (s == k - 1)
        variance = added * (1 - bars[s]) / (1 - bars[k])
        # Precision adds: 1/variance = 1/(1 - abar_s) + (abar_k/abar_s)/added.
        if s > 0:
            assert 1 / variance == 1 / (1 - bars[s]) + bars[k] / bars[s] / added
        else:
            assert variance == 0


@evidence("DIS-4", kind="exhaustive")
def test_adjacent_posterior_at_every_index() -> None:
    """DIS-4: at every k of DDPM's chain, certified abar give 1 - abar_k/abar_{k-1} = beta_k, to 2^-51."""
    bars = certified.chain_column(DDPM, "alpha_bar", K_ALL)
    log_bars = certified.chain_column(DDPM, "log_alpha_bar", K_ALL)
    step = (log_bars.value[1:] - log_bars.value[:-1]) + (log_bars.residual[1:] - log_bars.residual[:-1])
    assert np.all(np.abs(-np.expm1(step) - np.array(DDPM)) <= 2.0**-51 * np.array(DDPM) + 2.0**-100)
    assert np.all(np.diff(bars.value) < 0)


def _gap(steps: int, shifted: bool, beta_min: float = 0.1, beta_max: float = 20.0) -> tuple[float, int]:
    """Return sup over k of |log abar_k - log abar(k/N)| for the linear chain, and where it is, in balls."""
    worst_gap, where = 0.0, 0
    with flint.ctx.workprec(128):
        low, high = flint.arb(beta_min), flint.arb(beta_max)
        total = flint.arb(0)
        for k in range(1, steps + 1):
            share = flint.arb(k) / steps if shifted else flint.arb(k - 1) / (steps - 1)
            total += (1 - (low + share * (high - low)) / steps).log()
            t = flint.arb(k) / steps
            gap = abs(float(total + low * t + (high - low) * t * t / 2))
            if gap > worst_gap:
                worst_gap, where = gap, k
    return worst_gap, where


@evidence("DIS-5", kind="certified")
@pytest.mark.parametrize(("shifted", "measured", "constant"), [(False, 0.0677, 67.0), (True, 0.0777, 77.0)])
def test_rate_of_the_linear_chain(shifted: bool, measured: float, constant: float) -> None:
    """DIS-5: sup_k is at k = N, 0.0677 (0.0777) at N = 1000, and N times it extrapolates to 67.0 (77.0): order 1."""
    gaps = {steps: _gap(steps, shifted) for steps in (1000, 2000, 4000)}
    assert all(where == steps for steps, (_, where) in gaps.items())
    assert abs(gaps[1000][0] - measured) < 1e-4
    scaled = [steps * gap for steps, (gap, _) in gaps.items()]
    # N gap = c + c_2/N + c_3/N^2: two extrapolations leave the cube.
    once = [2 * fine - coarse for coarse, fine in itertools.pairwise(scaled)]
    assert abs((4 * once[1] - once[0]) / 3 - constant) < 0.05
    slopes = [log2(2 * coarse / fine) for coarse, fine in itertools.pairwise(scaled)]
    assert all(abs(slope - 1) < 0.01 for slope in slopes)


@evidence("DIS-5", kind="certified")
@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [(0.0, 0.1, True), (0.0, 0.5, True), (0.1, 0.5, False), (0.0, 0.75, False), (0.5, 0.5, False), (2.0, 3.0, False)],
)
def test_rate_where_the_gap_may_be_largest_inside(low: float, high: float, inside: bool) -> None:
    """DIS-5: N times the largest gap is max |g| + O(1/N), also where that is before the end; from 3/4 on it is not."""
    u = np.linspace(0.0, 1.0, 10_001)
    rate = high - low
    half_square = (low**2 * u + low * rate * u**2 + rate**2 * u**3 / 3) / 2
    g = np.abs(half_square - rate / 2 * u * (1 - u))
    fine, coarse = (steps * _gap(steps, False, low, high)[0] for steps in (2000, 1000))
    # N gap = max |g| + c/N + ...: one extrapolation leaves 1/N^2, of a c below 1 + beta_max^3.
    assert abs(2 * fine - coarse - np.abs(g).max()) <= (1 + high**3) / 1000**2 + rate / 1000**2
    assert (np.abs(g).argmax() < len(u) - 1) == inside


@evidence("DIS-5", kind="symbolic")
def test_constant_of_the_rate() -> None:
    """DIS-5: at k = uN, N times the gap of the sums tends to g(u), and g(1) is (beta_min^2 + ... + beta_max^2)/6.

    Of -log(1 - beta) = beta + beta^2/2 + ..., the terms from beta^3 on sum to at most N (beta_max/N)^3/(1 - beta).
    """
    low, high, u, x = sp.symbols("beta_min beta_max u x", positive=True)
    n, k, m = sp.symbols("N k m", integer=True, positive=True)
    ddpm = (low + (k - 1) / (n - 1) * (high - low)) / n
    shifted = (low + k / n * (high - low)) / n
    rate = low + (high - low) * x
    integral = sp.integrate(rate, (x, 0, u))
    half_square = sp.integrate(rate**2, (x, 0, u)) / 2
    for beta, rule in ((ddpm, -u * (1 - u)), (shifted, u)):
        terms = [sp.summation(sp.expand(beta**power), (k, 1, m)).subs(m, u * n) for power in (1, 2)]
        limit = sp.limit(sp.simplify(n * (terms[0] - integral + terms[1] / 2)), n, sp.oo)
        assert sp.simplify(limit - half_square - (high - low) / 2 * rule) == 0
    end = (low**2 + low * high + high**2) / 6
    assert sp.simplify(half_square.subs(u, 1) - end) == 0


@evidence("DIS-5", kind="exhaustive")
@pytest.mark.parametrize("steps", [100, 1000])
def test_capped_cosine_meets_its_schedule_but_for_the_capped(steps: int) -> None:
    """DIS-5: the product of 1 - beta_k is abar(k/N); the cap at 0.999 leaves it at k = N alone.

    There log abar_N is log abar((N-1)/N) + log 0.001, where the schedule has -inf: no rate.
    """
    cosine = [certified.at(COSINE, "log_alpha_bar", k / steps) for k in range(steps)]
    betas = [-np.expm1((b.value - a.value) + (b.residual - a.residual)) for a, b in itertools.pairwise(cosine)]
    assert max(betas) < 0.999
    chain = certified.chain_column((*betas, 0.999), "log_alpha_bar", range(steps + 1))
    gap = np.abs(chain.value[:-1] - np.array([value.value for value in cosine]))
    # Each beta is rounded to 2^-53 of itself, and moves the logarithm by that over 1 - beta.
    assert np.all(gap <= 2.0**-51 * np.cumsum([0.0, *(b / (1 - b) for b in betas)]) + 2.0**-52 * (1 - chain.value[:-1]))
    assert np.isfinite(chain.value[-1])
    assert certified.at(COSINE, "log_alpha_bar", 1.0).value == -np.inf
