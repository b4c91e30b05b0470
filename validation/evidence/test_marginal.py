"""Chapter 2: the Gaussians of the forward process have the moments and densities that the clauses state.

The simulations are in test_simulation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt
from typing import final

import flint
import numpy as np
import pytest

from refdiff.conformance.check import evidence

from ..oracles import certified, quadrature, symbolic
from ..oracles.quadrature import Gaussian
from .exact import (
    COSINE,
    DEFAULTS,
    LINEAR,
    ROUNDOFF,
    Array,
    Case,
    Dtype,
    Exact,
    Floats,
    delta,
    exact,
    times,
    wide,
    worst,
)

NAMES: tuple[symbolic.Name, ...] = ("general", "linear", "cosine")
RATES: tuple[tuple[certified.Process, quadrature.Real], ...] = (
    (LINEAR, quadrature.linear_rate(0.1, 20.0)),
    (COSINE, quadrature.cosine_rate(0.008)),
)
PAIRS = ((0.125, 0.25), (0.25, 0.75), (0.5, 0.53125))
X_0 = 0.8
ROUNDING = 2.0**-46
"""Rounding error of some tens of binary64 operations on numbers of order 1, divided by a variance above 0.05."""


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """Transition (MAR-6) and posterior (MAR-7) between two times, from certified alphas, with their marginals."""

    earlier: Gaussian
    later: Gaussian
    scale: float
    added: float
    on_x_0: float
    on_x_t: float
    variance: float


def numbers(process: certified.Process, s: float, t: float) -> Numbers:
    """Evaluate the formulas of MAR-6 and MAR-7 in binary64."""
    alpha_s, alpha_t = (certified.at(process, "alpha", time).value for time in (s, t))
    v_s, v_t = 1 - alpha_s**2, 1 - alpha_t**2
    scale, added = alpha_t / alpha_s, 1 - (alpha_t / alpha_s) ** 2
    return Numbers(
        Gaussian(alpha_s * X_0, v_s),
        Gaussian(alpha_t * X_0, v_t),
        scale,
        added,
        alpha_s * added / v_t,
        scale * v_s / v_t,
        v_s * added / v_t,
    )


@evidence("MAR-1", "MAR-2", "MAR-3", "SDE-1", "SDE-2", "SDE-5", kind="symbolic")
@pytest.mark.parametrize("name", NAMES)
def test_closed_form_solves_the_moment_equations(name: symbolic.Name) -> None:
    """MAR-2: alpha solves dmu/dt = -beta mu/2 from 1, and 1 - alpha_bar solves dV/dt = -beta V + beta from 0.

    The equations are linear, so these are their only solutions; alpha^2 and 1 - alpha_bar sum to 1.
    """
    q = symbolic.schedule(name)
    assert symbolic.is_zero(symbolic.mean_residual(q))
    assert symbolic.is_zero(symbolic.variance_residual(q))
    assert symbolic.at_zero(q.mean) == 1
    assert symbolic.at_zero(q.variance) == 0
    assert symbolic.is_zero(q.mean**2 + q.variance - 1)


@evidence("MAR-1", "MAR-2", "MAR-9", "SDE-5", kind="symbolic")
def test_marginal_solves_the_fokker_planck_equation() -> None:
    """MAR-9: the Gaussian density solves the Fokker-Planck equation of the forward SDE, for any rate."""
    assert symbolic.is_zero(symbolic.fokker_planck_residual(symbolic.schedule("general")))


@evidence("MAR-1", "MAR-2", "MAR-3", "SDE-1", "SDE-2", "SDE-5", kind="quadrature")
@pytest.mark.parametrize("t", [2.0**-10, 0.1, 0.5, 0.9375])
@pytest.mark.parametrize(("process", "rate"), RATES)
def test_integrated_moments_agree_with_certified_ones(
    process: certified.Process, rate: quadrature.Real, t: float
) -> None:
    """MAR-2: the moment ODEs, solved by DOP853, agree with Arb's alpha and sigma^2 within the sum of the tolerances."""
    found = quadrature.moments(rate, t)
    assert found.error < 1e-9
    assert abs(found.mean - certified.at(process, "alpha", t).value) <= found.error
    assert abs(found.variance - certified.at(process, "variance", t).value) <= found.error
    assert abs(found.mean**2 + found.variance - 1) <= 3 * found.error


@evidence("MAR-3", kind="certified")
@pytest.mark.parametrize("t", [2.0**-1000, 0.01, 0.5, 1 - 2.0**-53])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_certified_variance_is_preserved(process: certified.Process, t: float) -> None:
    """MAR-3: the squares of alpha and sigma, each certified independently, sum to 1 within 2^-100."""
    with flint.ctx.workprec(2500):
        total = flint.arb(0)
        for quantity in ("alpha", "sigma"):
            found = certified.at(process, quantity, t)
            total += (flint.arb(found.value) + flint.arb(found.residual)) ** 2
        assert abs(total - 1) < 2.0**-100


@evidence("MAR-4", kind="symbolic")
def test_sample_has_the_marginal_distribution() -> None:
    """MAR-4: alpha x_0 + sigma eps, eps ~ N(0, 1), has the characteristic function of N(alpha x_0, sigma^2)."""
    assert symbolic.is_zero(symbolic.characteristic_residual())


@evidence("MAR-4", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_samples_are_within_tolerance(case: Case, dtype: Dtype, seed: int) -> None:
    """MAR-4: at every float16 time, and float32 ones, x_t by right formulas in one dtype is within tolerance."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    x_0, eps = _draws(dtype, seed)
    variance_error = delta(u, q.k)
    with np.errstate(divide="ignore"):
        sigma_error = np.fmin(variance_error / q.sigma, np.sqrt(variance_error))
    rounding = 4 * u * (q.alpha * abs(wide(x_0)) + q.sigma * abs(wide(eps)))
    bound = abs(wide(x_0)) * delta(u, q.k_alpha) + abs(wide(eps)) * sigma_error + rounding
    for name, formula in case.formulas.items():
        got = formula(times(dtype), case.process.parameters)
        x_t = got["alpha"] * x_0 + got["sigma"] * eps
        error = np.abs(wide(x_t) - (q.alpha * wide(x_0) + q.sigma * wide(eps)))
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t)}"


def _draws(dtype: Dtype, seed: int) -> tuple[Array, Array]:
    """Return standard normal x_0 and eps, one of each per time, with |x| >= 2^-6 so that products do not underflow."""
    draws = np.random.default_rng(seed).standard_normal((2, times(dtype).size))
    x_0, eps = np.copysign(np.maximum(np.abs(draws), 2.0**-6), draws).astype(dtype)
    return x_0, eps


@evidence("MAR-6", kind="symbolic")
def test_transitions_form_a_semigroup() -> None:
    """MAR-6: two transitions compose to one, and a linear schedule restricted to [u, 1] is a linear schedule."""
    for residual in (*symbolic.semigroup_residuals(), symbolic.remainder_residual()):
        assert symbolic.is_zero(residual)


@evidence("MAR-6", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_transition_maps_marginal_to_marginal(process: certified.Process, s: float, t: float) -> None:
    """MAR-6: the integral of q(x_t | x_s) q(x_s | x_0) dx_s is q(x_t | x_0) at five points, within quad's estimate.

    The relative rounding error of a density is the absolute one of its logarithm: below ROUNDING within 3 deviations.
    """
    n = numbers(process, s, t)
    for z in (-3.0, -1.0, 0.0, 0.5, 2.0):
        x = n.later.mean + z * sqrt(n.later.variance)
        found = quadrature.convolved(x, n.earlier, n.scale, n.added)
        assert abs(found.value - n.later.density(x)) <= found.error + ROUNDING * n.later.density(x)


@evidence("MAR-7", kind="symbolic")
def test_posterior_is_bayes_rule() -> None:
    """MAR-7: log q(x_t | x_s) + log q(x_s | x_0) - log q(x_t | x_0) is the log-density that the clause states."""
    for residual in symbolic.bayes_residuals():
        assert symbolic.is_zero(residual)


@evidence("MAR-7", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_posterior_moments_by_integration(process: certified.Process, s: float, t: float) -> None:
    """MAR-7: evidence p(x_t), mean and variance of x_s given x_t, by quadrature, are those of the clauses."""
    n = numbers(process, s, t)
    for z in (-1.5, 0.0, 1.0):
        x_t = n.later.mean + z * sqrt(n.later.variance)
        evidence, mean, variance = quadrature.bayes(x_t, n.earlier, n.scale, n.added)
        assert max(evidence.error, mean.error, variance.error) < 1e-9
        assert abs(evidence.value - n.later.density(x_t)) <= evidence.error + ROUNDING
        assert abs(mean.value - (n.on_x_0 * X_0 + n.on_x_t * x_t)) <= mean.error + ROUNDING
        assert abs(variance.value - n.variance) <= variance.error + ROUNDING


@evidence("MAR-8", kind="symbolic")
def test_posterior_averages_to_the_earlier_marginal() -> None:
    """MAR-8: A + B alpha_t = alpha_s, and B^2 sigma_t^2 + variance = sigma_s^2."""
    for residual in symbolic.undoing_residuals():
        assert symbolic.is_zero(residual)


@evidence("MAR-8", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_posterior_maps_marginal_to_earlier_marginal(process: certified.Process, s: float, t: float) -> None:
    """MAR-8: the integral of q(x_s | x_t, x_0) q(x_t | x_0) dx_t is q(x_s | x_0), within quad's estimate."""
    n = numbers(process, s, t)
    for z in (-2.0, 0.0, 1.0):
        x = n.earlier.mean + z * sqrt(n.earlier.variance)
        found = quadrature.convolved(x - n.on_x_0 * X_0, n.later, n.on_x_t, n.variance)
        assert abs(found.value - n.earlier.density(x)) <= found.error + ROUNDING * n.earlier.density(x)


@evidence("MAR-7", "MAR-8", kind="property")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_posteriors_are_within_tolerance(case: Case, dtype: Dtype, seed: int) -> None:
    """MAR-7: at random pairs of times and data, mean and variance in one dtype throughout are within tolerance."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    i, j = np.sort(np.random.default_rng(seed).integers(0, q.t.size, (2, 4000)), axis=0)
    e, inside = _posterior_error(q, u, i, j)
    i, j, e = i[inside], j[inside], e[inside]
    assert i.size > 500
    x_0, x_t = (part[i] for part in _draws(dtype, seed))
    v_s, v_t = q.variance[i], q.variance[j]
    added = (v_t - v_s) / q.alpha_bar[i]
    mean = q.alpha[i] * added / v_t * wide(x_0) + q.alpha[j] / q.alpha[i] * v_s / v_t * wide(x_t)
    for name, formula in case.formulas.items():
        got = formula(times(dtype), case.process.parameters)
        a_s, a_t = got["alpha_bar"][i], got["alpha_bar"][j]
        n_s, n_t, n_added = 1 - a_s, 1 - a_t, 1 - a_t / a_s
        n_mean = np.sqrt(a_s) * n_added / n_t * x_0 + np.sqrt(a_t / a_s) * n_s / n_t * x_t
        error, bound = np.abs(wide(n_mean) - mean), 4 * (abs(wide(x_0)) + abs(wide(x_t))) * e / v_t
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t[j])}"
        error, bound = np.abs(wide(n_s * n_added / n_t) - v_s * added / v_t), 4 * e / v_t
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t[j])}"


def _posterior_error(q: Exact, u: float, i: Array, j: Array) -> tuple[Floats, Array]:
    """Return MAR-7's e for the pairs s = t[i], t = t[j], and the domain of the clause: s < t and 8e <= sigma_t^2."""
    error = delta(u, q.k)
    with np.errstate(divide="ignore"):
        e = error[j] + error[i] + (error[j] + error[i]) / q.alpha_bar[i]
    return e, (i < j) & (8 * e <= q.variance[j])


@evidence("MAR-9", kind="symbolic")
def test_score_is_minus_eps_over_sigma() -> None:
    """MAR-9: the log-density in D dimensions is a sum over dimensions; its gradient is -(x_t - alpha x_0)/sigma^2."""
    s = symbolic
    assert s.is_zero(s.density_residual())
    assert s.is_zero(s.score() + (s.x_t - s.alpha * s.x_0) / s.sigma**2)
    assert s.is_zero(s.score().subs(s.x_t, s.alpha * s.x_0 + s.sigma * s.eps) + s.eps / s.sigma)


def _log_density(x: float, y: float, alpha: float, sigma: float) -> float:
    """Return the log-density of MAR-9, for D = 2 and x_0 = (X_0, -X_0)."""
    square = (x - alpha * X_0) ** 2 + (y + alpha * X_0) ** 2
    return -0.5 * square / sigma**2 - 2 * log(sigma) - 0.5 * 2 * log(2 * pi)


@evidence("MAR-9", kind="quadrature")
@pytest.mark.parametrize("t", [0.0625, 0.75])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_density_has_unit_mass(process: certified.Process, t: float) -> None:
    """MAR-9: for D = 2 the density integrates to 1 over the plane, within the integrator's estimate."""
    alpha, sigma = (certified.at(process, q, t).value for q in ("alpha", "sigma"))
    found = quadrature.mass(lambda x, y: _log_density(x, y, alpha, sigma), (alpha * X_0, -alpha * X_0), sigma)
    assert found.error < 1e-6
    assert abs(found.value - 1) <= found.error


@evidence("MAR-9", "PAR-4", kind="quadrature")
@pytest.mark.parametrize("t", [0.0625, 0.75])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_score_is_the_difference_quotient_of_the_log_density(process: certified.Process, t: float) -> None:
    """MAR-9: the log-density is quadratic, so its central difference quotient is the score, up to rounding.

    Rounding error: 2^-50 |log q|/sigma, from five roundings of 2^-53 in each of two values, over twice the step sigma.
    """
    alpha, sigma = (certified.at(process, q, t).value for q in ("alpha", "sigma"))
    for eps in (-2.0, 0.3, 1.7):
        x = alpha * X_0 + sigma * eps
        above, below = _log_density(x + sigma, 0.1, alpha, sigma), _log_density(x - sigma, 0.1, alpha, sigma)
        size = abs(above) + abs(below) + 2 / sigma**2
        assert abs((above - below) / (2 * sigma) + eps / sigma) <= 2.0**-50 * size / sigma
