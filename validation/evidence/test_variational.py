"""Chapter 5: the terms of the variational bound are divergences, and their sum bounds the negative log-likelihood."""

from __future__ import annotations

import itertools
from math import exp, log, pi, sqrt
from typing import Any

import flint
import numpy as np
import pytest
from scipy.integrate import quad

from refdiff.conformance.check import evidence

from ..oracles import objectives, symbolic_objectives
from .scales import linear_scales


def _divergence(m: float, v: float, n: float, u: float) -> tuple[float, float]:
    """Return KL(N(m, v) | N(n, u)) by quadrature, and the integrator's error estimate."""

    def integrand(x: float) -> float:
        p = -((x - m) ** 2) / (2 * v) - log(2 * pi * v) / 2
        q = -((x - n) ** 2) / (2 * u) - log(2 * pi * u) / 2
        return exp(p) * (p - q)

    half = 12 * sqrt(v)
    value, error = quad(integrand, m - half, m + half, epsabs=1e-13, epsrel=1e-12, limit=200)
    return float(value), float(error)


@evidence("LOS-13", "LOS-14", kind="symbolic")
def test_terms_are_divergences() -> None:
    """LOS-14: prior and step terms of the clauses are divergences of Gaussians, for both variances of the step."""
    assert symbolic_objectives.divergence_residual() == 0
    assert symbolic_objectives.prior_residual() == 0
    assert symbolic_objectives.step_residuals() == (0, 0)


@evidence("LOS-13", kind="quadrature")
@pytest.mark.parametrize("x_0", [0.0, 1.0, -2.5])
def test_prior_term_by_integration(x_0: float) -> None:
    """LOS-13: KL(q(x_1 | x_0) | N(0, 1)) by quadrature is the prior term; it is 2.16e-5 at x_0^2 = 1."""
    alpha, variance = linear_scales(1.0)
    value, error = _divergence(alpha * x_0, variance, 0.0, 1.0)
    clause = 0.5 * (alpha**2 * x_0**2 - alpha**2 - log(variance))
    assert error < 1e-10
    assert abs(value - clause) <= error + 1e-14
    if x_0 == 1.0:
        assert abs(clause - 2.16e-5) < 1e-7


@evidence("LOS-14", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), [(0.3, 0.4), (0.01, 0.02), (0.2, 0.9)])
def test_step_term_by_integration(s: float, t: float) -> None:
    """LOS-14: the divergence between the posteriors at x_0 and x_0_hat, by quadrature, is the step term.

    For both variances, with x_0_hat - x_0 = 0.7.
    """
    (a_s, v_s), (a_t, v_t) = linear_scales(s), linear_scales(t)
    added = 1.0 - (a_t / a_s) ** 2
    on_x_0, variance = a_s * added / v_t, added * v_s / v_t
    gap, r, difference = 0.7, v_s / v_t, a_s**2 / v_s - a_t**2 / v_t
    small, small_error = _divergence(0.0, variance, on_x_0 * gap, variance)
    large, large_error = _divergence(0.0, variance, on_x_0 * gap, added)
    clause = 0.5 * difference * gap**2
    # 1e-12 is for the rounding of differences of numbers near 1 in binary64.
    assert abs(small - clause) <= small_error + 1e-12 * (1 + a_s**2 / v_s)
    assert abs(large - (r * clause + 0.5 * (r - 1 - log(r)))) <= large_error + 1e-12 * (1 + a_s**2 / v_s)


@evidence("LOS-15", kind="certified")
@pytest.mark.parametrize("levels", [2, 4, 256])
def test_masses_of_the_levels_sum_to_one(levels: int) -> None:
    """LOS-15: if the outermost levels include the tails, the certified masses sum to 1; binary64 agrees with them."""
    mean, std = flint.arb("0.3"), flint.arb("0.11")

    def below(edge: Any) -> Any:
        return (1 + ((edge - mean) / std / flint.arb(2).sqrt()).erf()) / 2

    with flint.ctx.workprec(200):
        edges = [flint.arb(2 * i + 1) / (levels - 1) - 1 for i in range(levels - 1)]
        cuts = [flint.arb(0), *map(below, edges), flint.arb(1)]
        masses = [high - low for low, high in itertools.pairwise(cuts)]
        assert sum(masses, flint.arb(0)).overlaps(flint.arb(1))
        for level in range(0, levels, max(levels // 8, 1)):
            found = float(objectives.level_mass(level, levels, np.array(0.3), 0.11))
            if float(masses[level]) > 1e-250:
                # Rounding 0.3 and 0.11 to binary64 changes z by 1e-15 z, and the log-mass by z times that.
                z = abs(-1 + 2 * level / (levels - 1) - 0.3) / 0.11
                assert abs(found - float(masses[level].log())) <= 4e-15 * (1 + z) ** 2


LEVELS = 4
BETAS = (0.1, 0.2, 0.3, 0.5, 0.7)


def _model(k: int) -> tuple[float, float]:
    """Return c and d of a denoiser x_0_hat = c x + d: the best for Gaussian data with mean 0.1 and variance 0.4."""
    a_bar = float(np.prod([1 - b for b in BETAS[:k]]))
    c = sqrt(a_bar) * 0.4 / (a_bar * 0.4 + 1 - a_bar)
    return c, 0.1 * (1 - c * sqrt(a_bar))


def _bound(level: int) -> dict[str, float]:
    """Return the terms of the bound for data at one level, averaged over q by Gauss-Hermite quadrature."""
    x_0 = -1.0 + 2.0 * level / (LEVELS - 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / sqrt(2 * pi)
    bars = [1.0, *np.cumprod([1 - b for b in BETAS]).tolist()]
    last = bars[-1]
    terms = {"prior": 0.5 * (last * x_0**2 - last - log(1 - last)), "steps": 0.0}
    for k in range(2, len(BETAS) + 1):
        x_k = sqrt(bars[k]) * x_0 + sqrt(1 - bars[k]) * nodes
        c, d = _model(k)
        difference = bars[k - 1] / (1 - bars[k - 1]) - bars[k] / (1 - bars[k])
        terms["steps"] += float((weights * 0.5 * difference * (c * x_k + d - x_0) ** 2).sum())
    x_1 = sqrt(bars[1]) * x_0 + sqrt(1 - bars[1]) * nodes
    c, d = _model(1)
    terms["decoder"] = -float((weights * objectives.level_mass(level, LEVELS, c * x_1 + d, sqrt(BETAS[0]))).sum())
    return terms


def _log_likelihood(level: int) -> float:
    """Return log p(x_0) under the same model: x_1 is Gaussian, by an affine recursion, and one integral gives x_0."""
    bars = [1.0, *np.cumprod([1 - b for b in BETAS]).tolist()]
    mean, variance = 0.0, 1.0
    for k in range(len(BETAS), 1, -1):
        c, d = _model(k)
        on_x_0 = sqrt(bars[k - 1]) * BETAS[k - 1] / (1 - bars[k])
        on_x_k = sqrt(1 - BETAS[k - 1]) * (1 - bars[k - 1]) / (1 - bars[k])
        slope = on_x_0 * c + on_x_k
        added = BETAS[k - 1] * (1 - bars[k - 1]) / (1 - bars[k])
        mean, variance = slope * mean + on_x_0 * d, slope**2 * variance + added
    c, d = _model(1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    x_1 = mean + sqrt(variance) * nodes
    mass = np.exp(objectives.level_mass(level, LEVELS, c * x_1 + d, sqrt(BETAS[0])))
    return log(float((weights / sqrt(2 * pi) * mass).sum()))


@evidence("LOS-15", kind="quadrature")
def test_sum_of_the_terms_is_a_bound() -> None:
    """LOS-15: for a Gaussian model of 5 steps, the sum is at least -log p(x_0), by at most 0.6 nats, at each level.

    Without the step terms, or without the decoder term, it is below -log p(x_0) at some level. The probabilities of the
    levels under the model sum to 1.
    """
    gaps = []
    for level in range(LEVELS):
        terms = _bound(level)
        gaps.append((sum(terms.values()) + _log_likelihood(level), terms))
    assert all(0.0 <= gap < 0.6 for gap, _ in gaps)
    for name in ("steps", "decoder"):
        assert any(gap < terms[name] for gap, terms in gaps)
    assert abs(sum(np.exp(_log_likelihood(level)) for level in range(LEVELS)) - 1.0) < 1e-6


@evidence("LOS-15", kind="quadrature")
@pytest.mark.parametrize("level", range(LEVELS))
def test_terms_at_a_single_draw_are_no_bound(level: int) -> None:
    """LOS-15: only the mean over q is a bound: for some x_1..x_N from q(. | x_0) the sum is below -log p(x_0).

    Here each x_k minimises its own term within two standard deviations, so the probability of such draws is positive.
    """
    x_0 = -1.0 + 2.0 * level / (LEVELS - 1)
    z = np.linspace(-2.0, 2.0, 401)
    bars = [1.0, *np.cumprod([1 - b for b in BETAS]).tolist()]
    total = 0.5 * (bars[-1] * x_0**2 - bars[-1] - log(1 - bars[-1]))
    for k in range(2, len(BETAS) + 1):
        c, d = _model(k)
        difference = bars[k - 1] / (1 - bars[k - 1]) - bars[k] / (1 - bars[k])
        x_k = sqrt(bars[k]) * x_0 + sqrt(1 - bars[k]) * z
        total += float((0.5 * difference * (c * x_k + d - x_0) ** 2).min())
    c, d = _model(1)
    x_1 = sqrt(bars[1]) * x_0 + sqrt(1 - bars[1]) * z
    total -= float(objectives.level_mass(level, LEVELS, c * x_1 + d, sqrt(BETAS[0])).max())
    assert total < -_log_likelihood(level)
