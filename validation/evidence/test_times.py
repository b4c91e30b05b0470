"""Chapter 6: importance weights, stratified and permuted times, the best density, and the resampler."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import sqrt

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.check import evidence

from ..oracles import objectives
from ..oracles.mixture import TWO, Floats
from .rationals import over_rationals
from .scales import linear_rate, linear_scales

numbers = st.fractions(min_value=Fraction(1, 20), max_value=10, max_denominator=40)


def _probabilities(masses: list[Fraction]) -> list[Fraction]:
    return [mass / sum(masses) for mass in masses]


@evidence("TIM-2", "TIM-5", kind="property")
@over_rationals
@given(pairs=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_importance_weights_make_the_mean_unbiased(pairs: list[tuple[Fraction, Fraction]]) -> None:
    """TIM-2: sum P(k) w(k) f(k) is the mean of f for w = (1/N)/P, and is not for w = 1 or w = P."""
    masses, f = [m for m, _ in pairs], [v for _, v in pairs]
    p, n = _probabilities(masses), len(pairs)
    mean = sum(f) / n
    assert sum(q * (Fraction(1, n) / q) * v for q, v in zip(p, f, strict=True)) == mean
    rising = [Fraction(k + 1) for k in range(n)]
    tilted = _probabilities(rising)
    if n > 1:
        assert sum(q * v for q, v in zip(tilted, rising, strict=True)) > sum(rising) / n
        assert sum(q * q * v for q, v in zip(tilted, rising, strict=True)) != sum(rising) / n


@evidence("TIM-2", kind="symbolic")
def test_weights_imply_the_distribution_function() -> None:
    """TIM-2: on [a, b], the integral of 1/w is (b - a) F, F the distribution function, and E[w f] is the mean of f."""
    t, a, b, c = sp.symbols("t a b c", positive=True)
    density = (1 + c * t) / (b - a + c * (b**2 - a**2) / 2)
    weight = 1 / ((b - a) * density)
    distribution = sp.integrate(density, (t, a, t))
    assert sp.simplify(sp.integrate(1 / weight, (t, a, t)) - (b - a) * distribution) == 0
    assert sp.simplify(distribution.subs(t, b) - 1) == 0
    for power in range(3):
        mean = sp.integrate(t**power, (t, a, b)) / (b - a)
        assert sp.simplify(sp.integrate(density * weight * t**power, (t, a, b)) - mean) == 0


def _outside(x: Floats, i: Floats, n: int) -> bool:
    """Return whether any x is outside [i/n, (i + 1)/n), without rounding.

    x is split into its upper 26 bits and the rest: the products with n < 2^26, and the differences, are exact.
    """
    head = (x.view(np.int64) & -(2**27)).view(np.float64)
    from_start = (head * n - i) + (x - head) * n
    from_end = (head * n - (i + 1.0)) + (x - head) * n
    return bool(np.any((from_start < 0.0) | (from_end >= 0.0)))


def _first_at_or_above(i: Floats, n: int) -> Floats:
    """Return the smallest binary64 that is at least i/n, by integer arithmetic."""
    near = i / n
    pairs = zip(near.tolist(), i.astype(int).tolist(), strict=True)
    short = np.array([n * (ratio := x.as_integer_ratio())[0] < k * ratio[1] for x, k in pairs])
    return np.where(short, np.nextafter(near, 2.0), near)


@evidence("TIM-3", kind="exhaustive")
def test_one_time_in_each_stratum() -> None:
    """TIM-3: for every n up to 2000, (i + u)/n in binary64, clipped to the floats of its stratum, is in [i/n, (i+1)/n).

    Without clipping, it is too small where i/n rounds down, and too large where the sum rounds up: both occur. In
    float32 the sum rounds up to 1 for u near 1, so a half-open range needs a largest number below its end.
    """
    top = 1.0 - 2.0**-53
    seen = {0.0: 0, 0.5: 0, top: 0}
    for n in range(1, 2001):
        edges = _first_at_or_above(np.arange(n + 1.0), n)
        i = np.arange(float(n))
        for u in seen:
            unclipped = (i + u) / n
            drawn = np.clip(unclipped, edges[:-1], np.nextafter(edges[1:], 0.0))
            assert not _outside(drawn, i, n)
            for dtype in (np.float32, np.float16):
                assert np.minimum(drawn[-1].astype(dtype), np.nextafter(dtype(1), dtype(0))) < 1.0
            seen[u] += _outside(unclipped, i, n)
    assert seen[0.0] > 1800, "expected i/n to round down, as for 1/3 and 1/5"
    assert seen[0.5] == 0
    assert seen[top] > 1800, "expected i + u to round up into the next stratum"
    assert _outside(np.array([1.0]), np.array([0.0]), 1), "expected 1 to be outside the last stratum"
    assert (np.float32(63) + np.float32(top - 2.0**-26)) / np.float32(64) == 1.0


@evidence("TIM-3", kind="symbolic")
def test_stratification_reduces_the_variance() -> None:
    """TIM-3: Var_iid - Var_strat = sum (m_i - m)^2 / n^2 >= 0, for f with any means m_i and mean squares q_i.

    Here with n = 4 strata; the reduction is the variance of the means of the strata, divided by n.
    """
    n = 4
    m, q = sp.symbols(f"m0:{n}", real=True), sp.symbols(f"q0:{n}", positive=True)
    mean = sum(m) / n
    independent = (sum(q) / n - mean**2) / n
    stratified = sum(q[i] - m[i] ** 2 for i in range(n)) / n**2
    assert sp.simplify(independent - stratified - sum((m[i] - mean) ** 2 for i in range(n)) / n**2) == 0


@evidence("TIM-4", kind="exhaustive")
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_permuted_strata_are_uniform_at_each_place(n: int) -> None:
    """TIM-4: over all permutations of n strata, each place has each stratum equally often."""
    counts = np.zeros((n, n), dtype=int)
    for order in itertools.permutations(range(n)):
        counts[range(n), order] += 1
    assert np.all(counts == counts[0, 0])
    assert n == 1 or not np.all(np.eye(n) == 1.0 / n)


@evidence("TIM-4", kind="symbolic")
def test_permuted_times_are_uncorrelated_with_their_place() -> None:
    """TIM-4: if all E t_i are equal, sum (i - mean of i) E t_i is 0; for strata in order it is (n^2 - 1)/12."""
    n = sp.Symbol("n", integer=True, positive=True)
    i, mean = sp.symbols("i mean")
    centred = i - (n - 1) / 2
    assert sp.simplify(sp.summation(centred * mean, (i, 0, n - 1))) == 0
    in_order = sp.summation(centred * (i + sp.Rational(1, 2)) / n, (i, 0, n - 1))
    assert sp.simplify(in_order - (n**2 - 1) / 12) == 0


@evidence("TIM-5", kind="symbolic")
def test_best_density_is_proportional_to_the_magnitude() -> None:
    """TIM-5: subject to sum p_i = 1, sum f_i^2/p_i is stationary at p_i ~ |f_i|, with the value (sum |f_i|)^2."""
    f, p = sp.symbols("f0:3", positive=True), sp.symbols("p0:3", positive=True)
    multiplier = sp.Symbol("multiplier")
    lagrangian = sum(f[i] ** 2 / p[i] for i in range(3)) + multiplier * (sum(p) - 1)
    best = {p[i]: f[i] / sum(f) for i in range(3)}
    slopes = [sp.diff(lagrangian, q).subs(best).subs(multiplier, sum(f) ** 2) for q in p]
    assert [sp.simplify(slope) for slope in slopes] == [0, 0, 0]
    assert sp.simplify(sum(f[i] ** 2 / best[p[i]] for i in range(3)) - sum(f) ** 2) == 0


@evidence("TIM-5", "TIM-6", kind="property")
@over_rationals
@given(pairs=st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_best_density_minimises_the_variance(pairs: list[tuple[Fraction, Fraction]]) -> None:
    """TIM-5: over the rationals, sum f^2/p >= (sum f)^2 for any p, with equality for p ~ f (Cauchy-Schwarz)."""
    f, p = [v for v, _ in pairs], _probabilities([m for _, m in pairs])
    best = _probabilities(f)
    assert sum(v * v / q for v, q in zip(f, p, strict=True)) >= sum(f) ** 2
    assert sum(v * v / q for v, q in zip(f, best, strict=True)) == sum(f) ** 2


def _resampled(moments: list[Fraction], eta: Fraction) -> list[Fraction]:
    """Return the probabilities of TIM-6 for cells with known root mean squares of the loss."""
    return [(1 - eta) * p + eta / len(moments) for p in _probabilities(moments)]


@evidence("TIM-6", kind="property")
@over_rationals
@given(
    roots=st.lists(numbers, min_size=1, max_size=8),
    eta=st.fractions(min_value=Fraction(1, 1000), max_value=1, max_denominator=1000),
)
def test_resampler_has_probabilities_and_bounded_weights(roots: list[Fraction], eta: Fraction) -> None:
    """TIM-6: the probabilities sum to 1, and each is at least eta/cells, so weights are at most 1/eta."""
    p = _resampled(roots, eta)
    assert sum(p) == 1
    assert all(Fraction(1, len(p)) / q <= 1 / eta for q in p)
    assert len(set(_resampled([roots[0]] * len(roots), eta))) == 1


@evidence("TIM-6", kind="symbolic")
def test_resampler_tends_to_the_best_density() -> None:
    """TIM-6: as eta tends to 0, the probabilities tend to sqrt(m_i)/sum sqrt(m_j), the best density of TIM-5."""
    m, eta = sp.symbols("m0:3", positive=True), sp.Symbol("eta", positive=True)
    roots = [sp.sqrt(x) for x in m]
    for root in roots:
        probability = (1 - eta) * root / sum(roots) + eta / 3
        assert sp.simplify(sp.limit(probability, eta, 0) - root / sum(roots)) == 0


CELLS = 64


def _squared(f: Callable[[Floats, Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
    return lambda x, e: f(x, e) ** 2


def _loss_moments(weight: str) -> tuple[Floats, Floats]:
    """Return mean and mean square, over (x_0, eps), of the weighted loss at the middle of each cell.

    The denoiser is the best one for a Gaussian with the mean and the variance of the mixture.
    """
    t = 1e-3 + (1.0 - 1e-3) * (np.arange(CELLS) + 0.5) / CELLS
    mean_0 = sum(w * m for w, m in zip(TWO.weights, TWO.means, strict=True))
    variance_0 = sum(w * (v + (m - mean_0) ** 2) for w, m, v in zip(TWO.weights, TWO.means, TWO.variances, strict=True))
    first, second = [], []
    for at in t.tolist():
        alpha, variance = linear_scales(at)
        sigma, spread = sqrt(variance), alpha**2 * variance_0 + variance
        scale = float(linear_rate(np.asarray(at))) / variance if weight == "likelihood" else 1.0

        def loss(x_0: Floats, eps: Floats, a: float, s: float, v: float, w: float) -> Floats:
            return w * (s * (a * x_0 + s * eps - a * mean_0) / v - eps) ** 2

        one = partial(loss, a=alpha, s=sigma, v=spread, w=scale)
        first.append(float(objectives.over_pairs(TWO, one, 40)))
        second.append(float(objectives.over_pairs(TWO, _squared(one), 40)))
    return np.array(first), np.array(second)


@evidence("TIM-3", "TIM-5", "TIM-6", kind="quadrature")
@pytest.mark.parametrize(
    ("weight", "stratified", "importance"), [("uniform", 0.7523, 0.2621), ("likelihood", 0.6893, 0.0670)]
)
def test_variance_reduction_on_a_known_problem(weight: str, stratified: float, importance: float) -> None:
    """TIM-5: variance of the mean loss of 64 times, relative to independent uniform times, without Monte Carlo.

    For the eps loss it is 75% with strata and 26% with the best density; with the likelihood weight, 69% and 6.7%.
    """
    mean, square = _loss_moments(weight)
    independent = square.mean() - mean.mean() ** 2
    strata = (square - mean**2).mean()
    best = np.sqrt(square).mean() ** 2 - mean.mean() ** 2
    assert abs(strata / independent - stratified) < 1e-3
    assert abs(best / independent - importance) < 1e-3
