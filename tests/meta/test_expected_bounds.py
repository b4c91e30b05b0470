"""Expected noised data, guided predictions and posteriors, and their bounds, at points worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Chain
from tests.meta.hand import FINE, HALF, JUDGE, LEAST, U, same, says, scales
from validation.expected.guided import guided
from validation.expected.marginal import noised
from validation.expected.posteriors import coefficients, posterior, tolerances_at, tolerances_of
from validation.expected.propagation import propagated

CHAIN = Chain(betas=(3 / 4, 15 / 16))
"""alpha_bar = 1/4, 1/64 and alpha = 1/2, 1/8."""


@pytest.mark.parametrize(
    ("w", "value", "size", "smallest"),
    [
        (0.0, [-5.0, 0.0], [8.0, 0.0], 8.0),  # |w| + |1 - w| = 1, |c| + |u| = 8
        (1.0, [3.0, 0.0], [8.0, 0.0], 8.0),
        (0.25, [-3.0, 0.0], [8.0, 0.0], 8.0),  # -5 + 8/4
        (3.0, [19.0, 0.0], [40.0, 0.0], 24.0),  # -5 + 3 * 8, (3 + 2) * 8
        (-2.0, [-21.0, 0.0], [40.0, 0.0], 16.0),  # -5 - 2 * 8, (2 + 3) * 8
    ],
)
def test_guided_prediction(w: float, value: list[float], size: list[float], smallest: float) -> None:
    """SMP-9: u + w (c - u), within 5u (|w| + |1 - w|)(|c| + |u|) and 8 max(1, |w|) of the smallest number."""
    c, u = np.array([3.0, 0.0]), np.array([-5.0, 0.0])
    says(guided(c, u, w, HALF), value, 5.0 * U * np.array(size) + smallest * LEAST)


def test_guided_prediction_keeps_what_binary64_cannot_hold() -> None:
    """SMP-9: value and residual together are exact: u/2 + c/2 of 1 and 2^-55 has the residual 2^-56."""
    found = guided(np.array([1.0]), np.array([2.0**-55]), 0.5, FORMATS["float64"])
    assert (found.value[0], found.residual[0]) == (0.5, 2.0**-56)


def test_noised_data() -> None:
    """MAR-4: alpha x_0 + sigma eps within |x_0| d_alpha + |eps| d_sigma + 4u of the terms, and a smallest number."""
    at = scales([0.6, 0.5], [0.8, 0.25], [2.0**-7, 2.0**-8], [2.0**-9, 2.0**-10])
    x_0, eps = np.array([[5.0, -10.0, 0.0], [2.0, 0.0, 4.0]]), np.array([[-5.0, 15.0, 0.0], [8.0, 4.0, 0.0]])
    value = [[3.0 - 4.0, -6.0 + 12.0, 0.0], [1.0 + 2.0, 1.0, 2.0]]
    terms = np.array([[7.0, 18.0, 0.0], [3.0, 1.0, 2.0]])
    moved = np.array(
        [
            [5 * 2.0**-7 + 5 * 2.0**-9, 10 * 2.0**-7 + 15 * 2.0**-9, 0.0],
            [2 * 2.0**-8 + 8 * 2.0**-10, 4 * 2.0**-10, 4 * 2.0**-8],
        ]
    )
    says(noised(x_0, eps, at, HALF), value, moved + (4.0 * U + JUDGE) * terms + LEAST)
    double = FORMATS["float64"]  # There the suite's own arithmetic has 8u, so that the terms count with 12u.
    says(noised(x_0, eps, scales([0.6, 0.5], [0.8, 0.25]), double), value, 12.0 * 2.0**-53 * terms + 2.0**-1074)


# alpha_s = 4/5 and alpha_t = 2/5: alpha_t|s = 1/2, sigma_t|s^2 = 3/4, sigma_s^2 = 9/25, sigma_t^2 = 21/25,
# V = (9/25)(3/4)/(21/25) = 9/28 and B = (1/2)(9/25)/(21/25) = 3/14. An error d of one alpha_bar is e = (1 + 25/16) d.
ALPHAS, VARIANCES = (np.array([0.8]), np.array([0.4])), (np.array([0.36]), np.array([0.84]))
BEFORE = np.array([True])


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.25, 0.75)])
def test_bounds_of_a_posterior(shares: tuple[float, float]) -> None:
    """MAR-7: V within 2e(sigma_t|s^2 + sigma_s^2 + V)/sigma_t^2 + 4u V, A and B within their first order.

    2 (3/4 + 9/25 + 9/28)/(21/25) = 167/49; (4/(21/25) + 1/((3/14)(21/25)))/(1/2) = 1300/63; the variance of the
    transition, which MAR-7 leaves to SMP-2, within 2e + 4u 3/4.
    """
    e = 2.0**-16
    d_s, d_t = (np.array([share * e * 16 / 41]) for share in shares)
    found = tolerances_of(BEFORE, ALPHAS, VARIANCES, (d_s, d_t), HALF)
    same(found.variance, [167 / 49 * e + 9 / 7 * U])
    same(found.coefficient, [1300 / 63 * e])
    same(found.added, [2.0 * e + 3.0 * U])
    assert found.domain.tolist() == [True]


def test_bound_of_a_posterior_takes_the_smaller_error_of_the_root() -> None:
    """MAR-7: for e = sigma_t^2 the root is wrong by sqrt(e)/sigma_t = 1, and not by e/(B sigma_t^2) = 14/3."""
    d = np.array([0.84 * 16 / 41])
    found = tolerances_of(BEFORE, ALPHAS, VARIANCES, (d, 0.0 * d), FINE)
    same(found.coefficient, [(4.0 + 1.0) / 0.5])
    same(found.variance, [167 / 49 * 0.84])
    assert found.domain.tolist() == [False]


def test_bound_of_a_posterior_where_the_signal_ends() -> None:
    """MAR-7: where alpha_t = 0, B is 0, and nothing is divided by alpha_t|s: 4e + sqrt(e), and V = sigma_s^2."""
    e = 2.0**-16
    d, ones = np.array([e * 16 / 41]), np.ones(1)
    found = tolerances_of(BEFORE, (ALPHAS[0], 0.0 * ones), (VARIANCES[0], ones), (d, 0.0 * d), HALF)
    same(found.coefficient, [4.0 * e + 2.0**-8])
    same(found.variance, [2.0 * e * (1.0 + 0.36 + 0.36) + 4.0 * U * 0.36])
    same(found.added, [2.0 * e + 4.0 * U])


def test_domain_of_a_posterior() -> None:
    """MAR-7: the domain is s < t and 8e <= sigma_t^2; with alpha_s = 1 and d = 1/64 twice, e is 1/16."""
    v_t = np.array([0.5, 0.5 - 2.0**-40, 0.5, 0.5 + 2.0**-40])
    ordered = np.array([True, True, False, True])
    ones, d = np.ones(4), np.full(4, 1.0 / 64.0)
    found = tolerances_of(ordered, (ones, 0.75 * ones), (0.0 * ones, v_t), (d, d), HALF)
    assert found.domain.tolist() == [True, False, False, True]


def test_bounds_of_the_posterior_of_a_known_process() -> None:
    """MAR-7: the uncertainties are delta of alpha_bar at s and at t: of the chain 21.25u and 15.40625u.

    12u (1 + 3/4) + u/4, and 12u (1 + 18/64) + 2u/64. e = (1 + 4) 36.65625u = 183.28125u at s = 1, t = 2.
    """
    fmt = FORMATS["float32"]
    s, t = np.array([1, 0, 2, 2]), np.array([2, 1, 1, 2])
    found = tolerances_at(CHAIN, s, t, fmt)
    assert found.domain.tolist() == [True, True, False, False]
    # sigma_t|s^2 = 15/16, sigma_s^2 = 3/4, V = 5/7, sigma_t^2 = 63/64. From k = 1 to 0, e = (1 + 1)(12u + 21.25u), and
    # V = 0, sigma_t|s^2 = sigma_t^2 = 3/4.
    e, u = 183.28125 * 2.0**-24, 2.0**-24
    same(found.variance[:2], [2.0 * e * (15 / 16 + 3 / 4 + 5 / 7) * 64 / 63 + 20 / 7 * u, 133.0 * u])
    same(found.added[:2], [2.0 * e + 15 / 4 * u, 133.0 * u + 3.0 * u])


def test_coefficients_of_a_posterior() -> None:
    """MAR-7: A = alpha_s sigma_t|s^2/sigma_t^2, B = alpha_t|s sigma_s^2/sigma_t^2, V = sigma_s^2 sigma_t|s^2/sigma_t^2.

    From k = 2 to 1: (1/2)(15/16)/(63/64), (1/4)(3/4)/(63/64) and (3/4)(15/16)/(63/64). To k = 0 it is x_0.
    """
    q = coefficients(CHAIN, np.array([1, 0]), np.array([2, 1]))
    same(q.on_x_0, [10 / 21, 1.0])
    same(q.on_x_t, [4 / 21, 0.0])
    same(q.variance, [5 / 7, 0.0])
    same(q.added, [15 / 16, 3 / 4])


def test_mean_and_variance_of_a_posterior() -> None:
    """MAR-7: the mean is A x_0 + B x_t, within the bound of a coefficient times |x_0| + |x_t|."""
    s, t = np.array([1, 0]), np.array([2, 1])
    limits = tolerances_at(CHAIN, s, t, HALF)
    x_0, x_t = np.array([[21.0, -42.0], [3.0, 0.0]]), np.array([[-21.0, 63.0], [5.0, 2.0]])
    mean, variance = posterior(CHAIN, s, t, x_0, x_t, limits)
    sizes = np.array([[42.0, 105.0], [8.0, 2.0]])
    says(mean, [[10.0 - 4.0, -20.0 + 12.0], [3.0, 0.0]], limits.coefficient[:, None] * sizes)
    says(variance, [5 / 7, 0.0], limits.variance)


def test_propagated_error() -> None:
    """SMP-1, SMP-4: a sum of terms, within 8/7 sum |d/dq| dq + 12u sum |term|, and 4 of the smallest number.

    6 a^2 - b/c at a = 1/2, b = 3, c = 4: 3/2 - 3/4, and the derivatives are 6, -1/4 and 3/16.
    """

    def terms(q: Any) -> tuple[Any, ...]:
        return 6.0 * q["a"] ** 2, -q["b"] / q["c"]

    one = np.ones(1)
    for index, slope in enumerate([6.0, 1 / 4, 3 / 16]):
        d = [2.0**-8 * one if i == index else 0.0 * one for i in range(3)]
        known = {"a": (0.5 * one, d[0]), "b": (3.0 * one, d[1]), "c": (4.0 * one, d[2])}
        rounded = (12.0 * U + JUDGE) * 9 / 4 + 4.0 * LEAST
        says(propagated(terms, known, HALF, 12.0), [0.75], [8 / 7 * slope * 2.0**-8 + rounded])
    double = FORMATS["float64"]
    known = {name: (value, 0.0 * one) for name, (value, _) in known.items()}
    says(propagated(terms, known, double, 12.0), [0.75], [20.0 * 2.0**-53 * 9 / 4 + 4.0 * 2.0**-1074])
    zero = {name: (0.0 * one + (name == "c"), 0.0 * one) for name in "abc"}
    says(propagated(terms, zero, HALF, 12.0), [0.0], [4.0 * LEAST])
