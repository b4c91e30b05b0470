"""Chapter 7: the moments of a discrete chain are the products that the clauses state."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import inf, log2, prod

import flint
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.check import evidence

from ..oracles import certified, symbolic
from .exact import COSINE, ROUNDOFF, Array, Dtype, Floats, delta, rho, wide, worst
from .rationals import over_rationals

N = 1000
DDPM = tuple(np.linspace(1e-4, 0.02, N).tolist())
"""The betas of DDPM, 1e-4 to 0.02."""
K = np.arange(1, N + 1)

rational_betas = st.lists(
    st.fractions(min_value=Fraction(1, 100), max_value=Fraction(99, 100), max_denominator=100), min_size=1, max_size=12
)


@evidence("DIS-1", kind="symbolic")
def test_each_step_multiplies_alpha_bar_by_one_factor() -> None:
    """DIS-1: a step from sqrt(a) x_0 + sqrt(1 - a) eps has the distribution for a (1 - beta_k): the induction step."""
    for residual in symbolic.chain_step_residuals():
        assert symbolic.is_zero(residual)


@evidence("DIS-1", kind="property")
@over_rationals
@given(betas=rational_betas)
def test_moments_of_a_chain_are_the_product(betas: list[Fraction]) -> None:
    """DIS-1: over the rationals, k steps have squared scale alpha_bar = prod(1 - beta_i) and variance 1 - alpha_bar."""
    squared_scale, variance = Fraction(1), Fraction(0)
    for k, beta in enumerate(betas, start=1):
        squared_scale, variance = (1 - beta) * squared_scale, (1 - beta) * variance + beta
        alpha_bar = prod((1 - b for b in betas[:k]), start=Fraction(1))
        assert squared_scale == alpha_bar
        assert variance == 1 - alpha_bar


@evidence("DIS-1", kind="certified")
def test_certified_products_are_correctly_rounded() -> None:
    """DIS-1: Arb's alpha_bar_k, k = 0..50, is the rational product of 1 - beta_i, rounded once; alpha_bar_0 is 1."""
    table = certified.chain_column(DDPM, "alpha_bar", range(51))
    product = Fraction(1)
    for k in range(51):
        product *= 1 if k == 0 else 1 - Fraction(DDPM[k - 1])
        assert table.value[k] == float(product)


def _products(beta: Array) -> dict[str, Array]:
    """Return alpha_bar by three right formulas, in the dtype of the betas throughout."""
    one = beta.dtype.type(1)
    return {
        "cumprod": np.cumprod(one - beta, dtype=beta.dtype),
        "exp of sum": np.exp(np.cumsum(np.log(one - beta), dtype=beta.dtype)),
        "square of roots": np.cumprod(np.sqrt(one - beta), dtype=beta.dtype) ** 2,
    }


@evidence("DIS-1", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_right_products_are_within_tolerance(dtype: Dtype) -> None:
    """DIS-1: for DDPM's betas, at every k, right alpha_bar and 1 - alpha_bar are within delta + k u alpha_bar."""
    expected = certified.chain_column(DDPM, "alpha_bar", K)
    u = ROUNDOFF[dtype]
    bound = delta(u, expected.conditioning) + K * u * expected.value
    for name, alpha_bar in _products(np.array(DDPM, dtype=dtype)).items():
        error = np.abs(wide(alpha_bar) - expected.value)
        assert np.all(error <= bound), f"{name} {worst(error, bound, wide(K))}"
        error = np.abs(wide(1 - alpha_bar) - (1 - expected.value))
        assert np.all(error <= bound), f"1 - {name} {worst(error, bound, wide(K))}"


@evidence("DIS-1", "NUM-1", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_right_scales_are_within_tolerance(dtype: Dtype) -> None:
    """NUM-1: at every k, alpha from a right product is within delta + k u alpha/2."""
    expected = certified.chain_column(DDPM, "alpha", K)
    u = ROUNDOFF[dtype]
    bound = delta(u, expected.conditioning) + K * u * expected.value / 2
    for name, alpha_bar in _products(np.array(DDPM, dtype=dtype)).items():
        error = np.abs(wide(np.sqrt(alpha_bar)) - expected.value)
        assert np.all(error <= bound), f"{name} {worst(error, bound, wide(K))}"


@evidence("DIS-1", kind="exhaustive")
def test_shifted_index_exceeds_the_tolerance() -> None:
    """DIS-1: in float32, |alpha_bar_(k-1) - alpha_bar_k| exceeds the tolerance at every k: a shifted index fails."""
    u = ROUNDOFF["float32"]
    table = certified.chain_column(DDPM, "alpha_bar", range(N + 1))
    bound = delta(u, table.conditioning[1:]) + K * u * table.value[1:]
    assert np.all(table.value[:-1] - table.value[1:] > bound)


def _should_tolerance(dtype: Dtype, expected: certified.Column) -> Floats:
    """Return the SHOULD tolerance of a chain, rho + 2k ulp."""
    ulp = rho(dtype, expected.value, np.zeros(N)) / 4
    return rho(dtype, expected.value, expected.conditioning) + 2 * K * ulp


@evidence("DIS-2", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_careful_chains_are_within_the_should_tolerance(dtype: Dtype) -> None:
    """DIS-2: at every k, alpha_bar, alpha and sigma by log1p, cumsum and expm1, in one dtype, are within tolerance."""
    log_alpha_bar = np.cumsum(np.log1p(-np.array(DDPM, dtype=dtype)), dtype=dtype)
    found: dict[certified.Quantity, Array] = {
        "alpha_bar": np.exp(log_alpha_bar),
        "alpha": np.exp(log_alpha_bar / 2),
        "sigma": np.sqrt(-np.expm1(log_alpha_bar)),
    }
    for quantity, values in found.items():
        expected = certified.chain_column(DDPM, quantity, K)
        error, bound = np.abs(wide(values) - expected.value), _should_tolerance(dtype, expected)
        assert np.all(error <= bound), f"{quantity} {worst(error, bound, wide(K))}"


K_ALL = np.arange(N + 1)


@evidence("DIS-4", kind="symbolic")
def test_strided_transitions_and_posteriors_follow_from_steps() -> None:
    """DIS-4: by induction over single steps, and Bayes' rule, MAR-6 and MAR-7 hold for any stride s < k."""
    for residual in (*symbolic.chain_step_residuals(), *symbolic.semigroup_residuals(), *symbolic.bayes_residuals()):
        assert symbolic.is_zero(residual)


@evidence("DIS-4", kind="property")
@over_rationals
@given(betas=rational_betas)
def test_strided_kernels_over_the_rationals(betas: list[Fraction]) -> None:
    """DIS-4: steps s+1..k add the variance 1 - abar_k/abar_s, which is beta_k only for s = k - 1, and MAR-7 follows."""
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
        # Precisions add: 1/variance = 1/(1 - abar_s) + (abar_k/abar_s)/added.
        if s > 0:
            assert 1 / variance == 1 / (1 - bars[s]) + bars[k] / bars[s] / added
        else:
            assert variance == 0


@evidence("DIS-4", kind="exhaustive")
def test_adjacent_transitions_add_beta_at_every_index() -> None:
    """DIS-4: at every k of DDPM's chain, certified abar give 1 - abar_k/abar_{k-1} = beta_k, within 2^-51, relative."""
    bars = certified.chain_column(DDPM, "alpha_bar", K_ALL)
    log_bars = certified.chain_column(DDPM, "log_alpha_bar", K_ALL)
    step = (log_bars.value[1:] - log_bars.value[:-1]) + (log_bars.residual[1:] - log_bars.residual[:-1])
    assert np.all(np.abs(-np.expm1(step) - np.array(DDPM)) <= 2.0**-51 * np.array(DDPM) + 2.0**-100)
    assert np.all(np.diff(bars.value) < 0)


def _gap(steps: int, shifted: bool, beta_min: float = 0.1, beta_max: float = 20.0) -> tuple[float, int]:
    """Return max over k of |log abar_k - log abar(k/N)| for the linear chain of N steps, and its k, by Arb balls.

    shifted: False for DDPM's betas, beta((k-1)/(N-1))/N; True for beta(k/N)/N.
    """
    worst_gap, where = 0.0, 0
    with flint.ctx.workprec(128):
        low, high = flint.arb(beta_min), flint.arb(beta_max)
        total = flint.arb(0)
        for k in range(1, steps + 1):
            time = flint.arb(k) / steps if shifted else flint.arb(k - 1) / (steps - 1)
            total += (1 - (low + time * (high - low)) / steps).log()
            t = flint.arb(k) / steps
            gap = abs(float(total + low * t + (high - low) * t * t / 2))
            if gap > worst_gap:
                worst_gap, where = gap, k
    return worst_gap, where


@evidence("DIS-5", kind="certified")
@pytest.mark.parametrize(("shifted", "measured", "constant"), [(False, 0.0677, 67.0), (True, 0.0777, 77.0)])
def test_linear_chain_converges_with_order_one(shifted: bool, measured: float, constant: float) -> None:
    """DIS-5: the largest gap, 0.0677 (0.0777) at N = 1000, is at k = N; N times it converges to 67.0 (77.0)."""
    gaps = {steps: _gap(steps, shifted) for steps in (1000, 2000, 4000)}
    assert all(where == steps for steps, (_, where) in gaps.items())
    assert abs(gaps[1000][0] - measured) < 1e-4
    scaled = [steps * gap for steps, (gap, _) in gaps.items()]
    # N gap = c + c_2/N + c_3/N^2 + ...: two Richardson extrapolations leave an error of order N^-3.
    once = [2 * fine - coarse for coarse, fine in itertools.pairwise(scaled)]
    assert abs((4 * once[1] - once[0]) / 3 - constant) < 0.05
    slopes = [log2(2 * coarse / fine) for coarse, fine in itertools.pairwise(scaled)]
    assert all(abs(slope - 1) < 0.01 for slope in slopes)


@evidence("DIS-5", kind="certified")
@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [(0.0, 0.1, True), (0.0, 0.5, True), (0.1, 0.5, False), (0.0, 0.75, False), (0.5, 0.5, False), (2.0, 3.0, False)],
)
def test_largest_gap_may_be_inside_the_interval(low: float, high: float, inside: bool) -> None:
    """DIS-5: N times the largest gap is max |G| + O(1/N), whether G has its maximum inside (0, 1) or at the end."""
    u = np.linspace(0.0, 1.0, 10_001)
    rate = high - low
    half_square = (low**2 * u + low * rate * u**2 + rate**2 * u**3 / 3) / 2
    g = np.abs(half_square - rate / 2 * u * (1 - u))
    fine = 2000 * _gap(2000, False, low, high)[0]
    coarse = 1000 * _gap(1000, False, low, high)[0]
    # N gap = max |g| + c/N + c_2/N^2: one extrapolation leaves the last term, and c_2 is below 1 + beta_max^3.
    assert abs(2 * fine - coarse - np.abs(g).max()) <= (1 + high**3) / 1000**2 + rate / 1000**2
    assert (np.abs(g).argmax() < len(u) - 1) == inside


@evidence("DIS-5", kind="symbolic")
def test_scaled_gap_converges_to_its_limit() -> None:
    """DIS-5: at k = uN, N times the gap converges to G(u); for DDPM's betas G(1) is (low^2 + low high + high^2)/6.

    In -log(1 - beta) = beta + beta^2/2 + ..., the terms from beta^3 on sum to at most N (beta_max/N)^3/(1 - beta).
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
def test_capped_cosine_chain_differs_from_its_schedule_only_at_the_end(steps: int) -> None:
    """DIS-5: the product of 1 - beta_k is abar(k/N) for k < N; only beta_N is capped, at 0.999.

    At k = N the chain has log abar((N-1)/N) + log 0.001, and the schedule -inf, so there is no convergence.
    """
    cosine = [certified.at(COSINE, "log_alpha_bar", k / steps) for k in range(steps)]
    betas = [-np.expm1((b.value - a.value) + (b.residual - a.residual)) for a, b in itertools.pairwise(cosine)]
    assert max(betas) < 0.999
    chain = certified.chain_column((*betas, 0.999), "log_alpha_bar", range(steps + 1))
    gap = np.abs(chain.value[:-1] - np.array([value.value for value in cosine]))
    # Rounding a beta, by 2^-53 relative, changes the logarithm by beta/(1 - beta) times that.
    assert np.all(gap <= 2.0**-51 * np.cumsum([0.0, *(b / (1 - b) for b in betas)]) + 2.0**-52 * (1 - chain.value[:-1]))
    assert np.isfinite(chain.value[-1])
    assert certified.at(COSINE, "log_alpha_bar", 1.0).value == -np.inf


@evidence("DIS-1", kind="certified")
def test_last_beta_of_one_leaves_no_signal() -> None:
    """DIS-1: beta_N = 1 makes alpha_bar_N exactly 0, and changes no index before."""
    names: tuple[certified.Quantity, ...] = ("alpha_bar", "alpha", "sigma", "variance", "log_alpha_bar", "log_snr")
    limits, before = (0.0, 0.0, 1.0, 1.0, -inf, -inf), (0.1, 0.3, 0.7)
    for name, limit in zip(names, limits, strict=True):
        ended = certified.chain_column((*before, 1.0), name, range(5))
        assert (ended.value[4], ended.residual[4]) == (limit, 0.0)
        assert np.array_equal(ended.value[:4], certified.chain_column(before, name, range(4)).value)
