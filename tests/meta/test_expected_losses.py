"""Expected weights and losses, and their bounds, at points worked out by hand (chapters 5 and 11).

At alpha = 1/2 and sigma = 1/4 the SNR is 4, below the 5 of min_snr.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refdiff.conformance.comparison import Expected
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import MinSNR, Parameterization
from tests.meta.hand import FINE, HALF, JUDGE, LARGEST, LEAST, U, same, says, scales
from validation.expected.losses import Batch, Kind, Known, Solves, each, losses, mean, truth, weight

# The weight at beta = 3, and its largest changes if alpha moves by 1/16 (to 7/16 or 9/16), sigma by 1/32 (to 7/32 or
# 9/32), or beta by 1. With SNR = alpha^2/sigma^2 the changes are those of alpha^2 = 49, 64, 81 /256, of
# sigma^2 = 49, 64, 81 /1024, and of their reciprocals, 256/49 - 4 = 60/49 and 1024/49 - 16 = 240/49.
TABLE: list[tuple[Kind, float, float, float, float]] = [
    (("eps", "inverse_snr"), 1 / 4, 15 / 196, 17 / 256, 0.0),  # sigma^2/alpha^2: 16/49 - 1/4
    (("x_0", "inverse_snr"), 1.0, 0.0, 0.0, 0.0),
    (("v", "inverse_snr"), 1 / 16, 0.0, 17 / 1024, 0.0),  # sigma^2 is 1/(SNR + 1)
    (
        ("score", "inverse_snr"),
        1 / 64,
        15 / 3136,
        2465 / 2**18,
        0.0,
    ),  # sigma^4/alpha^2: 1/49 - 1/64, (81^2 - 64^2)/2^18
    (("eps", "snr"), 1.0, 0.0, 0.0, 0.0),
    (("x_0", "snr"), 4.0, 17 / 16, 60 / 49, 0.0),
    (("v", "snr"), 1 / 4, 17 / 256, 0.0, 0.0),
    (("score", "snr"), 1 / 16, 0.0, 17 / 1024, 0.0),
    (("eps", "snr_plus_one"), 4.0, 60 / 49, 0.0, 0.0),
    (("x_0", "snr_plus_one"), 16.0, 0.0, 240 / 49, 0.0),
    (("v", "snr_plus_one"), 1.0, 0.0, 0.0, 0.0),
    (("score", "snr_plus_one"), 1 / 4, 15 / 196, 17 / 256, 0.0),
    (("eps", "likelihood"), 48.0, 0.0, 720 / 49, 16.0),  # beta/sigma^2
    (("x_0", "likelihood"), 192.0, 51.0, 325440 / 2401, 64.0),  # beta alpha^2/sigma^4: 3/4 (32^4/7^4 - 4^4)
    (("v", "likelihood"), 12.0, 51 / 16, 180 / 49, 4.0),  # beta SNR
    (("score", "likelihood"), 3.0, 0.0, 0.0, 1.0),
    # min(1, 5/SNR): 5/SNR falls to 80/81, and to 245/256. min(SNR, 5): from 4 to 5, 49/16 or 256/81.
    (("eps", "min_snr"), 1.0, 1 / 81, 11 / 256, 0.0),
    (("x_0", "min_snr"), 4.0, 1.0, 1.0, 0.0),
    # min(alpha^2, 5 sigma^2) of 1/4 and 5/16: up to 5/16 for alpha, and down to 245/1024 for sigma.
    (("v", "min_snr"), 1 / 4, 1 / 16, 11 / 1024, 0.0),
    (("score", "min_snr"), 1 / 16, 1 / 1296, 4379 / 2**18, 0.0),  # sigma^2 min(1, 5/SNR): 49 * 245/2^18
    (("eps", MinSNR(gamma=2.0)), 1 / 2, 15 / 98, 17 / 128, 0.0),  # 2/SNR
    (("x_0", MinSNR(gamma=2.0)), 2.0, 0.0, 0.0, 0.0),
    (("v", MinSNR(gamma=2.0)), 1 / 8, 0.0, 17 / 512, 0.0),  # 2 sigma^2
    (("score", MinSNR(gamma=2.0)), 1 / 32, 15 / 1568, 2465 / 2**17, 0.0),
]
PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")


def known(*at: Any, beta: float = 0.0, d_beta: float = 0.0) -> Known:
    """Return scales and a rate with their uncertainties, of as many examples as the scales have."""
    found = scales(*at)
    return Known(found, np.full(len(found.alpha), beta), np.full(len(found.alpha), d_beta))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0][1]} on {row[0][0]}")
def test_weight(row: Any) -> None:
    """LOS-7 to LOS-10, LOS-16, LOS-17: the weight, within 8/7 of its largest change, and 8u of itself."""
    kind, value, by_alpha, by_sigma, by_beta = row
    rounded = 8.0 * U * value
    says(weight(kind, known(0.5, 0.25, beta=3.0), HALF), [value], [rounded])
    for d, moved in (((1 / 16, 0.0, 0.0), by_alpha), ((0.0, 1 / 32, 0.0), by_sigma), ((0.0, 0.0, 1.0), by_beta)):
        at = known(0.5, 0.25, *d[:2], beta=3.0, d_beta=d[2])
        says(weight(kind, at, HALF), [value], [8 / 7 * moved + rounded])


@pytest.mark.parametrize(("prediction", "value"), [("eps", 5 / 16), ("x_0", 5.0), ("v", 5 / 64), ("score", 5 / 1024)])
def test_min_snr_above_gamma(prediction: Parameterization, value: float) -> None:
    """LOS-8: gamma is 5 unless another is given; at alpha = 1/2, sigma = 1/8 the SNR is 16."""
    for name in ("min_snr", MinSNR(gamma=5.0)):
        says(weight((prediction, name), known(0.5, 0.125), HALF), [value], [8.0 * U * value])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_uniform_weight(prediction: Parameterization) -> None:
    """LOS-6: uniform is 1, exactly and everywhere."""
    at = known([0.0, 0.5, 1.0], [1.0, 0.25, 0.0], 1.0, 1.0, beta=np.inf)
    says(weight((prediction, "uniform"), at, HALF), [1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize(
    ("kind", "at", "moved"),
    [
        (("v", "snr"), (0.5, 0.25, 1.0), 2.0),  # alpha^2, from 0 to 9/4
        (("eps", "min_snr"), (0.5, 0.125, 0.9), 11 / 16),  # 5/16, and 1 at alpha = 0
        (("x_0", "min_snr"), (0.25, 0.25, 0.0, 0.5), 4.0),  # 1, and 5 at sigma = 0
        (("score", "likelihood"), (0.5, 0.25), 0.5),  # beta = 1/4, up to 3/4
    ],
)
def test_scales_stay_above_0(kind: Kind, at: Any, moved: float) -> None:
    """Chapter 11: a scale whose uncertainty is larger than itself moves down to 0, and not below."""
    found = weight(kind, known(*at, beta=0.25, d_beta=0.5), FINE)
    same(found.tolerance, [8 / 7 * moved])
    assert found.domain.all()


def test_domain_of_a_weight() -> None:
    """Chapter 11: 8 d_alpha <= alpha and 8 d_sigma <= sigma, where the weight divides by it; beta is finite."""
    alpha, sigma = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    at = known(alpha, sigma, [1 / 8, 0.126, 0, 0, 0, 0], [0, 0, 0, 1 / 8, 0.126, 0], beta=1.0)
    everywhere, by_alpha, by_sigma = [True] * 6, [True, False, False, True, True, True], [True] * 4 + [False] * 2
    divides: dict[Kind, list[bool]] = {
        **{(y, w): by_alpha for y in ("eps", "score") for w in ("inverse_snr", "snr_plus_one")},
        **{(y, "likelihood"): by_sigma for y in ("eps", "x_0", "v")},
        **{("x_0", w): by_sigma for w in ("snr", "snr_plus_one")},
    }
    for kind in (row[0] for row in TABLE):
        if isinstance(kind[1], MinSNR) or kind[1] == "min_snr":
            continue
        assert weight(kind, at, HALF).domain.tolist() == divides.get(kind, everywhere), kind
    for beta, d_beta in ((np.inf, 0.0), (np.inf, np.inf), (1.0, np.inf)):
        endless = known([1.0], 1.0, beta=beta, d_beta=d_beta)
        assert weight(("score", "likelihood"), endless, HALF).domain.tolist() == [False]


# x_0 = 8, eps = 3 and -8, -3: v = 3/2 - 2 of terms 7/2, and score = -12.
DATA = (np.array([[8.0, -8.0]]), np.array([[3.0, -3.0]]))


@pytest.mark.parametrize(
    ("prediction", "value", "by_alpha", "by_sigma", "size"),
    [
        ("eps", 3.0, 0.0, 0.0, 0.0),
        ("x_0", 8.0, 0.0, 0.0, 0.0),
        ("v", -0.5, 3.0, 8.0, 3.5),
        ("score", -12.0, 0.0, 48.0, 12.0),  # eps/sigma^2
    ],
)
def test_truth(prediction: Parameterization, value: float, by_alpha: float, by_sigma: float, size: float) -> None:
    """Chapter 11: y within 8/7 of what alpha and sigma move it, and 4u of its terms; the data is exact."""
    batch, d, signs = Batch(DATA[0], *DATA, np.zeros(1)), 2.0**-10, np.array([[1.0, -1.0]])
    for fmt, u in ((HALF, 4.0 * U + JUDGE), (FORMATS["float64"], 12.0 * 2.0**-53)):
        for d_alpha, d_sigma, moved in ((0.0, 0.0, 0.0), (d, 0.0, by_alpha * d), (0.0, d, by_sigma * d)):
            found = truth(prediction, batch, scales(0.5, 0.25, d_alpha, d_sigma), fmt)
            same(found.value, value * signs)
            same(found.tolerance, (8 / 7 * moved + u * size) * np.abs(signs))
            assert found.domain.tolist() == [True]
    ones = np.ones((3, 1))
    three = Batch(ones, ones, ones, np.zeros(3))
    found = truth(prediction, three, scales(0.5, [0.25, 0.25, 0.0], 0.0, [1 / 32, 0.032, 0.0]), HALF)
    assert found.domain.tolist() == ([True, False, False] if prediction == "score" else [True] * 3)


# x_0 = 1, 2, eps = 3, 1, prediction 5, 2: r = 2, 1 of eps. x_t = 5/4, 5/4. By way of x_0 the terms are
# x_t/alpha + sigma v/alpha + x_0 = 5/2 + 5/2 + 1 and 5/2 + 1 + 2, times d eps/d x_0 = 2: 12, 11. By way of v
# (10 + 5/8 + 3/2 + 1/4)/2 is less, and by way of the score (20 + 12)/4 and (8 + 4)/4.
BATCH = Batch(np.array([[5.0, 2.0]]), np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]]), np.zeros(1))
BY_WAY = np.array([12.0, 11.0])
R = np.array([2.0, 1.0])


def bound(d_r: Any, *, w: float = 1.0, d_w: float = 0.0, r: Any = R, u: float = U) -> float:
    """Return w sum (2 |r| dr + dr^2) + dw sum (|r| + dr)^2 + (n + 20)u w sum r^2 of chapter 11."""
    moved = float(np.sum(2.0 * r * d_r + d_r**2))
    return w * moved + d_w * (float(np.sum(r**2)) + moved) + (len(r) + 20) * u * w * float(np.sum(r**2))


def test_loss() -> None:
    """LOS-1: w sum r^2 within w sum (2 |r| dr + dr^2) + (n + 20)u w sum r^2, where dr is 4u |r| and 8u of the way."""
    expected = bound(U * (4.0 * R + 8.0 * BY_WAY)) + 2.0 * LEAST
    says(losses(("eps", "uniform"), BATCH, known(0.5, 0.25), HALF), [5.0], [expected])
    # A floor adds 2 sigma_min^2 to the 8u of the way.
    floored = bound(U * 4.0 * R + (8.0 * U + 0.5) * BY_WAY) + 2.0 * LEAST
    says(losses(("eps", "uniform"), BATCH, known(0.5, 0.25, 0.0, 0.0, 0.25), HALF), [5.0], [floored])


def test_weighted_loss() -> None:
    """LOS-7: the weight multiplies, and its uncertainty, 8u of 1/SNR = 1/4, counts with (|r| + dr)^2."""
    d_r = U * (4.0 * R + 8.0 * BY_WAY)
    expected = bound(d_r, w=0.25, d_w=2.0 * U) + 2.0 * LEAST
    says(losses(("eps", "inverse_snr"), BATCH, known(0.5, 0.25), HALF), [1.25], [expected])


def test_loss_of_an_uncertain_truth() -> None:
    """LOS-1: of v, dr has the uncertainty of v, and a way's: x_t/sigma + v/sigma^2 by x_0 is the largest.

    v = 3/2 - 1/4 and 1/2 - 1/2 of terms 7/4 and 1; for the prediction 5/4 and 4, r is 0 and 4. x_t = 5/4; x_0_hat has
    the terms 5/8 + 5/16 and 5/8 + 1, and x_0 is 1, 2: 31/16 and 29/8, times 1/sigma = 4.
    By eps: (5/16 + 5/8 + 3, 5/16 + 2 + 1) times 2; by the score: (5/4 + 5/2 + 12, 5/4 + 8 + 4)/2, which is the largest
    of the first.
    """
    batch = Batch(np.array([[1.25, 4.0]]), BATCH.x_0, BATCH.eps, np.zeros(1))
    r, way = np.array([0.0, 4.0]), np.array([63 / 8, 29 / 2])
    d, terms = 2.0**-12, np.array([7 / 4, 1.0])
    by_alpha, by_sigma = d * np.array([3.0, 1.0]), d * np.array([1.0, 2.0])
    for at, moved in (((0.0, 0.0), 0.0 * r), ((d, 0.0), by_alpha), ((0.0, d), by_sigma)):
        # 1 - 4d of sigma and 1 - 2d of alpha are left of the divisors.
        lost = np.array([1.0 - 2.0 * at[0], 1.0 - 4.0 * at[1]]) ** -2.0
        d_r = 8 / 7 * moved + (4.0 * U + JUDGE) * terms + 4.0 * U * r + 8.0 * U * way * lost
        says(losses(("v", "uniform"), batch, known(0.5, 0.25, *at), HALF), [16.0], [bound(d_r, r=r) + 2.0 * LEAST])


def test_loss_of_nothing() -> None:
    """LOS-3: a perfect prediction of zeros is within the smallest number of each element; 0 of a way is no NaN."""
    zero = np.zeros((2, 3))
    zeros = Batch(zero, zero, zero, np.zeros(2))
    says(losses(("eps", "uniform"), zeros, known([0.5, 0.5], 0.25), HALF), [0.0] * 2, [3.0 * LEAST] * 2)


def test_loss_with_a_factor() -> None:
    """LOS-1: a declared factor c multiplies value and bound, and adds 3u c w sum r^2, and a smallest number."""
    alone = bound(U * (4.0 * R + 8.0 * BY_WAY)) + 2.0 * LEAST
    for c in (0.5, 3.0):
        says(
            losses(("eps", "uniform"), BATCH, known(0.5, 0.25), HALF, c),
            [5.0 * c],
            [c * (alone + 3.0 * U * 5.0) + LEAST],
        )


def test_loss_by_a_way_that_may_divide_by_0() -> None:
    """Chapter 11: at d_sigma = sigma a way by x_0 may divide by 0, which grants everything, unless the weight is 0."""
    found = losses(("eps", "uniform"), BATCH, known(0.5, 0.25, 0.0, 0.25), HALF)
    assert np.isinf(found.tolerance).all()
    assert found.domain.all()
    # alpha = 0, where the way by x_0 is no way: and the weight alpha^2 of v is 0: the smallest numbers are left.
    says(losses(("v", "snr"), BATCH, known(0.0, 0.25, 0.0, 0.25), HALF), [0.0], [2.0 * LEAST])
    # r = 0 and an infinite way.
    right = Batch(BATCH.eps, BATCH.x_0, BATCH.eps, BATCH.t)
    found = losses(("eps", "uniform"), right, known(0.5, 0.25, 0.0, 0.25), HALF)
    assert np.isinf(found.tolerance).all()


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_range_of_a_loss(factor: float) -> None:
    """Chapter 11: a loss that leaves the range of the format, times its factor if that is above 1, is not judged.

    r = 128 is 2^14 of 2^16; the direct bound is 8u + 9u of it, or 17u.
    """
    limit = np.sqrt(LARGEST / max(1.0, factor))
    r = limit * np.array([[1.0 - 12 * U], [1.0 - 6 * U]])
    zero = np.zeros((2, 1))
    found = losses(("eps", "uniform"), Batch(r, zero, zero, np.zeros(2)), known([0.5, 0.5], 0.25), HALF, factor)
    assert found.domain.tolist() == [True, False]


@pytest.mark.parametrize(("beta", "most"), [(0.25, LARGEST), (4.0, LARGEST / 4.0)])
def test_range_of_squares_and_of_weighted_squares(beta: float, most: float) -> None:
    """Chapter 11: neither the squares nor the weighted squares leave the range: beta = 1/4 and 4 on the score."""
    r, zero = np.sqrt(most) * np.array([[1.0 - 20 * U], [1.0 - 2 * U]]), np.zeros((2, 1))
    at = known([0.5, 0.5], 0.25, beta=beta)
    found = losses(("score", "likelihood"), Batch(r, zero, zero, np.zeros(2)), at, HALF)
    assert found.domain.tolist() == [True, False]


def test_means_of_losses() -> None:
    """LOS-2: a mean over the event adds 2u of itself, and one over n examples (n + 8)u; each a smallest number."""
    found = Expected([6.0, 3.0, 12.0], [0.5, 0.25, 1.0])
    says(each(found, 3, HALF), [2.0, 1.0, 4.0], np.array([0.5, 0.25, 1.0]) / 3 + 2.0 * U * np.array([2, 1, 4]) + LEAST)
    says(mean(found, 0.25, HALF), 5.25, 0.25 * 1.75 + 11.0 * U * 5.25 + LEAST)


def test_rows_and_size_of_a_batch() -> None:
    """LOS-4: examples are taken in the order given, and the size is that of one event."""
    first = np.arange(12.0).reshape(2, 2, 3)
    batch = Batch(first, first + 20.0, first + 40.0, np.array([0.25, 0.75]))
    rows = batch.rows(np.array([1, 0, 1]))
    assert (batch.size, rows.size) == (6, 6)
    assert [x[:, 0, 0].tolist() for x in (rows.predicted, rows.x_0, rows.eps)] == [
        [6.0, 0.0, 6.0],
        [26.0, 20.0, 26.0],
        [46.0, 40.0, 46.0],
    ]
    assert rows.t.tolist() == [0.75, 0.25, 0.75]


@pytest.mark.parametrize(
    ("prediction", "value", "slope"), [("eps", 3.0, 1.0), ("v", 1.5 - 2.0, 0.5), ("score", -12.0, 4.0)]
)
def test_denoiser_that_solves(prediction: Parameterization, value: float, slope: float) -> None:
    """LOS-3: eps = (x_t - alpha x_0)/sigma, of x_t = 4 + 3/4, and y from it, in the dtype of the target.

    Of eps the error is 8/7 (d_alpha + d_sigma + 4u) of the size over sigma; y adds 2u.
    """
    solves = Solves(prediction, np.array([[8.0, 8.0]]), scales(0.5, 0.25, 2.0**-8, 2.0**-10), HALF)
    got = solves(np.array([[4.75, 4.75]]), np.array([0.5]))
    same(got.astype(np.float64), [[value, value]])
    assert got.dtype == np.float16
    (x_t, t), *others = solves.calls
    assert (x_t.tolist(), t.tolist(), others) == ([[4.75, 4.75]], [0.5], [])
    same(solves.exact(np.array([[3.0, 5.0]]))[0, 0], value)
    of_eps = 8 / 7 * (2.0**-8 + 2.0**-10 + 4.0 * U) * 4.0
    same(solves.tolerance(np.array([[1.0, 3.0]])), slope * (of_eps + 2.0 * U) * np.array([[1.0, 3.0]]))


def test_no_weight_leaves_no_loss() -> None:
    """LOS-16: at alpha = 0 the weight SNR on x_0 is 0, and so is the loss, whatever a way by eps would lose there."""
    batch = Batch(np.array([[2.0]]), np.array([[1.0]]), np.array([[1.0]]), np.array([1.0]))
    says(losses(("x_0", "snr"), batch, known(0.0, 1.0), HALF), [0.0], [LEAST])
