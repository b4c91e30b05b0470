"""Chapter 8: averages of weights, in exact arithmetic and in each dtype; tolerances of a trained denoiser."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.averaging import DecayRule, Equal, Power, Ratio
from refdiff.conformance.check import evidence
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, DType

from ..expected import denoiser as optimum
from ..expected.averages import decay_roundings, movement_bound, recursion_bound
from ..expected.averages import decays as rule_decays
from ..oracles import averages as oracle
from ..oracles.averages import averaged
from ..oracles.mixture import Floats
from .rationals import over_rationals
from .scales import linear_scales

weights = st.fractions(min_value=-8, max_value=8, max_denominator=50)
decays = st.fractions(min_value=0, max_value=Fraction(99, 100), max_denominator=100)
Step = Callable[[Any, Any, Any], Any]
"""Maps decay d, average a and weight w to the next average, each operation in the dtype of all three."""

FORMS: dict[str, Step] = {
    "sum": lambda d, a, w: d * a + (d.dtype.type(1) - d) * w,
    "difference from a": lambda d, a, w: a + (d.dtype.type(1) - d) * (w - a),
    "difference from w": lambda d, a, w: w + d * (a - w),
}


def average(form: Step, decay: float, history: npt.NDArray[Any]) -> Array:
    """Return the averages of a history of weights, (steps, p), in its dtype."""
    d, rows = history.dtype.type(decay), [history[0]]
    for row in history[1:]:
        rows.append(form(d, rows[-1], row))
    return np.stack(rows)


@evidence("TRN-1", kind="symbolic")
def test_recursion_is_a_weighted_mean() -> None:
    """TRN-1: a_n = d^n w_0 + (1 - d) sum d^(n-k) w_k; the coefficients sum to 1, and errors form a geometric sum."""
    d, n, k = sp.symbols("d n k", positive=True)
    w = sp.symbols("w0:6")
    a: Any = w[0]
    for value in w[1:]:
        a = d * a + (1 - d) * value
    closed = d**5 * w[0] + (1 - d) * sum(d ** (5 - i) * w[i] for i in range(1, 6))
    assert sp.expand(a - closed) == 0
    total = d**n + (1 - d) * sp.summation(d**k, (k, 0, n - 1)).subs(sp.Ne(d, 1), True)
    assert sp.simplify(sp.piecewise_fold(total).args[-1][0] - 1 if total.has(sp.Piecewise) else total - 1) == 0
    added = sp.Integer(0)
    for _ in range(5):
        added = d * added + 1
    assert sp.simplify(added - (1 - d**5) / (1 - d)) == 0


@evidence("TRN-1", "TRN-2", kind="property")
@over_rationals
@given(history=st.lists(weights, min_size=1, max_size=10), d=decays)
def test_recursion_over_the_rationals(history: list[Fraction], d: Fraction) -> None:
    """TRN-1: the average is the weighted mean, is in the range of the weights, and preserves constant weights."""
    a = history[0]
    for w in history[1:]:
        a = d * a + (1 - d) * w
    n = len(history) - 1
    assert a == d**n * history[0] + (1 - d) * sum(d ** (n - i) * history[i] for i in range(1, n + 1))
    assert min(history) <= a <= max(history)
    constant = history[0]
    for _ in range(5):
        constant = d * constant + (1 - d) * history[0]
    assert constant == history[0]


@evidence("TRN-1", kind="symbolic")
def test_warm_ups_have_closed_forms() -> None:
    """TRN-1: k/(k + 1) gives the mean of all; a product of (1 + k)/(m + k) telescopes; each weight has its share."""
    w = sp.symbols("w0:6")
    a: Any = w[0]
    for k in range(1, 6):
        a = sp.Rational(k, k + 1) * a + (1 - sp.Rational(k, k + 1)) * w[k]
    assert sp.expand(a - sum(w) / 6) == 0
    n, m = 7, sp.Symbol("m", positive=True)
    product = sp.prod([(1 + k) / (m + k) for k in range(1, n + 1)])
    assert sp.simplify(product - sp.factorial(n + 1) * sp.gamma(m + 1) / sp.gamma(m + n + 1)).expand(func=True) == 0
    d = sp.symbols("d1:6")
    b: Any = w[0]
    for k in range(1, 6):
        b = d[k - 1] * b + (1 - d[k - 1]) * w[k]
    shares = [sp.prod(d), *((1 - d[j]) * sp.prod(d[j + 1 :]) for j in range(5))]
    assert sp.expand(b - sum(share * weight for share, weight in zip(shares, w, strict=True))) == 0
    assert sp.expand(sum(shares) - 1) == 0


@evidence("TRN-1", kind="property")
@over_rationals
@given(
    history=st.lists(weights, min_size=2, max_size=8),
    offset=st.integers(1, 20),
    after=st.integers(0, 4),
    d=st.fractions(min_value=0, max_value=Fraction(99, 100), max_denominator=100),
)
def test_rules_over_the_rationals(history: list[Fraction], offset: int, after: int, d: Fraction) -> None:
    """TRN-1: the decays of the oracle are those of the rules; `Power` of exponent 1 is a ratio, and copies first."""
    n = len(history) - 1
    rules = {
        "ratio": [min(d, Fraction(1 + k, offset + k)) for k in range(1, n + 1)],
        "power": [min(d, 1 - 1 / (1 + Fraction(max(k - after, 0), 2))) for k in range(1, n + 1)],
        "equal": [Fraction(k, k + 1) for k in range(1, n + 1)],
    }
    found = {
        "ratio": oracle.ratio(float(d), n, float(offset)),
        "power": oracle.power(float(d), n, 2.0, 1.0, 0.0, after),
        "equal": oracle.equal(n),
    }
    for name, exact in rules.items():
        assert all(abs(float(one) - float(other)) <= 2.0**-52 for one, other in zip(found[name], exact, strict=True))
        average = history[0]
        for kept, w in zip(exact, history[1:], strict=True):
            average = kept * average + (1 - kept) * w
        assert min(history) <= average <= max(history)
        values = np.array([[float(w)] for w in history])
        value, residual = averaged(found[name], values)
        assert abs(value[-1, 0] + residual[-1, 0] - float(average)) <= 1e-12
    assert rules["power"][:after] == [0] * min(after, n)


@evidence("TRN-1", kind="certified")
@pytest.mark.parametrize("rule", [Ratio(), Power(power=0.75, after=3), Power(inv_gamma=2.0, least=0.2), Equal()])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_decays_in_the_dtype_are_within_tolerance(dtype: DType, rule: DecayRule) -> None:
    """TRN-1: decays of a rule that are computed in the dtype, and then the step, are within the tolerance."""
    fmt, rng, n = FORMATS[dtype], np.random.default_rng(1), 60
    number = fmt.storage.type
    k = np.arange(1, n + 1).astype(fmt.storage)
    history = fmt.rounded(1.0 + np.cumsum(rng.standard_normal((n + 1, 4)), axis=0))
    for decay in (0.5, 0.99):
        if isinstance(rule, Ratio):
            d = np.minimum(number(decay), (number(1) + k) / (number(rule.offset) + k))
        elif isinstance(rule, Power):
            later = np.maximum(k - number(rule.after), number(0)) / number(rule.inv_gamma)
            risen = number(1) - (number(1) + later) ** -number(rule.power)
            d = np.where(later > 0, np.clip(np.maximum(risen, number(rule.least)), 0, number(decay)), number(0))
        else:
            d = k / (k + number(1))
        rows = [history[0]]
        for kept, row in zip(d.astype(fmt.storage), history[1:], strict=True):
            rows.append(FORMS["difference from a"](kept, rows[-1], row))
        exact = rule_decays(rule, decay, n)
        expected, residual = averaged(exact, history)
        error = np.abs(np.stack(rows).astype(np.float64) - expected - residual)
        assert np.all(error <= recursion_bound(exact, history, fmt, decay_roundings(rule)))


@evidence("TRN-1", kind="certified")
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_right_forms_are_within_tolerance(dtype: DType, name: str) -> None:
    """TRN-1: three forms of the step, each operation rounded in the dtype, are within two thirds of the tolerance.

    This holds in float16 with a long memory too, although the average does not change there (TRN-3).
    """
    fmt, rng, most = FORMATS[dtype], np.random.default_rng(0), 0.0
    for decay in (0.0, 0.3, 0.5, 0.9, 0.99, 0.9999):
        for scale in (2.0**-12, 1.0, 100.0):
            history = fmt.rounded(scale * (1.0 + np.cumsum(rng.standard_normal((200, 4)), axis=0)))
            expected, residual = averaged(decay, history)
            error = np.abs(average(FORMS[name], decay, history).astype(np.float64) - expected - residual)
            bound = recursion_bound(decay, history, fmt)
            assert np.all(error[0] == 0.0)
            most = max(most, float(np.max(error[1:] / bound[1:])))
    assert most < 2 / 3


@evidence("TRN-2", kind="exhaustive")
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 0.9999])
def test_difference_forms_preserve_every_constant(decay: float) -> None:
    """TRN-2: a + (1 - d)(w - a) and w + d (a - w) preserve every finite float16 constant; d a + (1 - d) w does not.

    At d = 0.9999, which is 1 in float16, all forms preserve every constant, but never change a.
    """
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    d = np.float16(decay)
    for name in ("difference from a", "difference from w"):
        assert np.array_equal(FORMS[name](d, every, every), every)
    with np.errstate(all="ignore"):
        changed = ~np.equal(FORMS["sum"](d, every, every), every)
    assert changed.any() or decay in (0.0, 0.9999)


@evidence("TRN-2", kind="property")
def test_sum_form_drifts() -> None:
    """TRN-2: of 20,000 constant float32 weights, a fifth drift in the form d a + (1 - d) w, at d = 0.9999.

    1 - d is computed in binary64 and then rounded, as for a Python number, so the coefficients do not sum to 1. The
    largest drift is 1.66e-4. The drift stops when a step changes a weight by less than half an ulp. TRN-1 allows more
    than 20 times this drift, so the form passes it and gives an accuracy warning. At d = 0.999 the drift stops at step
    215, and the largest is 1.3e-5.
    """
    w = np.random.default_rng(0).random(20_000).astype(np.float32)
    for decay, largest, stop in ((0.9999, 1.66e-4, 2752), (0.999, 1.3e-5, 215)):
        a, d, complement, last = w.copy(), np.float32(decay), np.float32(1 - decay), 0
        for step in range(1, 4001):
            after = d * a + complement * w
            last = step if not np.array_equal(after, a) else last
            a = after
        drift = np.abs(a.astype(np.float64) / w - 1.0)
        assert abs(drift.max() / largest - 1.0) < 0.01
        assert last == stop
        assert 0.75 < np.mean(a == w) < 0.87
        assert drift.mean() < 0.12 * largest
        assert drift.max() < 7 * 2.0**-24 * (1 - decay**4000) / (1 - decay)


@evidence("TRN-3", kind="symbolic")
def test_distance_after_a_jump() -> None:
    """TRN-3: b - a_n = d^n (b - a), by induction; a moves by at least 0.95 (1 - d) n (b - a) if n (1 - d) <= 1/10."""
    d, a, b, n = sp.symbols("d a b n", positive=True)
    after = b - d**n * (b - a)
    assert sp.expand(d * after + (1 - d) * b - (b - d ** (n + 1) * (b - a))) == 0
    assert after.subs(n, 0) == a
    x = sp.Symbol("x", positive=True)
    # (1 - x/n)^n <= exp(-x), and 1 - exp(-x) >= x - x^2/2.
    assert sp.simplify((x - x**2 / 2) / x).subs(x, sp.Rational(1, 10)) == sp.Rational(19, 20)


@evidence("TRN-3", kind="property")
@pytest.mark.parametrize("name", FORMS)
def test_average_follows_a_jump_in_float32_and_not_in_float16(name: str) -> None:
    """TRN-3: after a jump from a to b, the error is at most 0.1 of the tolerance in float32, at least 5 in float16.

    In float16, d = 0.9999 rounds to 1, so 1 - d is 0. Even with 1 - d from binary64, (1 - d)(b - a) is below half an
    ulp of a.
    """
    start, end, decay, steps = np.array([1.0, 1.0, -1.0]), np.array([2.0, 0.5, 1.0]), 0.9999, 1000
    expected = end - decay**steps * (end - start)
    for fmt, least, largest in ((FORMATS["float32"], 0.0, 0.1), (FORMATS["float16"], 5.0, np.inf)):
        jump = fmt.rounded(np.concatenate([start[None], np.repeat(end[None], steps, axis=0)]))
        error = np.abs(average(FORMS[name], decay, jump)[-1].astype(np.float64) - expected)
        ratio = error / movement_bound(decay**steps, start, end, fmt)
        assert np.all((least <= ratio) & (ratio <= largest))
    one, two, complement = np.float16(1), np.float16(2), np.float16(1 - 0.9999)
    assert one + complement * (two - one) == one


@evidence("TRN-4", "TRN-5", kind="symbolic")
def test_excess_loss_is_the_error_of_the_score() -> None:
    """TRN-5: for N(m, s^2) data and any affine eps_hat, the excess loss is sigma^2 E (s_hat - s)^2."""
    a, v, s2, m, p, q = sp.symbols("a v s2 m p q", positive=True)
    u, e = sp.symbols("u e", real=True)

    def mean(f: Any) -> Any:
        """Return the expectation over independent u, e ~ N(0, 1) of a polynomial of degree 2 in each."""
        moments = {0: 1, 1: 0, 2: 1}
        return sum(c * moments[i] * moments[j] for (i, j), c in sp.Poly(sp.expand(f), u, e).terms())

    x_t = a * (m + sp.sqrt(s2) * u) + sp.sqrt(v) * e
    spread = a**2 * s2 + v
    best = sp.sqrt(v) * (x_t - a * m) / spread
    eps_hat = p * x_t + q
    score, s_hat = -best / sp.sqrt(v), -eps_hat / sp.sqrt(v)
    loss, least = mean((eps_hat - e) ** 2), mean((best - e) ** 2)
    assert sp.simplify(loss - least - v * mean((s_hat - score) ** 2)) == 0
    assert sp.simplify(least - (1 - v * mean(score**2))) == 0


@evidence("TRN-4", "TRN-5", kind="quadrature")
@pytest.mark.parametrize("t", optimum.SHARES[::5].tolist())
def test_excess_loss_over_pairs_and_over_the_marginal(t: float) -> None:
    """TRN-4: the loss over pairs (x_0, eps) minus the irreducible loss is sigma^2 E (s_hat - s)^2 over x_t."""
    alpha, variance = linear_scales(t)
    for predict in (
        optimum.best(optimum.DATA, alpha**2, variance),
        np.tanh,
        optimum.best(optimum.DATA, alpha, variance),
    ):
        by_pairs = optimum.loss(predict, alpha, variance) - optimum.least(alpha, variance)
        assert abs(by_pairs - optimum.score_error(predict, alpha, variance)) < 1e-4


@evidence("TRN-4", "TRN-5", kind="quadrature")
def test_tolerances_are_below_half_the_mildest_fault() -> None:
    """TRN-4: sigma^2 in place of sigma, the mildest fault in the table, has more than twice both tolerances."""
    found: list[float] = []
    for t in optimum.SHARES.tolist():
        alpha, variance = linear_scales(t)
        if variance >= optimum.LEAST:
            found.append(optimum.score_error(_variance_for_deviation(alpha, variance), alpha, variance))
    assert np.mean(found) > 2 * optimum.LOSS
    assert max(found) > 2 * optimum.SCORE


def _variance_for_deviation(alpha: float, variance: float) -> optimum.Predict:
    """Return the best denoiser for x_t = alpha x_0 + sigma^2 eps: the effect of sigma^2 in place of sigma."""
    law = optimum.DATA.noised(alpha, variance**2)
    return lambda x: -variance * law.score(x)


@evidence("TRN-6", kind="symbolic")
def test_flow_maps_quantiles_to_quantiles() -> None:
    """TRN-6: for N(m, s^2) data, the quantile x = alpha m + sqrt(V) z, z fixed, solves dx/dt = -beta (x + score)/2."""
    b, alpha, v, m, z = sp.symbols("b alpha V m z", positive=True)
    x = alpha * m + sp.sqrt(v) * z
    # alpha' = -b alpha/2 and V' = b (1 - V).
    slope = sp.diff(x, alpha) * (-b * alpha / 2) + sp.diff(x, v) * b * (1 - v)
    assert sp.simplify(slope + b / 2 * (x - (x - alpha * m) / v)) == 0


@evidence("TRN-6", kind="quadrature")
def test_sampling_converges_with_the_best_denoiser_only() -> None:
    """TRN-6: with the best eps_hat, the distance is 0.006 for 64 steps and halves with the step, up to 1/800.

    1/800 is the resolution of the quantiles. With the best affine eps_hat, the distance is 0.22 for any step.
    """
    best, affine = [], []
    for steps in (64, 128, 256):
        scales = [linear_scales(float(t)) for t in np.linspace(0.95, 0.1, steps + 1)]
        best.append(optimum.flow_distance([optimum.best(optimum.DATA, a, v) for a, v in scales[:-1]], scales))
        affine.append(optimum.flow_distance([_affine(a, v) for a, v in scales[:-1]], scales))
    assert best[0] < 0.0065
    for coarse, fine in itertools.pairwise(best):
        assert abs(fine - coarse / 2) < 1 / 800
    assert min(affine) > 4 * optimum.LAW


def _affine(alpha: float, variance: float) -> optimum.Predict:
    """Return the best affine eps_hat for the data `optimum.DATA`."""
    mean, spread = 0.45, 0.3 * (0.25 + 2.45**2) + 0.7 * (0.16 + 1.05**2)

    def predict(x: Floats) -> Floats:
        return np.asarray(np.sqrt(variance) * (x - alpha * mean) / (alpha**2 * spread + variance))

    return predict
