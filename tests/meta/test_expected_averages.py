"""Expected averages of weights, orders of convergence and integrals, and their bounds, at points worked out by hand."""

from __future__ import annotations

from math import inf, isnan, log2, nan
from typing import Any

import numpy as np
import pytest

from refdiff.conformance.averaging import DecayRule, Equal, Power, Ratio
from tests.meta.hand import HALF, LEAST, U, same, scales
from validation.expected.averages import decay_roundings, decays, movement_bound, recursion_bound
from validation.expected.convergence import largest_order, rounding_of_run, rounding_of_step
from validation.expected.integral import romberg
from validation.oracles.gaussian import Gaussian

WEIGHTS = np.array([[1.0, -2.0], [-3.0, 1.0], [2.0, 0.0], [4.0, 8.0]])
LARGEST = np.array([[1.0, 2.0], [3.0, 2.0], [3.0, 2.0], [4.0, 8.0]])
"""max |w_i| over i <= k."""


@pytest.mark.parametrize(
    ("rule", "decay", "expected"),
    [
        (None, 0.75, [0.75, 0.75, 0.75]),
        (Ratio(offset=3.0), 0.55, [2 / 4, 0.55, 0.55]),  # (1 + k)/(3 + k) is 2/4, 3/5, 4/6
        # 1 - 1/(1 + (k - 1)/2) is 1/3, 1/2, 3/5, 2/3 from k = 2 on, which least raises, and d limits.
        (Power(inv_gamma=2.0, power=1.0, least=0.4, after=1), 0.625, [0.0, 0.4, 1 / 2, 3 / 5, 0.625]),
        (Equal(), 0.1, [1 / 2, 2 / 3, 3 / 4]),
    ],
)
def test_decays_of_a_rule(rule: DecayRule | None, decay: float, expected: list[float]) -> None:
    """TRN-1: the decays are those of the table of chapter 8."""
    same([float(d.mid()) for d in decays(rule, decay, len(expected))], expected)


@pytest.mark.parametrize(
    ("rule", "roundings"), [(None, 0.0), (Ratio(), 2.0), (Equal(), 2.0), (Power(power=0.75), 4.5), (Power(power=2), 7)]
)
def test_roundings_of_a_decay(rule: DecayRule | None, roundings: float) -> None:
    """TRN-1: c is 0 for a given decay, 2 for Ratio and Equal, and 2 power + 3 for Power."""
    assert decay_roundings(rule) == roundings


@pytest.mark.parametrize(
    ("kept", "n"),
    [
        (0.5, [0.0, 1.0, 1.5, 1.75]),
        ([0.5, 0.25, 0.75], [0.0, 1.0, 1.25, 1.9375]),  # 1/4 + 1, 3/4 * 5/4 + 1
    ],
)
def test_bound_of_the_recursion(kept: Any, n: list[float]) -> None:
    """TRN-1: the bound is (7 + 2c) u n_k max |w_i| and k + 1 of the smallest number, and a_0 is exact."""
    steps, smallest = np.array(n)[:, None], np.array([0.0, 2.0, 3.0, 4.0])[:, None] * LEAST
    same(recursion_bound(kept, WEIGHTS, HALF), 7.0 * U * steps * LARGEST + smallest)
    same(recursion_bound(kept, WEIGHTS, HALF, roundings=1.5), 10.0 * U * steps * LARGEST + smallest)
    same(recursion_bound(kept, 0.0 * WEIGHTS, HALF), np.broadcast_to(smallest, (4, 2)))


def test_bound_of_a_movement() -> None:
    """TRN-3: the bound is a tenth of (1 - d^n)|b - a| and u max(|a|, |b|), whichever of the two is the larger."""
    start, end = np.array([2.0, -7.0, 0.0]), np.array([10.0, -3.0, 0.0])
    same(movement_bound(0.25, start, end, HALF), [0.6 + 10.0 * U, 0.3 + 7.0 * U, 0.0])
    same(movement_bound(0.75, start, end, HALF), [0.2 + 10.0 * U, 0.1 + 7.0 * U, 0.0])


@pytest.mark.parametrize(
    ("errors", "floors", "order", "last"),
    [
        ([8, 4, 2], [0, 0, 0], 1.0, 2),
        ([32, 16, 8, 4, 2], [0, 0, 0, 0, 0], 1.0, 4),
        ([32, 16, 8, 4, 2], [0, 0, 0, 0, 9], 1.0, 3),
        ([16, 8, 4, 1], [0, 0, 0, 1 / 8], log2(32 / 7) + 1.0, 3),  # 4/(1 - 1/8), and slopes of 1 and 2
        ([16, 8, 4, 1], [0, 0, 0, 1 / 8 + 2.0**-20], 1.0, 2),  # more than an eighth
        ([16, 8, 4], [0, 1, 1], log2(3.0), 2),  # none is clear: (8 + 1)/(4 - 1)
        ([16, 8, 1], [0, 0, 0.25], log2(8 / 0.75) + 2.0, 2),  # slopes of 1 and 3
        ([16, 1, 4], [9, 2, 1], 0.0 + 4.0, 2),  # an error below its floor counts as the floor: slopes of 3 and -1
        ([1, 4, 2], [9, 2, 1], log2(6.0) + 2.0, 2),  # the first as the second floor: slopes of -1 and 1
        ([16, 8, 1], [0, 0, 1], inf, 2),
        ([16, 8, 1], [0, 0, 2], inf, 2),
    ],
)
def test_largest_order(errors: list[float], floors: list[float], order: float, last: int) -> None:
    """SMP-11: the largest order is p_2 + |p_2 - p_1| at the last three errors clear of rounding, in any unit."""
    for unit in (1.0, 2.0**-20, 2.0**20):
        found, index = largest_order([unit * error for error in errors], [unit * floor for floor in floors])
        assert found == pytest.approx(order, rel=1e-13)
        assert index == last


@pytest.mark.parametrize("error", [nan, inf, -inf])
def test_no_order_of_what_is_no_number(error: float) -> None:
    """SMP-11: an error that is no finite number has the order NaN, and the last index."""
    found, index = largest_order([8.0, error, 2.0, 1.0], [0.0] * 4)
    assert isnan(found)
    assert index == 3


# Data of the variance 1: S = 1 where alpha^2 + sigma^2 = 1. From alpha = 3/5, sigma = 4/5 to 4/5, 3/5:
# x_s = 4/3 (x_t - 4/5 eps) + 3/5 eps, of m = 1, z = -1 with |x_t| <= 3/5 + 1, |eps| = 4/5, terms 4/3 (8/5 + 16/25) =
# 224/75 and 12/25; of m = -2, z = 1/2 with |x_t| <= 6/5 + 1/2, |eps| = 2/5, terms 202/75 and 6/25. The scales are
# relative errors of the terms that they are in; 12 u of the terms; and all of it twice.
DATA, Z = Gaussian(np.array([1.0, -2.0]), np.ones(2)), np.array([-1.0, 0.5])
DAUB = 2.0**-10


@pytest.mark.parametrize(
    ("index", "moved"),
    [(0, [448 / 45, 404 / 45]), (1, [32 / 15, 16 / 15]), (2, [112 / 15, 101 / 15]), (3, [8 / 5, 4 / 5])],
)
def test_a_step_moves_by_each_scale(index: int, moved: list[float]) -> None:
    """SMP-11: rounding moves a step by twice what each of alpha_t, sigma_t, alpha_s and sigma_s moves it."""
    d = [DAUB if i == index else 0.0 for i in range(4)]
    found = rounding_of_step(DATA, Z, scales(0.6, 0.8, *d[:2]), scales(0.8, 0.6, *d[2:]), 0.0)
    same(found, DAUB * np.array(moved))


def test_roundings_of_a_step() -> None:
    """SMP-11: twice twelve roundings of each term, 260/75 and 220/75 in all."""
    same(rounding_of_step(DATA, Z, scales(0.6, 0.8), scales(0.8, 0.6), U), U * np.array([416 / 5, 352 / 5]))


@pytest.mark.parametrize(("index", "moved"), [(0, [0.0, 0.0]), (1, [8 / 5, 16 / 5]), (2, [2.0, 4.0]), (3, [2.0, 1.0])])
def test_a_step_from_pure_noise_moves_by_each_scale(index: int, moved: list[float]) -> None:
    """SMP-11: at alpha_t = 0, x_0_hat is the mean, and nothing is divided by alpha: terms 4/5 |m| and 3/5 |z|."""
    d = [DAUB if i == index else 0.0 for i in range(4)]
    found = rounding_of_step(DATA, Z, scales(0.0, 1.0, *d[:2]), scales(0.8, 0.6, *d[2:]), 0.0)
    same(found, DAUB * np.array(moved))


def test_roundings_of_a_step_from_pure_noise() -> None:
    """SMP-11: 24 u (4/5 + 3/5) and 24 u (8/5 + 3/10)."""
    same(rounding_of_step(DATA, Z, scales(0.0, 1.0), scales(0.8, 0.6), U), U * np.array([168 / 5, 228 / 5]))


def test_rounding_is_carried_along_the_flow() -> None:
    """SMP-11: rounding of earlier steps is carried on by S_s/S_t.

    Of a point S = sigma: 4/5, 3/5, 7/25. An error d of the second sigma moves the first step by 2d |z|, and the second
    by 2 (24/25)/(4/5) d |z| = 12/5 d |z|; the first is carried on by 7/15.
    """
    points, d = Gaussian(np.array([1.0, -2.0]), np.zeros(2)), DAUB
    at = scales([0.6, 0.8, 0.96], [0.8, 0.6, 0.28], 0.0, [0.0, d, 0.0])
    same(rounding_of_run(points, Z, at, 0.0), np.outer([0.0, 2.0, 10 / 3], d * np.abs(Z)))


def test_romberg_integrates_polynomials() -> None:
    """SCH-3, SDE-4: 7 x^6 is integrated to x^7 over 16, 32 and 64 intervals, by every node and by every other."""
    found, error = romberg(7.0 * np.linspace(0.0, 4.0, 65) ** 6, 1.0 / 16.0)
    same(found, [1.0, 2.0**7, 4.0**7])
    assert np.max(error / found) < 1e-13


def test_romberg_differs_where_neighbours_do() -> None:
    """SCH-3, SDE-4: the error is the difference to the rule on every other node.

    For 0 at even nodes and 1 at odd ones every trapezoidal sum but the finest is 0, and the finest is half the length;
    the extrapolations of 2^m intervals multiply it by 4/3, 16/15, ... up to 4^m/(4^m - 1).
    """
    odd = np.arange(65.0) % 2
    grown = [np.prod([4.0**j / (4.0**j - 1.0) for j in range(1, m + 1)]) for m in (4, 5, 6)]
    halves = 0.25 * np.array([8.0, 16.0, 32.0]) * grown
    for values, value in ((odd, halves), (1.0 - odd, np.array([4.0, 8.0, 16.0]) - halves)):
        found, error = romberg(values, 0.25)
        same(found, value)
        same(error, halves)
