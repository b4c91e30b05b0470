"""Chapter 2: what it says of the Gaussians is true. The simulations are in test_simulation.py."""

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
"""Error of some tens of binary64 operations on numbers of order 1, divided by a variance above 0.05."""


@final
@dataclass(frozen=True, slots=True)
class Numbers:
    """MAR-6 and MAR-7 at two times, from certified alphas."""

    earlier: Gaussian
    later: Gaussian
    scale: float
    added: float
    on_x_0: float
    on_x_t: float
    variance: float


def numbers(process: certified.Process, s: float, t: float) -> Numbers:
    """Evaluate the clauses in binary64."""
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

    Linear equations have one solution. alpha^2 and it sum to 1.
    """
    q = symbolic.schedule(name)
    assert symbolic.is_zero(symbolic.mean_residual(q))
    assert symbolic.is_zero(symbolic.variance_residual(q))
    assert symbolic.at_zero(q.mean) == 1
    assert symbolic.at_zero(q.variance) == 0
    assert symbolic.is_zero(q.mean**2 + q.variance - 1)


@evidence("MAR-1", "MAR-2", "MAR-9", "SDE-5", kind="symbolic")
def test_marginal_solves_the_fokker_planck_equation() -> None:
    """MAR-9: the Gaussian density has no Fokker-Planck residual, for any rate."""
    assert symbolic.is_zero(symbolic.fokker_planck_residual(symbolic.schedule("general")))


@evidence("MAR-1", "MAR-2", "MAR-3", "SDE-1", "SDE-2", "SDE-5", kind="quadrature")
@pytest.mark.parametrize("t", [2.0**-10, 0.1, 0.5, 0.9375])
@pytest.mark.parametrize(("process", "rate"), RATES)
def test_integrated_moments_are_certified(process: certified.Process, rate: quadrature.Real, t: float) -> None:
    """MAR-2: DOP853 on the moment ODE meets Arb's alpha and sigma^2, within the sum of its steps' tolerances."""
    found = quadrature.moments(rate, t)
    assert found.error < 1e-9
    assert abs(found.mean - certified.at(process, "alpha", t).value) <= found.error
    assert abs(found.variance - certified.at(process, "variance", t).value) <= found.error
    assert abs(found.mean**2 + found.variance - 1) <= 3 * found.error


@evidence("MAR-3", kind="certified")
@pytest.mark.parametrize("t", [2.0**-1000, 0.01, 0.5, 1 - 2.0**-53])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_certified_variance_is_preserved(process: certified.Process, t: float) -> None:
    """MAR-3: the balls of alpha and sigma, each computed by itself, have squares that sum to 1 within 2^-100."""
    with flint.ctx.workprec(2500):
        total = flint.arb(0)
        for quantity in ("alpha", "sigma"):
            found = certified.at(process, quantity, t)
            total += (flint.arb(found.value) + flint.arb(found.residual)) ** 2
        assert abs(total - 1) < 2.0**-100


@evidence("MAR-4", kind="symbolic")
def test_sample_has_the_law_of_the_marginal() -> None:
    """MAR-4: alpha x_0 + sigma eps, eps ~ N(0, 1), has the characteristic function of N(alpha x_0, sigma^2)."""
    assert symbolic.is_zero(symbolic.characteristic_residual())


@evidence("MAR-4", kind="exhaustive")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_samples_meet_their_bound(case: Case, dtype: Dtype, seed: int) -> None:
    """MAR-4: in one dtype throughout, at every float16 time, x_t of a right formula is within its bound."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    x_0, eps = _draws(dtype, seed)
    loss = delta(u, q.k)
    with np.errstate(divide="ignore"):
        of_sigma = np.fmin(loss / q.sigma, np.sqrt(loss))
    rounding = 4 * u * (q.alpha * abs(wide(x_0)) + q.sigma * abs(wide(eps)))
    bound = abs(wide(x_0)) * delta(u, q.k_alpha) + abs(wide(eps)) * of_sigma + rounding
    for name, formula in case.formulas.items():
        got = formula(times(dtype), case.process.parameters)
        x_t = got["alpha"] * x_0 + got["sigma"] * eps
        error = np.abs(wide(x_t) - (q.alpha * wide(x_0) + q.sigma * wide(eps)))
        assert np.all(error <= bound), f"{name} {worst(error, bound, q.t)}"


def _draws(dtype: Dtype, seed: int) -> tuple[Array, Array]:
    """Return unit normal data and noise, one each a time; their products are kept from underflow."""
    draws = np.random.default_rng(seed).standard_normal((2, times(dtype).size))
    x_0, eps = np.copysign(np.maximum(np.abs(draws), 2.0**-6), draws).astype(dtype)
    return x_0, eps


@evidence("MAR-6", kind="symbolic")
def test_two_steps_are_one() -> None:
    """MAR-6: scale and variance of two transitions compose to those of one; a linear schedule's rest is linear."""
    for residual in (*symbolic.semigroup_residuals(), symbolic.remainder_residual()):
        assert symbolic.is_zero(residual)


@evidence("MAR-6", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_transition_carries_density_to_density(process: certified.Process, s: float, t: float) -> None:
    """MAR-6: q(x_s | x_0) integrated against q(x_t | x_s) is q(x_t | x_0), at five points, within quad's estimate.

    Rounding moves a density by its logarithm's: less than 40 times ROUNDING/2^6 within 3 standard deviations.
    """
    n = numbers(process, s, t)
    for z in (-3.0, -1.0, 0.0, 0.5, 2.0):
        x = n.later.mean + z * sqrt(n.later.variance)
        found = quadrature.convolved(x, n.earlier, n.scale, n.added)
        assert abs(found.value - n.later.density(x)) <= found.error + ROUNDING * n.later.density(x)


@evidence("MAR-7", kind="symbolic")
def test_posterior_is_bayes_rule() -> None:
    """MAR-7: log q(x_t | x_s) + log q(x_s | x_0) - log q(x_t | x_0) is the log-density of the clause's Gaussian."""
    for residual in symbolic.bayes_residuals():
        assert symbolic.is_zero(residual)


@evidence("MAR-7", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_posterior_moments_by_integration(process: certified.Process, s: float, t: float) -> None:
    """MAR-7: evidence, mean and variance of x_s given x_t, integrated, are those of the clauses."""
    n = numbers(process, s, t)
    for z in (-1.5, 0.0, 1.0):
        x_t = n.later.mean + z * sqrt(n.later.variance)
        evidence, mean, variance = quadrature.bayes(x_t, n.earlier, n.scale, n.added)
        assert max(evidence.error, mean.error, variance.error) < 1e-9
        assert abs(evidence.value - n.later.density(x_t)) <= evidence.error + ROUNDING
        assert abs(mean.value - (n.on_x_0 * X_0 + n.on_x_t * x_t)) <= mean.error + ROUNDING
        assert abs(variance.value - n.variance) <= variance.error + ROUNDING


@evidence("MAR-8", kind="symbolic")
def test_posterior_undoes_the_marginal() -> None:
    """MAR-8: A + B alpha_t = alpha_s, and B^2 sigma_t^2 + variance = sigma_s^2."""
    for residual in symbolic.undoing_residuals():
        assert symbolic.is_zero(residual)


@evidence("MAR-8", kind="quadrature")
@pytest.mark.parametrize(("s", "t"), PAIRS)
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_posterior_carries_density_back(process: certified.Process, s: float, t: float) -> None:
    """MAR-8: q(x_t | x_0) integrated against q(x_s | x_t, x_0) is q(x_s | x_0), within quad's estimate."""
    n = numbers(process, s, t)
    for z in (-2.0, 0.0, 1.0):
        x = n.earlier.mean + z * sqrt(n.earlier.variance)
        found = quadrature.convolved(x - n.on_x_0 * X_0, n.later, n.on_x_t, n.variance)
        assert abs(found.value - n.earlier.density(x)) <= found.error + ROUNDING * n.earlier.density(x)


@evidence("MAR-7", "MAR-8", kind="property")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", DEFAULTS)
def test_right_posteriors_meet_their_bound(case: Case, dtype: Dtype, seed: int) -> None:
    """MAR-7: at random pairs of times and random data, a posterior in one dtype throughout is within its bound."""
    q, u = exact(case.process, dtype), ROUNDOFF[dtype]
    i, j = np.sort(np.random.default_rng(seed).integers(0, q.t.size, (2, 4000)), axis=0)
    e, inside = _posterior_slack(q, u, i, j)
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


def _posterior_slack(q: Exact, u: float, i: Array, j: Array) -> tuple[Floats, Array]:
    """Return MAR-7's e for pairs s = t[i], t = t[j], and where the clause asks: s < t and 8e <= sigma_t^2."""
    loss = delta(u, q.k)
    with np.errstate(divide="ignore"):
        e = loss[j] + loss[i] + (loss[j] + loss[i]) / q.alpha_bar[i]
    return e, (i < j) & (8 * e <= q.variance[j])


@evidence("MAR-9", kind="symbolic")
def test_score_is_minus_eps_over_sigma() -> None:
    """MAR-9: the log-density of D features is D times that of one; its gradient is -(x_t - alpha x_0)/sigma^2."""
    s = symbolic
    assert s.is_zero(s.density_residual())
    assert s.is_zero(s.score() + (s.x_t - s.alpha * s.x_0) / s.sigma**2)
    assert s.is_zero(s.score().subs(s.x_t, s.alpha * s.x_0 + s.sigma * s.eps) + s.eps / s.sigma)


def _log_density(x: float, y: float, alpha: float, sigma: float) -> float:
    """Return MAR-9 as it is written, for D = 2 and x_0 = (X_0, -X_0)."""
    square = (x - alpha * X_0) ** 2 + (y + alpha * X_0) ** 2
    return -0.5 * square / sigma**2 - 2 * log(sigma) - 0.5 * 2 * log(2 * pi)


@evidence("MAR-9", kind="quadrature")
@pytest.mark.parametrize("t", [0.0625, 0.75])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_density_has_unit_mass(process: certified.Process, t: float) -> None:
    """MAR-9: with D = 2 its exponential integrates to 1 over the plane, within the integrator's estimate."""
    alpha, sigma = (certified.at(process, q, t).value for q in ("alpha", "sigma"))
    found = quadrature.mass(lambda x, y: _log_density(x, y, alpha, sigma), (alpha * X_0, -alpha * X_0), sigma)
    assert found.error < 1e-6
    assert abs(found.value - 1) <= found.error


@evidence("MAR-9", "PAR-4", kind="quadrature")
@pytest.mark.parametrize("t", [0.0625, 0.75])
@pytest.mark.parametrize("process", [LINEAR, COSINE])
def test_differences_of_the_density_are_its_score(process: certified.Process, t: float) -> None:
    """MAR-9: the log-density is quadratic, so a central difference of step sigma is exact, but for rounding.

    That is 2^-50 |log q|/sigma: five roundings of 2^-53 for each of two values, over twice the step.
    """
    alpha, sigma = (certified.at(process, q, t).value for q in ("alpha", "sigma"))
    for eps in (-2.0, 0.3, 1.7):
        x = alpha * X_0 + sigma * eps
        above, below = (_log_density(x + h, 0.1, alpha, sigma) for h in (sigma, -sigma))
        size = abs(above) + abs(below) + 2 / sigma**2
        assert abs((above - below) / (2 * sigma) + eps / sigma) <= 2.0**-50 * size / sigma
