"""Comparison of a trained denoiser with the best one, at points worked out by hand (TRN-4 to TRN-6)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from tests.meta.hand import same
from validation.expected import denoiser
from validation.expected.denoiser import DATA, Predict, best, flow_distance, least, loss, score_error
from validation.oracles.mixture import Floats, Mixture

NONE: Predict = np.zeros_like


def half_of(x: Floats) -> Floats:
    """Return x/2."""
    return 0.5 * x


def test_data_times_and_margins() -> None:
    """Chapter 8: 0.3 N(-2, 0.25) + 0.7 N(1.5, 0.16), 16 even times in [0.1, 0.95] where sigma^2 >= 0.05, the bounds."""
    assert Mixture((0.3, 0.7), (-2.0, 1.5), (0.25, 0.16)) == DATA
    same(np.diff(denoiser.SHARES), [0.85 / 16] * 15)
    same([denoiser.SHARES[0] - 0.1, 0.95 - denoiser.SHARES[-1]], [0.85 / 32] * 2)
    found = (denoiser.LEAST, denoiser.LOSS, denoiser.SCORE, denoiser.LAW)
    assert found == (0.05, 0.006, 0.03, 0.05)


def test_best_denoiser_of_a_gaussian() -> None:
    """LOS-12: of N(1, 3) at alpha = 1/2, sigma = 1/2, x_t is N(1/2, 1), and E[eps | x_t] = (x_t - 1/2)/2."""
    predict = best(Mixture((1.0,), (1.0,), (3.0,)), 0.5, 0.25)
    same(predict(np.array([-1.0, 1.0, 4.0])), [-0.75, 0.25, 1.75])


def test_loss_of_simple_denoisers() -> None:
    """LOS-1: E eps^2 = 1, and E (x_t/2 - eps)^2 = (alpha/2)^2 E x_0^2 + (sigma/2 - 1)^2, E x_0^2 = 2.962.

    E x_0^2 is 0.3 (4 + 0.25) + 0.7 (2.25 + 0.16).
    """
    np.testing.assert_allclose(loss(NONE, 0.5, 0.25), 1.0, rtol=1e-12)
    np.testing.assert_allclose(loss(half_of, 0.5, 0.25), 2.962 / 16 + 9 / 16, rtol=1e-12)
    np.testing.assert_allclose(loss(half_of, 0.25, 1.0), 2.962 / 64 + 1 / 4, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "variance"), [(0.5, 0.25), (0.25, 1.0), (0.8, 0.36)])
def test_loss_and_score_error_agree(alpha: float, variance: float) -> None:
    """LOS-11: the excess loss is sigma^2 E (s_hat - s)^2, and 0 for the best denoiser."""
    right, floor = best(DATA, alpha, variance), least(alpha, variance)
    np.testing.assert_allclose(loss(right, alpha, variance), floor, atol=1e-4)
    assert abs(score_error(right, alpha, variance)) < 1e-20
    for predict in (NONE, half_of):
        excess = loss(predict, alpha, variance) - floor
        np.testing.assert_allclose(score_error(predict, alpha, variance), excess, rtol=1e-4)


def law(x: Floats, alpha: float, variance: float) -> Floats:
    """Return the distribution function of x_t."""
    parts = ((0.3, -2.0, 0.25), (0.7, 1.5, 0.16))
    found = sum(w * ndtr((x - alpha * m) / np.sqrt(alpha**2 * v + variance)) for w, m, v in parts)
    return np.asarray(found)


@pytest.mark.parametrize("predict", [NONE, half_of, np.ones_like])
def test_a_scaling_is_exact(predict: Predict) -> None:
    """SMP-3: where alpha/sigma stays, a step of ddim scales x, whatever the prediction: the distribution is exact."""
    assert flow_distance([predict] * 2, [(0.4, 0.25), (0.8, 1.0), (0.2, 1 / 16)]) < 1e-5


def test_distance_of_a_shift() -> None:
    """TRN-6: eps_hat = 2 from sigma = 1/2 to 1/4 shifts by -1/2; the distance is the largest of 400 quantiles."""
    shift, scales = [lambda x: np.full_like(x, 2.0)], [(1.0, 0.25), (1.0, 1 / 16)]
    x = np.linspace(-6.0, 6.0, 200_001)
    largest = np.max(np.abs(law(x - 0.5, 1.0, 1 / 16) - law(x, 1.0, 0.25)))
    assert largest - 1 / 800 <= flow_distance(shift, scales) <= largest
    assert flow_distance(shift, scales) == flow_distance(shift, scales, quantiles=400)
    assert flow_distance(shift, scales) != flow_distance(shift, scales, quantiles=401)


def test_distance_of_two_steps() -> None:
    """SMP-3: each step uses the denoiser and the scales of its own times.

    From alpha = 1, sigma = 1/2 by eps_hat = 1 to 1/2, 1/4, where alpha/sigma is kept: x/2. Then by x/2 to 1, 1/4:
    2 (x - x/8) + x/8 = 15/8 x.
    """
    x = np.linspace(-6.0, 6.0, 200_001)
    scales = [(1.0, 0.25), (0.5, 1 / 16), (1.0, 1 / 16)]
    largest = np.max(np.abs(law(15 / 16 * x, 1.0, 1 / 16) - law(x, 1.0, 0.25)))
    assert largest - 1 / 800 <= flow_distance([np.ones_like, half_of], scales) <= largest
