"""Expected conversions and their bounds at points worked out by hand (chapters 4 and 11).

At alpha = 1/2, sigma = 1/4, x_t = 3 and the value 5 every term is a short binary fraction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Parameterization
from tests.meta.hand import FINE, HALF, JUDGE, LARGEST, LEAST, U, same, says, scales
from validation.expected.conversions import (
    Pair,
    converted,
    divisor_lost,
    formed,
    magnitude,
    parts,
    parts_of,
    sensitivity,
    ways,
)

X, V = np.array([[3.0]]), np.array([[5.0]])
D = 2.0**-10

# From, to: the value, the sum of the magnitudes of the terms, the slopes by alpha, sigma and the value, and S' of
# chapter 11: the largest of the ways through the other two predictions, with the prediction of the largest.
TABLE: list[tuple[Parameterization, Parameterization, float, float, float, float, float, float, Parameterization]] = [
    ("eps", "x_0", 6.0 - 2.5, 8.5, 7.0, 10.0, 0.5, 6.0 + 20.0 / 8, "score"),  # (x - sigma v)/alpha
    ("score", "x_0", 6.0 + 0.625, 6.625, 13.25, 5.0, 0.125, 6.0 + 1.25 / 2, "eps"),  # (x + sigma^2 v)/alpha
    ("v", "x_0", 1.5 - 1.25, 2.75, 3.0, 5.0, 0.25, 6.0 + 3.25 / 2, "eps"),  # alpha x - sigma v
    ("x_0", "eps", 12.0 - 10.0, 22.0, 20.0, 8.0, 2.0, 88.0 / 4, "score"),  # (x - alpha v)/sigma
    ("v", "eps", 0.75 + 2.5, 3.25, 5.0, 3.0, 0.5, 12.0 + 2.0 * 2.75, "x_0"),  # sigma x + alpha v
    ("score", "eps", -1.25, 1.25, 0.0, 5.0, 0.25, 12.0 + 2.0 * 6.625, "x_0"),  # -sigma v
    ("eps", "v", 10.0 - 1.5, 11.5, 17.0, 6.0, 2.0, 6.0 + 4.0 * 8.5, "x_0"),  # (v - sigma x)/alpha
    ("x_0", "v", 6.0 - 20.0, 26.0, 12.0, 56.0, 4.0, 1.5 + 2.0 * 22.0, "eps"),  # (alpha x - v)/sigma
    ("score", "v", -2.5 - 1.5, 4.0, 8.0, 16.0, 0.5, 6.0 + 4.0 * 6.625, "x_0"),  # (-sigma v - sigma x)/alpha
    ("eps", "score", -20.0, 20.0, 0.0, 80.0, 4.0, 48.0 + 8.0 * 8.5, "x_0"),  # -v/sigma
    ("x_0", "score", -48.0 + 40.0, 88.0, 80.0, 64.0, 8.0, 4.0 * 22.0, "eps"),  # -(x - alpha v)/sigma^2
    ("v", "score", -3.0 - 10.0, 13.0, 20.0, 40.0, 2.0, 48.0 + 8.0 * 2.75, "x_0"),  # -x - alpha v/sigma
]
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} to {row[1]}")


@ROWS
def test_conversion(row: Any) -> None:
    """PAR-1 to PAR-4: within 8/7 of what alpha and sigma move it, 8u of the terms, and 4 smallest numbers."""
    source, to, value, size, by_alpha, by_sigma, by_value, _, _ = row
    pair = (source, to)
    rounded = (8.0 * U + JUDGE) * size + 4.0 * LEAST
    says(converted(pair, V, X, scales(0.5, 0.25), HALF), [[value]], [[rounded]])
    found = converted(pair, V, X, scales(0.5, 0.25, D), HALF)
    says(found, [[value]], [[8 / 7 * by_alpha * D + rounded]])
    # From the score to x_0 the bound is larger by |score| (d_sigma)^2/alpha.
    more = 5.0 * 2.0 * D**2 if pair == ("score", "x_0") else 0.0
    found = converted(pair, V, X, scales(0.5, 0.25, 0.0, D), HALF)
    says(found, [[value]], [[8 / 7 * (by_sigma * D + more) + rounded]])
    same(sensitivity(pair, V, X, scales(0.5, 0.25)), [[by_value]])
    same(magnitude(pair, np.array([3.0]), np.array([5.0]), scales(0.5, 0.25)), [size])


def test_conversion_of_zeros_and_in_double() -> None:
    """Chapter 11: of zeros the bound is 4 smallest numbers; in binary64 the suite's arithmetic doubles the 8u."""
    zero, double = np.zeros((1, 1)), FORMATS["float64"]
    says(converted(("eps", "x_0"), zero, zero, scales(0.5, 0.25, D, D), HALF), [[0.0]], [[4.0 * LEAST]])
    bound = 16.0 * 2.0**-53 * 8.5 + 4.0 * 2.0**-1074
    says(converted(("eps", "x_0"), V, X, scales(0.5, 0.25), double), [[3.5]], [[bound]])


@ROWS
def test_conversion_by_any_way(row: Any) -> None:
    """Chapter 11: by way of a third prediction (16u + 2 d_alpha + 2 sigma_min^2) S' replaces 8u S.

    The divisor of that way, known to one part in eight, is smaller by that, and squared: 64/49.
    """
    source, to, value, size, by_alpha, by_sigma, _, largest, way = row
    pair, floor = (source, to), 2.0**-6

    def bound(d_alpha: float = 0.0, d_sigma: float = 0.0, *, floor: float = 0.0, fmt: Any = HALF) -> float:
        found = converted(pair, V, X, scales(0.5, 0.25, d_alpha, d_sigma, floor), fmt, by_any_way=True)
        same(found.value, [[value]])
        return float(found.tolerance[0, 0])

    plain = (8.0 * U + JUDGE) * size + 4.0 * LEAST
    same(bound(), max(16.0 * U * largest, plain))
    same(bound(floor=floor), (16.0 * U + 2.0 * floor) * largest)
    same(bound(floor=floor, fmt=FINE), max(2.0 * floor * largest, JUDGE * size))
    if way == "x_0":
        same(bound(0.0, 1 / 32, floor=1.0, fmt=FINE), by_sigma / 32 + 2.0 * largest * 64 / 49)
    elif to in ("x_0", "v"):
        same(bound(1 / 16, 0.0, floor=1.0, fmt=FINE), by_alpha / 16 + (2.0 + 1 / 8) * largest * 64 / 49)
    same(bound(D, 0.0, fmt=FINE) >= by_alpha * D + 2.0 * D * largest, True)


@pytest.mark.parametrize("way", ["eps", "x_0", "v", "score"])
@pytest.mark.parametrize("to", ["eps", "x_0", "v", "score"])
def test_lost_divisor(way: Parameterization, to: Parameterization) -> None:
    """Chapter 11: through x_0 a way divides by sigma, and through eps or the score to x_0 or v by alpha."""
    if way == to:
        return
    by_sigma, by_alpha = way == "x_0", way in ("eps", "score") and to in ("x_0", "v")
    # alpha = 1/2 less 1/8 is 3/4 of itself, and less 1/2 or 3/4 it is not known from 0; sigma = 1/4 less 1/8 is 1/2.
    at = scales(0.5, 0.25, [1 / 8, 1 / 2, 3 / 4, 0.0], [1 / 8, 1 / 4, 1 / 2, 0.0])
    expected = [4.0, np.inf, np.inf, 1.0] if by_sigma else [16 / 9, np.inf, np.inf, 1.0] if by_alpha else [1.0] * 4
    with np.errstate(divide="ignore"):
        same(divisor_lost(way, to, at), expected)


def test_ways_through_a_third_prediction() -> None:
    """Chapter 11: a third prediction is none of the two, and to and from one prediction there are three others."""
    assert set(ways("eps", "x_0")) == {"v", "score"}
    assert set(ways("v", "v")) == {"eps", "x_0", "score"}


def test_a_way_that_does_not_exist_grants_nothing() -> None:
    """Chapter 11: a way that divides by an exact 0 does not count; one that may divide by 0 grants everything."""
    at = scales([0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.5, 0.5], [0.5, 0.0, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0])
    allowance = np.array([np.inf, np.inf, np.nan, np.nan, 3.0, np.inf, np.nan, 4.0])
    same(formed(allowance, at), [0.0, 0.0, 0.0, 0.0, 3.0, np.inf, np.inf, 4.0])


def test_domain_of_a_conversion() -> None:
    """Chapter 4: the domain is 8 d_alpha <= alpha and 8 d_sigma <= sigma, each where the formula divides by it."""
    alpha, sigma = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    d_alpha, d_sigma = [1 / 8, 0.126, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1 / 8, 0.126, 0.0]
    by_alpha, by_sigma = [True, False, False, True, True], [True, True, True, True, False, False]
    divides = {
        **dict.fromkeys([("eps", "x_0"), ("score", "x_0"), ("eps", "v"), ("score", "v")], by_alpha),
        **dict.fromkeys([("v", "x_0"), ("v", "eps"), ("score", "eps")], [True] * 5),
    }
    for row in TABLE:
        pair: Pair = row[:2]
        at = scales(alpha, sigma, d_alpha, d_sigma)
        found = converted(pair, np.ones((6, 1)), np.ones((6, 1)), at, HALF)
        inside = divides.get(pair, by_sigma)
        assert np.broadcast_to(found.domain, (6, 1)).ravel().tolist()[: len(inside)] == inside, pair


@pytest.mark.parametrize(
    ("pair", "sigma", "limit"),
    [
        (("v", "x_0"), 1.0, LARGEST),  # alpha = 0, so that the result is the value
        (("v", "x_0"), 0.5, LARGEST),  # half the value, over sigma
        (("v", "x_0"), 4.0, LARGEST / 4),
        (("score", "eps"), 0.25, LARGEST),
    ],
)
def test_range_of_a_conversion(pair: Pair, sigma: float, limit: float) -> None:
    """Chapter 11: a value that leaves the range of the format on the way, divided by sigma too, is not judged."""
    value = limit * np.array([[1.0 - 1.1 * 8 * U], [1.0 - 0.9 * 8 * U], [1.0 + U]])
    at = scales(0.0, [sigma] * 3)
    found = converted(pair, value, np.zeros((3, 1)), at, HALF)
    assert found.domain.ravel().tolist() == [True, False, False]


def test_range_of_a_conversion_with_an_infinite_bound() -> None:
    """Chapter 11: where a way may divide by 0 the bound is infinite, and the terms alone are within the range.

    v at alpha = 1/2, d_alpha = 1/2: x_0 by way of eps may divide by 0, and is x_t/2 - v for sigma = 1.
    """
    x = np.array([[2.0 * (LARGEST - 0.5)], [2.0 * (LARGEST + 0.5)]])
    found = converted(("v", "x_0"), 0.0 * x, x, scales(0.5, [1.0, 1.0], 0.5), HALF, by_any_way=True)
    assert np.isinf(found.tolerance).all()
    assert found.domain.ravel().tolist() == [True, False]
    assert parts_of("v", 0.0 * x, x, scales(0.5, [1.0, 1.0], 0.5), HALF)[0].domain.any() == np.False_


def test_a_way_that_overflows_grants_everything() -> None:
    """Chapter 11: from v to eps by way of the score or of x_0, a leg beyond the format has an infinite bound.

    At alpha = sigma = 1 the score is x_t + v, and so is x_0.
    """
    v = np.array([[LARGEST - 2.0], [LARGEST - 1.0]])
    found = converted(("v", "eps"), v, np.ones((2, 1)), scales(1.0, [1.0, 1.0]), HALF, by_any_way=True)
    assert np.isinf(found.tolerance).ravel().tolist() == [False, True]


def test_predictions_of_known_data() -> None:
    """PAR-3, PAR-4: v = alpha eps - sigma x_0 and score = -eps/sigma, which is 0 where sigma is."""
    found = parts(np.array([[8.0], [2.0]]), np.array([[5.0], [3.0]]), scales([0.5, 1.0], [0.25, 0.0]))
    expected = {"eps": [5.0, 3.0], "x_0": [8.0, 2.0], "v": [2.5 - 2.0, 3.0], "score": [-20.0, 0.0]}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        same(value.ravel(), expected[name])


@pytest.mark.parametrize(
    ("prediction", "x_0", "eps"),
    [
        # What the prediction is itself may go through another and back, the largest through x_0: 12 + 2 (6 + 5/2), and
        # of x_0 itself through the score: 6 + (48 + 40)/8.
        ("eps", (3.5, 8.5), (5.0, 29.0)),
        ("x_0", (5.0, 17.0), (2.0, 22.0)),
        ("v", (0.25, 7.625), (3.25, 17.5)),
        ("score", (6.625, 6.625), (-1.25, 25.25)),
    ],
)
def test_parts_of_a_prediction(prediction: Parameterization, x_0: Any, eps: Any) -> None:
    """Chapter 11: x_0_hat and eps_hat of a prediction, by way of a third one too, each within 16u S'."""
    for found, (value, size) in zip(parts_of(prediction, V, X, scales(0.5, 0.25), HALF), (x_0, eps), strict=True):
        says(found, [[value]], [[16.0 * U * size]])
    negative = parts_of(prediction, -V, -X, scales(0.5, 0.25), HALF)
    for found, (value, size) in zip(negative, (x_0, eps), strict=True):
        says(found, [[-value]], [[16.0 * U * size]])
