"""Chapter 5: score matching and denoising, their minimiser and its loss, the loss weights, the likelihood."""

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
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from refdiff.conformance.check import evidence

from ..oracles import certified, objectives, symbolic_objectives
from ..oracles.mixture import TWO, Floats, Mixture
from .exact import LINEAR
from .rationals import circle, on_circle, over_rationals
from .scales import linear_rate, linear_scales

rationals = st.fractions(min_value=-4, max_value=4, max_denominator=50)
TIMES = (0.05, 0.2, 0.5, 1.0)
THETAS = ((0.0, 1.0, 0.0), (0.3, 0.5, -0.4), (-1.0, 2.0, 1.5), (0.1, 0.2, 0.7))
OTHER = Mixture((0.5, 0.5), (-0.4, 1.1), (0.3, 0.1))


def _family(theta: Any, x: Any) -> Any:
    """Return s_theta(x), a score model that is analytic in its three parameters theta."""
    return -(x - theta[0]) / theta[1] - theta[2] * np.tanh(x)


def _integrated(value: Callable[[int], Any]) -> tuple[Any, float]:
    """Return a quadrature value with 160 nodes and its error estimate.

    The estimate is the difference from 120 nodes, plus 1e-12 for rounding.
    """
    fine, coarse = value(160), value(120)
    return fine, float(np.max(np.abs(fine - coarse))) + 1e-12 * (1.0 + float(np.max(np.abs(fine))))


def _loss(f: Any, alpha: float, variance: float, theta: Any) -> Callable[[int], Any]:
    """Return the loss f (denoising or explicit score matching) of s_theta, as a function of the number of nodes."""
    return lambda count: f(TWO, alpha, variance, partial(_family, theta), count=count)


def _gradient(f: Any, alpha: float, variance: float, theta: Any) -> Callable[[int], Any]:
    """Return the gradient of `_loss` with respect to theta, by complex-step differentiation."""

    def gradient(count: int) -> Floats:
        steps = np.array(theta, dtype=complex) + 1e-30j * np.eye(3)
        return np.array([np.imag(_loss(f, alpha, variance, step)(count)) / 1e-30 for step in steps])

    return gradient


@evidence("LOS-3", "LOS-5", kind="symbolic")
@pytest.mark.parametrize("name", ["eps", "x_0", "v", "score"])
def test_squared_errors_have_the_stated_ratios(name: str) -> None:
    """LOS-5: each squared error is that of eps times the factor of the table; LOS-3: if one error is 0, all are."""
    assert symbolic_objectives.error_residual(name) == 0
    assert symbolic_objectives.ERRORS[name].subs(symbolic_objectives.e, 0) == 0
    assert symbolic_objectives.v_residual() == 0


@evidence("LOS-3", "LOS-5", kind="property")
@over_rationals
@given(m=circle, x_0=rationals, eps=rationals, eps_hat=rationals)
def test_squared_errors_over_the_rationals(m: Fraction, x_0: Fraction, eps: Fraction, eps_hat: Fraction) -> None:
    """LOS-5: over the rationals, the squared errors of converted predictions have the stated ratios, and so weights."""
    a, s = on_circle(m)
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
def test_denoising_equals_score_matching_up_to_a_constant(t: float) -> None:
    """LOS-11: on a mixture, DSM - ESM is E|s(x|x_0)|^2 - E|score|^2 for every theta, so their gradients agree."""
    alpha, variance = linear_scales(t)
    law = TWO.noised(alpha, variance)
    constant, error = _integrated(
        lambda n: 1.0 / variance - objectives.over_marginal(law, lambda x: law.score(x) ** 2, n)
    )
    for theta in THETAS:
        dsm, dsm_error = _integrated(_loss(objectives.denoising, alpha, variance, theta))
        esm, esm_error = _integrated(_loss(objectives.explicit, alpha, variance, theta))
        assert abs(dsm - esm - constant) <= error + dsm_error + esm_error
        of_dsm, of_dsm_error = _integrated(_gradient(objectives.denoising, alpha, variance, theta))
        of_esm, of_esm_error = _integrated(_gradient(objectives.explicit, alpha, variance, theta))
        assert np.max(np.abs(of_dsm - of_esm)) <= of_dsm_error + of_esm_error
        assert of_dsm_error + of_esm_error < 1e-3 * (1.0 + np.max(np.abs(of_dsm)))


@evidence("LOS-11", kind="symbolic")
def test_cross_terms_of_denoising_and_score_matching_agree() -> None:
    """LOS-11: E[s_hat s(x|x_0)] = E[s_hat d log p/dx] for Gaussian data and any cubic s_hat."""
    assert symbolic_objectives.matching_residual() == 0


def _constant(t: float) -> float:
    """Return C(t), the constant between denoising and score matching."""
    alpha, variance = linear_scales(t)
    law = TWO.noised(alpha, variance)
    return 1.0 / variance - float(objectives.over_marginal(law, lambda x: law.score(x) ** 2))


@evidence("LOS-11", kind="quadrature")
def test_integral_of_the_constant_grows_logarithmically() -> None:
    """LOS-11: the integral of C over [1e-6, 1e-5] is log(10)/beta(0), within 2e-3, relative."""
    growth, error = quad(lambda u: np.exp(u) * _constant(float(np.exp(u))), log(1e-6), log(1e-5), epsrel=1e-9)
    assert error < 1e-6
    assert abs(growth / (log(10.0) / 0.1) - 1.0) < 2e-3


@evidence("LOS-12", kind="quadrature")
@pytest.mark.parametrize("t", TIMES)
def test_minimiser_has_the_irreducible_loss(t: float) -> None:
    """LOS-12: the loss of eps* = -sigma score is 1 - sigma^2 E score^2, and eps* + g has E g^2 more.

    For any s_hat, the loss of eps_hat = -sigma s_hat is sigma^2 times that of denoising score matching.
    """
    alpha, variance = linear_scales(t)
    law, sigma = TWO.noised(alpha, variance), np.sqrt(variance)

    def loss(eps_hat: Callable[[Any], Any], n: int) -> Any:
        return objectives.over_pairs(TWO, lambda x_0, eps: (eps_hat(alpha * x_0 + sigma * eps) - eps) ** 2, n)

    def best(x: Any) -> Floats:
        return np.asarray(-sigma * law.score(np.ravel(x)).reshape(np.shape(x)))

    least, least_error = _integrated(partial(loss, best))
    irreducible, error = _integrated(lambda n: objectives.irreducible(TWO, alpha, variance, n))
    assert abs(least - irreducible) <= least_error + error
    assert 0.0 < irreducible < 1.0
    for g in (np.tanh, np.cos, lambda x: 0.3 * x):
        perturbed, perturbed_error = _integrated(partial(loss, partial(_sum, best, g)))
        square, square_error = _integrated(partial(objectives.over_marginal, law, partial(_square, g)))
        assert abs(perturbed - least - square) <= least_error + perturbed_error + square_error
    s_hat = partial(_family, THETAS[1])
    of_eps, of_eps_error = _integrated(partial(loss, lambda x: -sigma * s_hat(x)))
    dsm, dsm_error = _integrated(lambda n: objectives.denoising(TWO, alpha, variance, s_hat, n))
    assert abs(of_eps - variance * dsm) <= of_eps_error + dsm_error


def _sum(f: Callable[[Any], Any], g: Callable[[Any], Any], x: Any) -> Any:
    return f(x) + g(x)


def _square(g: Callable[[Any], Any], x: Any) -> Any:
    return g(x) ** 2


@evidence("LOS-12", kind="symbolic")
def test_minimiser_for_gaussian_data() -> None:
    """LOS-12: for Gaussian data, the loss is stationary at -sigma score in any cubic direction, with LOS-12's value."""
    assert symbolic_objectives.minimiser_residual() == 0
    assert symbolic_objectives.least_residual() == 0


@evidence("LOS-7", "LOS-8", "LOS-9", kind="symbolic")
def test_weights_have_the_stated_limits() -> None:
    """LOS-9: limits at SNR = 0 and infinity of the weights inverse_snr and min_snr, on eps, x_0 and v."""
    infinity, gamma = sp.oo, symbolic_objectives.gamma
    assert symbolic_objectives.weight_limits(sp.Integer(1)) == {"eps": (infinity, 0), "x_0": (1, 1), "v": (1, 0)}
    weak = symbolic_objectives.weight_limits(symbolic_objectives.min_snr(weak=True))
    strong = symbolic_objectives.weight_limits(symbolic_objectives.min_snr(weak=False))
    assert {name: weak[name][0] for name in weak} == {"eps": 1, "x_0": 0, "v": 0}
    assert {name: strong[name][1] for name in strong} == {"eps": 0, "x_0": gamma, "v": 0}


@evidence("LOS-8", "LOS-9", kind="property")
@over_rationals
@given(m=circle, gamma=st.fractions(min_value=Fraction(1, 4), max_value=10, max_denominator=20))
def test_min_snr_over_the_rationals(m: Fraction, gamma: Fraction) -> None:
    """LOS-8: min(SNR, gamma)/(SNR + 1) on v is sigma^2 min(SNR, gamma); min(SNR + 1, gamma), or max, is different."""
    a, s = on_circle(m)
    snr = (a / s) ** 2
    on_v = min(snr, gamma) / (snr + 1)
    assert on_v == s * s * min(snr, gamma) == min(a * a, gamma * s * s)
    assert min(snr, gamma) / snr == min(1, gamma * (s / a) ** 2)
    assert min(snr + 1, gamma) / (snr + 1) > on_v or gamma <= snr
    assert max(snr, gamma) / snr != min(snr, gamma) / snr or snr == gamma
    assert 0 < on_v < gamma


@evidence("LOS-16", "LOS-17", kind="symbolic")
def test_weights_in_units_of_one_prediction() -> None:
    """LOS-16, LOS-17: SNR on x_0 is 1 on eps, SNR + 1 on x_0 is 1 on v, with the stated limits and closed forms."""
    snr, infinity = symbolic_objectives.snr, sp.oo
    assert symbolic_objectives.weight_limits(snr) == {"eps": (1, 1), "x_0": (0, infinity), "v": (0, 1)}
    assert symbolic_objectives.weight_limits(snr + 1) == {"eps": (infinity, 1), "x_0": (1, infinity), "v": (1, 1)}
    assert symbolic_objectives.scale_residuals() == [0, 0, 0, 0]


@evidence("LOS-16", "LOS-17", kind="property")
@over_rationals
@given(m=circle, x_0=rationals, eps=rationals, eps_hat=rationals)
def test_snr_weights_over_the_rationals(m: Fraction, x_0: Fraction, eps: Fraction, eps_hat: Fraction) -> None:
    """LOS-16, LOS-17: weighted losses of converted predictions are equal; SNR on eps, or on v, is another weight."""
    a, s = on_circle(m)
    snr, x_t = (a / s) ** 2, a * x_0 + s * eps
    x_hat = (x_t - s * eps_hat) / a
    v_hat, v = a * eps_hat - s * x_hat, a * eps - s * x_0
    of_eps, of_x_0, of_v = (eps_hat - eps) ** 2, (x_hat - x_0) ** 2, (v_hat - v) ** 2
    of_score = (-eps_hat / s + eps / s) ** 2
    assert snr * of_x_0 == of_eps == a * a * of_v == s * s * of_score
    assert (snr + 1) * of_x_0 == of_v == of_eps / (a * a) == of_score / snr
    assert snr + 1 == 1 / (s * s)
    assert of_eps == 0 or snr == 1 or snr * of_eps != of_eps
    assert of_v == 0 or snr * of_v != of_eps


@evidence("LOS-7", kind="certified")
def test_inverse_snr_of_the_default() -> None:
    """LOS-7: for the default linear schedule, 1/SNR at t = 1 is 2.32e4 (certified), and alpha^2/SNR = sigma^2."""
    value = certified.at(LINEAR, "log_snr", 1.0).value
    assert abs(float((-flint.arb(value)).exp()) - 2.31e4) < 0.02e4
    for t in (1e-6, 0.3, 0.9):
        quantities = {q: certified.at(LINEAR, q, t).value for q in ("alpha_bar", "variance", "log_snr")}
        inverse = np.exp(-quantities["log_snr"])
        assert abs(inverse * quantities["alpha_bar"] - quantities["variance"]) <= 2.0**-48 * quantities["variance"]


@evidence("LOS-10", kind="symbolic")
def test_derivative_of_the_divergence() -> None:
    """LOS-10: d KL(p_t | q_t)/dt = -beta/2 E (d log p/dx - d log q/dx)^2, for Gaussians, as algebra."""
    assert symbolic_objectives.divergence_rate_residual() == 0


@evidence("LOS-10", kind="quadrature")
def test_likelihood_weight_integrates_to_the_divergence() -> None:
    """LOS-10: for two mixtures, KL at t = 0.02 minus KL at 1 is 1/2 int beta E (d log p/dx - d log q/dx)^2 dt."""

    def score_error(t: float) -> float:
        p, q = _marginals(t)
        mean = objectives.over_marginal(p, lambda x: (p.score(x) - q.score(x)) ** 2)
        return float(0.5 * linear_rate(np.asarray(t)) * mean)

    integral, error = quad(score_error, 0.02, 1.0, epsrel=1e-10, limit=200)
    first, first_error = _integrated(partial(objectives.divergence, *_marginals(0.02)))
    last, last_error = _integrated(partial(objectives.divergence, *_marginals(1.0)))
    assert error < 1e-8
    assert first_error + last_error < 1e-4
    assert abs(integral - (first - last)) <= error + first_error + last_error + 1e-6


def _marginals(t: float) -> tuple[Mixture, Mixture]:
    """Return the marginals at time t of the two mixtures TWO and OTHER."""
    return TWO.noised(*linear_scales(t)), OTHER.noised(*linear_scales(t))
