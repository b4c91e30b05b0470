"""Chapter 5: score matching and denoising, their minimiser and its loss, the weights, the likelihood."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import log
from typing import Any

import flint
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from refdiff.conformance.check import evidence

from ..oracles import certified, objectives, symbolic_objectives
from ..oracles.mixture import TWO, Floats, Mixture
from .exact import LINEAR
from .scales import linear_rate, linear_scales

exactly = settings(deadline=None, derandomize=True, max_examples=50)
circle = st.fractions(min_value=Fraction(1, 20), max_value=Fraction(19, 20), max_denominator=40)
rationals = st.fractions(min_value=-4, max_value=4, max_denominator=50)
TIMES = (0.05, 0.2, 0.5, 1.0)
THETAS = ((0.0, 1.0, 0.0), (0.3, 0.5, -0.4), (-1.0, 2.0, 1.5), (0.1, 0.2, 0.7))
OTHER = Mixture((0.5, 0.5), (-0.4, 1.1), (0.3, 0.1))


def _family(theta: Any, x: Any) -> Any:
    """Return s_theta(x), analytic in theta."""
    return -(x - theta[0]) / theta[1] - theta[2] * np.tanh(x)


def _settled(value: Callable[[int], Any]) -> tuple[Any, float]:
    """Return a sum of 160 nodes, and its distance from that of 120: what it may be off by, with 1e-12 for rounding."""
    fine, coarse = value(160), value(120)
    return fine, float(np.max(np.abs(fine - coarse))) + 1e-12 * (1.0 + float(np.max(np.abs(fine))))


BOTH = (objectives.denoising, objectives.explicit)


def _at_time(f: Any, alpha: float, variance: float, theta: Any) -> Callable[[int], Any]:
    """Return DSM or ESM of s_theta as a function of the number of nodes."""
    return lambda count: f(TWO, alpha, variance, partial(_family, theta), count=count)


def _slopes(f: Any, alpha: float, variance: float, theta: Any) -> Callable[[int], Any]:
    """Return the gradient in theta, by complex steps."""

    def gradient(count: int) -> Floats:
        steps = np.array(theta, dtype=complex) + 1e-30j * np.eye(3)
        return np.array([np.imag(_at_time(f, alpha, variance, step)(count)) / 1e-30 for step in steps])

    return gradient


@evidence("LOS-3", "LOS-5", kind="symbolic")
@pytest.mark.parametrize("name", ["eps", "x_0", "v", "score"])
def test_errors_are_one_error(name: str) -> None:
    """LOS-5: a squared error is that of eps times the table's factor; LOS-3: with no error, it is 0."""
    assert symbolic_objectives.error_residual(name) == 0
    assert symbolic_objectives.ERRORS[name].subs(symbolic_objectives.e, 0) == 0
    assert symbolic_objectives.v_residual() == 0


@evidence("LOS-3", "LOS-5", kind="property")
@exactly
@given(m=circle, x_0=rationals, eps=rationals, eps_hat=rationals)
def test_errors_over_the_rationals(m: Fraction, x_0: Fraction, eps: Fraction, eps_hat: Fraction) -> None:
    """LOS-5: converting a prediction at x_t and squaring its error, over the rationals: weights carry over."""
    a, s = (1 - m * m) / (1 + m * m), 2 * m / (1 + m * m)
    x_t = a * x_0 + s * eps
    x_hat = (x_t - s * eps_hat) / a
    v_hat, v = a * eps_hat - s * x_hat, a * eps - s * x_0
    error, snr = (eps_hat - eps) ** 2, (a / s) ** 2
    assert (x_hat - x_0) ** 2 == error / snr
    assert (v_hat - v) ** 2 == error * (snr + 1) / snr
    assert (-eps_hat / s + eps / s) ** 2 == error / s**2
    weight = Fraction(3, 7)
    assert weight / snr * error == weight * (x_hat - x_0) ** 2 == weight / (snr + 1) * (v_hat - v) ** 2 / snr * (snr)
    assert eps_hat != eps or error == 0


@evidence("LOS-11", kind="quadrature")
@pytest.mark.parametrize("t", TIMES)
def test_denoising_is_score_matching(t: float) -> None:
    """LOS-11: on a mixture, DSM - ESM is E|s(x|x_0)|^2 - E|score|^2 for every theta; gradients agree."""
    alpha, variance = linear_scales(t)
    law = TWO.noised(alpha, variance)
    wanted, off = _settled(lambda n: 1.0 / variance - objectives.over_marginal(law, lambda x: law.score(x) ** 2, n))
    for theta in THETAS:
        (dsm, dsm_off), (esm, esm_off) = (_settled(_at_time(f, alpha, variance, theta)) for f in BOTH)
        assert abs(dsm - esm - wanted) <= off + dsm_off + esm_off
        (one, one_off), (other, other_off) = (_settled(_slopes(f, alpha, variance, theta)) for f in BOTH)
        assert np.max(np.abs(one - other)) <= one_off + other_off
        assert one_off + other_off < 1e-3 * (1.0 + np.max(np.abs(one)))


@evidence("LOS-11", kind="symbolic")
def test_cross_terms_agree() -> None:
    """LOS-11: E[s_hat s(x|x_0)] = E[s_hat d log p/dx] for Gaussian data and any cubic: all that differs is constant."""
    assert symbolic_objectives.matching_residual() == 0


def _constant(t: float) -> float:
    alpha, variance = linear_scales(t)
    law = TWO.noised(alpha, variance)
    return 1.0 / variance - float(objectives.over_marginal(law, lambda x: law.score(x) ** 2))


@evidence("LOS-11", kind="quadrature")
def test_constant_grows_like_the_logarithm() -> None:
    """LOS-11: from t_min = 1e-5 to 1e-6 the integral of C grows by log(10)/beta(0), to 2e-3."""
    grown, error = quad(lambda u: np.exp(u) * _constant(float(np.exp(u))), log(1e-6), log(1e-5), epsrel=1e-9)
    assert error < 1e-6
    assert abs(grown / (log(10.0) / 0.1) - 1.0) < 2e-3


@evidence("LOS-12", kind="quadrature")
@pytest.mark.parametrize("t", TIMES)
def test_least_loss_is_the_irreducible_one(t: float) -> None:
    """LOS-12: at -sigma score the eps loss is 1 - sigma^2 E score^2, g more costs E g^2; it is sigma^2 DSM."""
    alpha, variance = linear_scales(t)
    law, sigma = TWO.noised(alpha, variance), np.sqrt(variance)

    def loss(eps_hat: Callable[[Any], Any], n: int) -> Any:
        return objectives.over_pairs(TWO, lambda x_0, eps: (eps_hat(alpha * x_0 + sigma * eps) - eps) ** 2, n)

    def best(x: Any) -> Floats:
        return np.asarray(-sigma * law.score(np.ravel(x)).reshape(np.shape(x)))

    least, off = _settled(partial(loss, best))
    wanted, wanted_off = _settled(lambda n: objectives.irreducible(TWO, alpha, variance, n))
    assert abs(least - wanted) <= off + wanted_off
    assert 0.0 < wanted < 1.0
    for g in (np.tanh, np.cos, lambda x: 0.3 * x):
        more, more_off = _settled(partial(loss, partial(_sum, best, g)))
        square, square_off = _settled(partial(objectives.over_marginal, law, partial(_square, g)))
        assert abs(more - least - square) <= off + more_off + square_off
    s_hat = partial(_family, THETAS[1])
    plain, plain_off = _settled(partial(loss, lambda x: -sigma * s_hat(x)))
    matching, matching_off = _settled(lambda n: objectives.denoising(TWO, alpha, variance, s_hat, n))
    assert abs(plain - variance * matching) <= plain_off + matching_off


def _sum(f: Callable[[Any], Any], g: Callable[[Any], Any], x: Any) -> Any:
    return f(x) + g(x)


def _square(g: Callable[[Any], Any], x: Any) -> Any:
    return g(x) ** 2


@evidence("LOS-12", kind="symbolic")
def test_minimiser_of_gaussian_data() -> None:
    """LOS-12: for Gaussian data the loss is stationary at -sigma score along any cubic, at the value of LOS-12."""
    assert symbolic_objectives.minimiser_residual() == 0
    assert symbolic_objectives.least_residual() == 0


@evidence("LOS-7", "LOS-8", "LOS-9", kind="symbolic")
def test_limits_of_weights() -> None:
    """LOS-9: limits at SNR = 0 and infinity of 1/SNR (1 on x_0) and of min(SNR, gamma), on eps, x_0 and v."""
    infinity, gamma = sp.oo, symbolic_objectives.gamma
    assert symbolic_objectives.weight_limits(sp.Integer(1)) == {"eps": (infinity, 0), "x_0": (1, 1), "v": (1, 0)}
    weak, strong = (symbolic_objectives.weight_limits(symbolic_objectives.min_snr(side)) for side in (True, False))
    assert {name: weak[name][0] for name in weak} == {"eps": 1, "x_0": 0, "v": 0}
    assert {name: strong[name][1] for name in strong} == {"eps": 0, "x_0": gamma, "v": 0}


@evidence("LOS-8", "LOS-9", kind="property")
@exactly
@given(m=circle, gamma=st.fractions(min_value=Fraction(1, 4), max_value=10, max_denominator=20))
def test_min_snr_over_the_rationals(m: Fraction, gamma: Fraction) -> None:
    """LOS-8: min(SNR, gamma)/(SNR + 1) on v is sigma^2 min(SNR, gamma); SNR + 1 inside, or max, is another."""
    a, s = (1 - m * m) / (1 + m * m), 2 * m / (1 + m * m)
    snr = (a / s) ** 2
    on_v = min(snr, gamma) / (snr + 1)
    assert on_v == s * s * min(snr, gamma) == min(a * a, gamma * s * s)
    assert min(snr, gamma) / snr == min(1, gamma * (s / a) ** 2)
    assert min(snr + 1, gamma) / (snr + 1) > on_v or gamma <= snr
    assert max(snr, gamma) / snr != min(snr, gamma) / snr or snr == gamma
    assert 0 < on_v < gamma


@evidence("LOS-7", kind="certified")
def test_inverse_snr_of_the_default() -> None:
    """LOS-7: 1/SNR at t = 1 of the linear default is 2.32e4, proven; and 1/SNR alpha^2 = sigma^2 at every time."""
    value = certified.at(LINEAR, "log_snr", 1.0).value
    assert abs(float((-flint.arb(value)).exp()) - 2.31e4) < 0.02e4
    for t in (1e-6, 0.3, 0.9):
        quantities = {q: certified.at(LINEAR, q, t).value for q in ("alpha_bar", "variance", "log_snr")}
        inverse = np.exp(-quantities["log_snr"])
        assert abs(inverse * quantities["alpha_bar"] - quantities["variance"]) <= 2.0**-48 * quantities["variance"]


@evidence("LOS-10", kind="symbolic")
def test_divergence_falls_at_half_the_rate_times_the_gap() -> None:
    """LOS-10: d KL(p_t | q_t)/dt = -beta/2 E (d log p - d log q)^2, for Gaussians, as algebra."""
    assert symbolic_objectives.divergence_rate_residual() == 0


@evidence("LOS-10", kind="quadrature")
def test_likelihood_weight_integrates_to_the_divergence() -> None:
    """LOS-10: for two mixtures, 1/2 int beta E (d log p - d log q)^2 dt over [0.02, 1] is KL at 0.02 less KL at 1."""

    def gap(t: float) -> float:
        p, q = (law.noised(*linear_scales(t)) for law in (TWO, OTHER))
        mean = objectives.over_marginal(p, lambda x: (p.score(x) - q.score(x)) ** 2)
        return float(0.5 * linear_rate(np.asarray(t)) * mean)

    integral, error = quad(gap, 0.02, 1.0, epsrel=1e-10, limit=200)
    ends = [_settled(partial(objectives.divergence, *_laws(t))) for t in (0.02, 1.0)]
    assert error < 1e-8
    assert ends[0][1] + ends[1][1] < 1e-4
    assert abs(integral - (ends[0][0] - ends[1][0])) <= error + ends[0][1] + ends[1][1] + 1e-6


def _laws(t: float) -> tuple[Mixture, Mixture]:
    return TWO.noised(*linear_scales(t)), OTHER.noised(*linear_scales(t))
