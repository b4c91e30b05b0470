"""Chapter 10: steps of the samplers follow from the SDE, the flow and the posterior, and have the stated orders.

All errors are computed without Monte Carlo.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from math import log2, sqrt
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import solve_ivp

from refdiff.conformance.check import evidence

from ..oracles import symbolic_sde, walk
from ..oracles.mixture import ONE, TWO
from .rationals import circle, on_circle, over_rationals
from .scales import linear_rate, linear_scales

Affine: TypeAlias = Callable[[float, float], tuple[float, float, float]]
"""Maps t and s to a, b and v of a sampler's step x -> a x + b + N(0, v) on Gaussian data with exact eps."""


@evidence("SMP-1", "SMP-4", kind="symbolic")
def test_euler_steps_follow_the_sde_and_the_flow() -> None:
    """SMP-1: x minus h times the drift of the reverse SDE, at the score -eps/sigma; SMP-4: the same for the flow."""
    for residual in symbolic_sde.euler_residuals():
        assert residual == 0


@evidence("SMP-2", kind="symbolic")
def test_posterior_mean_is_the_mean_of_ddpm() -> None:
    """SMP-2: A x_0_hat + B x_t = (x_t - (1 - alpha_t|s^2)/sigma_t eps)/alpha_t|s, DDPM's mean, for any stride."""
    assert symbolic_sde.ddpm_residual() == 0


@evidence("SMP-3", "SMP-5", "SMP-2", kind="symbolic")
def test_steps_with_exact_eps_have_the_marginal() -> None:
    """SMP-5: if eps_hat = eps, ddim gives alpha_s x_0 + sigma_s eps, ddpm the mean alpha_s x_0, variance sigma_s^2."""
    assert symbolic_sde.landing_residuals() == (0, 0, 0)


@evidence("SMP-6", "SMP-12", kind="symbolic")
def test_last_step_is_the_prediction() -> None:
    """SMP-6: at s = 0, the posterior has the mean x_0_hat and the variance 0."""
    assert symbolic_sde.last_step_residuals() == (0, 0)


@evidence("SMP-2", "SMP-3", "SMP-5", kind="property")
@over_rationals
@given(earlier=circle, later=circle, x_0=circle, eps=circle)
def test_steps_over_the_rationals(earlier: Fraction, later: Fraction, x_0: Fraction, eps: Fraction) -> None:
    """SMP-3: over the rationals, ddim with exact eps gives x_s of the marginal; at eta = 1 its mean is that of ddpm."""
    low, high = sorted((earlier, later))
    if low == high:
        return
    (a_s, s_s), (a_t, s_t) = on_circle(low), on_circle(high)
    x_t = a_t * x_0 + s_t * eps
    assert a_s * (x_t - s_t * eps) / a_t + s_s * eps == a_s * x_0 + s_s * eps
    added = 1 - (a_t / a_s) ** 2
    on_x_0, on_x_t, variance = a_s * added / s_t**2, a_t / a_s * s_s**2 / s_t**2, added * s_s**2 / s_t**2
    # ddpm's mean is alpha_s x_0 + B sigma_t eps, ddim's at eta = 1 alpha_s x_0 + sqrt(sigma_s^2 - variance) eps.
    assert on_x_0 * x_0 + on_x_t * x_t == a_s * x_0 + on_x_t * s_t * eps
    assert (on_x_t * s_t) ** 2 == s_s**2 - variance
    assert on_x_0 * x_0 + on_x_t * x_t == (x_t - added / s_t * eps) * a_s / a_t
    # The variance added by a strided step differs from that of an adjacent one, beta_k.
    assert added != 1 - a_t**2 or s_s == 0


At: TypeAlias = tuple[Fraction, Fraction]
"""alpha and sigma."""
Step: TypeAlias = Callable[[Fraction, Fraction, At, At], tuple[Fraction, Fraction]]
"""Maps x_t, eps_hat, and the scales at t and at s, to mean and variance of x_s."""


def _predicted(x: Fraction, eps: Fraction, t: At) -> Fraction:
    """Return x_0_hat."""
    return (x - t[1] * eps) / t[0]


def _textbook(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDPM's step, (x - (1 - ratio^2)/sigma_t eps_hat)/ratio and its variance, ratio = alpha_t/alpha_s."""
    added = 1 - (t[0] / s[0]) ** 2
    return (x - added / t[1] * eps) * s[0] / t[0], added * s[1] ** 2 / t[1] ** 2


def _by_precision(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return the posterior at x_0_hat by Bayes' rule, where the precisions of prior and likelihood add; sigma_s > 0."""
    ratio, prior = t[0] / s[0], 1 / s[1] ** 2
    likelihood = ratio**2 / (1 - ratio**2)
    mean = likelihood * x / ratio + prior * s[0] * _predicted(x, eps, t)
    return mean / (likelihood + prior), 1 / (likelihood + prior)


def _deterministic(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDIM's step, alpha_s x_0_hat + sigma_s eps_hat, without noise."""
    return s[0] * _predicted(x, eps, t) + s[1] * eps, Fraction(0)


def _transition(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return a wrong step: DDPM's mean with the variance of q(x_t | x_s)."""
    return _textbook(x, eps, t, s)[0], 1 - (t[0] / s[0]) ** 2


def _unscaled(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return a wrong step: DDPM's mean without the factor 1/alpha_t|s."""
    return x - (1 - (t[0] / s[0]) ** 2) / t[1] * eps, Fraction(0)


NEAR = Fraction(1, 10**12)
"""A sigma_s close to 0, to test the limit of the last step."""


def _ends_with_the_prediction(step: Step, x: Fraction, eps: Fraction, t: At) -> bool:
    """Return whether the last step is x_0_hat without noise: as sigma_s -> 0, and at 0 if it is defined there."""
    x_0_hat = _predicted(x, eps, t)
    mean, variance = step(x, eps, t, on_circle(NEAR / 2))
    # The mean differs by terms of order sigma_s, with coefficients below 10^5 for the numbers drawn.
    converges = abs(mean - x_0_hat) < NEAR * 10**6 and 0 <= variance < NEAR
    if step is _by_precision:
        return converges
    return converges and step(x, eps, t, (Fraction(1), Fraction(0))) == (x_0_hat, Fraction(0))


@evidence("SMP-6", kind="property")
@over_rationals
@given(later=circle, x=circle, eps=circle)
def test_last_step_over_the_rationals(later: Fraction, x: Fraction, eps: Fraction) -> None:
    """SMP-6: for any x_t and eps_hat, the last step of ddpm and ddim is x_0_hat without noise; not of wrong ones."""
    t = on_circle(later)
    for step in (_textbook, _by_precision, _deterministic):
        assert _ends_with_the_prediction(step, x, eps, t)
    for wrong in (_transition, _unscaled):
        assert not _ends_with_the_prediction(wrong, x, eps, t)


@evidence("SMP-2", kind="property")
@over_rationals
@given(earlier=circle, later=circle, x=circle, eps=circle)
def test_ancestral_step_is_the_posterior(earlier: Fraction, later: Fraction, x: Fraction, eps: Fraction) -> None:
    """SMP-2: over the rationals, DDPM's step is the posterior by Bayes' rule, for any eps_hat."""
    low, high = sorted((earlier, later))
    if low == high:
        return
    s, t = on_circle(low), on_circle(high)
    assert _textbook(x, eps, t, s) == _by_precision(x, eps, t, s)
    assert _transition(x, eps, t, s) != _by_precision(x, eps, t, s)


def _moments(t: float) -> tuple[float, float]:
    """Return mean and variance of p_t for the data ONE."""
    law = ONE.noised(*linear_scales(t))
    return law.means[0], law.variances[0]


def _best(t: float) -> tuple[float, float, float]:
    """Return c, d and sigma of the best denoiser, eps*(x) = sigma (x - mean)/variance = c x + d."""
    mean, variance = _moments(t)
    sigma = sqrt(linear_scales(t)[1])
    return sigma / variance, -sigma * mean / variance, sigma


def _em(t: float, s: float) -> tuple[float, float, float]:
    (c, d, sigma), beta, h = _best(t), float(linear_rate(np.asarray(t))), t - s
    return 1 + 0.5 * beta * h - beta * h * c / sigma, -beta * h * d / sigma, beta * h


def _ode(t: float, s: float) -> tuple[float, float, float]:
    (c, d, sigma), beta, h = _best(t), float(linear_rate(np.asarray(t))), t - s
    return 1 + 0.5 * beta * h * (1 - c / sigma), -0.5 * beta * h * d / sigma, 0.0


def _ddim(t: float, s: float) -> tuple[float, float, float]:
    (c, d, sigma), (a_t, _), (a_s, v_s) = _best(t), linear_scales(t), linear_scales(s)
    return a_s * (1 - sigma * c) / a_t + sqrt(v_s) * c, (sqrt(v_s) - a_s * sigma / a_t) * d, 0.0


def _ddpm(t: float, s: float) -> tuple[float, float, float]:
    (c, d, sigma), (a_t, v_t), (a_s, v_s) = _best(t), linear_scales(t), linear_scales(s)
    ratio = a_t / a_s
    added = 1 - ratio**2
    return (1 - added / sigma * c) / ratio, -added / sigma * d / ratio, added * v_s / v_t


def _rk4(t: float, s: float) -> tuple[float, float, float]:
    """Return the step of the classical Runge-Kutta scheme on the flow, from its values at x = 0 and x = 1."""

    def slope(at: float, x: float) -> float:
        (c, d, sigma), beta = _best(at), float(linear_rate(np.asarray(at)))
        return -0.5 * beta * (x - (c * x + d) / sigma)

    ends = []
    for x in (0.0, 1.0):
        h, middle = s - t, 0.5 * (s + t)
        k_1 = slope(t, x)
        k_2 = slope(middle, x + 0.5 * h * k_1)
        k_3 = slope(middle, x + 0.5 * h * k_2)
        k_4 = slope(s, x + h * k_3)
        ends.append(x + h * (k_1 + 2 * k_2 + 2 * k_3 + k_4) / 6)
    return ends[1] - ends[0], ends[0], 0.0


END = 0.25
"""The time of the last step's result."""


def _errors(rule: Affine, steps: int) -> tuple[float, float]:
    """Return the errors of mean and variance at END, by the recursion of a sampler's affine steps from p_1."""
    mean, variance = _moments(1.0)
    times = 1.0 - np.arange(steps + 1) * (1.0 - END) / steps
    for t, s in itertools.pairwise(times.tolist()):
        a, b, added = rule(t, s)
        mean, variance = a * mean + b, a * a * variance + added
    exact_mean, exact_variance = _moments(END)
    return abs(mean - exact_mean), abs(variance - exact_variance)


@evidence("SMP-8", "SMP-13", "SMP-1", "SMP-4", kind="quadrature")
@pytest.mark.parametrize(
    ("rule", "order", "steps"), [(_em, 1, 960), (_ode, 1, 960), (_ddpm, 1, 960), (_ddim, 1, 960), (_rk4, 4, 48)]
)
def test_orders_on_gaussian_data(rule: Affine, order: int, steps: int) -> None:
    """SMP-8: doubling the number of steps divides the errors of mean and variance by 2^order, to 3% of the order.

    Rounding, 1e-16 per step, is below 1e-3 of the smallest error, that of RK4 with 192 steps.
    """
    found = [_errors(rule, steps << doubling) for doubling in range(3)]
    for moment in (0, 1):
        errors = [error[moment] for error in found]
        if moment == 0 and rule in (_ddpm, _ddim):
            # Steps with the exact posterior mean have no error in the mean, except for rounding.
            assert max(errors) < 1e-13
            continue
        for coarse, fine in itertools.pairwise(errors):
            assert abs(log2(coarse / fine) - order) <= 0.03 * order


@evidence("SMP-8", kind="symbolic")
def test_local_orders() -> None:
    """SMP-8: on dx/dt = a(t) x the local errors of Euler and Runge-Kutta are O(h^2) and O(h^5): orders 1 and 4."""
    assert symbolic_sde.local_orders() == (2, 5)


@evidence("SMP-8", "SMP-12", kind="symbolic")
def test_ddim_is_exact_for_point_data() -> None:
    """SMP-8: if the data are one point x_0, eps is constant along the flow, and one ddim step is exact."""
    assert symbolic_sde.landing_residuals()[0] == 0


def _flow(eps: Callable[[float, float], float], x: float, end: float) -> float:
    """Return the solution at `end` of the flow dx/dt = -beta/2 (x - eps/sigma) from x at t = 1, by DOP853."""

    def slope(t: float, state: np.ndarray) -> list[float]:
        at = float(state[0])
        return [-0.5 * float(linear_rate(np.asarray(t))) * (at - eps(at, t) / sqrt(linear_scales(t)[1]))]

    found = solve_ivp(slope, (1.0, end), [x], method="DOP853", rtol=1e-12, atol=1e-13)
    assert found.success
    return float(found.y[0, -1])


def _of_a_point(x_0: float) -> Callable[[float, float], float]:
    """Return the exact eps(x, t) for data that are one point."""
    return lambda x, t: (x - linear_scales(t)[0] * x_0) / sqrt(linear_scales(t)[1])


def _of_a_gaussian(x: float, t: float) -> float:
    """Return the exact eps(x, t) for the data ONE."""
    c, d, _ = _best(t)
    return c * x + d


def _ddim_step(x: float, eps: float, t: float, s: float) -> float:
    (a_t, v_t), (a_s, v_s) = linear_scales(t), linear_scales(s)
    return a_s * (x - sqrt(v_t) * eps) / a_t + sqrt(v_s) * eps


@evidence("SMP-8", "SMP-12", "SMP-3", kind="quadrature")
@pytest.mark.parametrize("end", [0.5, 0.25, 0.01])
@pytest.mark.parametrize(("x_0", "x"), [(0.7, 1.3), (-2.0, 0.4), (0.0, -3.0)])
def test_one_ddim_step_solves_the_flow_of_point_data(x_0: float, x: float, end: float) -> None:
    """SMP-8: for point data, one ddim step from t = 1 is the solution of the flow, within 1e-9.

    That is the integrator's error of about 1e-13, divided by alpha(1) = 6.6e-3, with a margin. An Euler step, ddim with
    the wrong sign of eps, and ddim on Gaussian data are not the solution.
    """
    eps = _of_a_point(x_0)
    solution = _flow(eps, x, end)
    assert abs(_ddim_step(x, eps(x, 1.0), 1.0, end) - solution) < 1e-9
    assert abs(_ddim_step(x, -eps(x, 1.0), 1.0, end) - solution) > 1e-2
    euler = x + 0.5 * (1.0 - end) * float(linear_rate(np.asarray(1.0))) * (
        x - eps(x, 1.0) / sqrt(linear_scales(1.0)[1])
    )
    assert abs(euler - solution) > 1e-3
    gaussian = _ddim_step(x, _of_a_gaussian(x, 1.0), 1.0, end)
    assert abs(gaussian - _flow(_of_a_gaussian, x, end)) > 1e-5


def _ancestral(steps: int, end: float = 0.0) -> walk.Law:
    """Return the distribution of ancestral sampling from t = 1 to `end`, with the best denoiser for TWO."""
    scales = [linear_scales(t) for t in np.linspace(1.0, end, steps + 1)]
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    return walk.walked(TWO, walk.ancestral(TWO, alphas, sigmas), TWO.noised(*scales[0]), TWO.noised(*scales[-1]))


@evidence("SMP-7", kind="quadrature")
def test_ancestral_sampling_converges_to_the_data() -> None:
    """SMP-7: after 32, 64 and 128 ancestral steps the distribution is 0.058, 0.035 and 0.020 from that of the data.

    The slopes increase towards 1, as the last steps, where sigma is about the width of a component, contribute less.
    """
    distances = [_ancestral(steps).distance(TWO.cdf) for steps in (32, 64, 128)]
    slopes = [log2(coarse / fine) for coarse, fine in itertools.pairwise(distances)]
    assert 0.7 < slopes[0] < slopes[1] < 1.0
    assert abs(distances[1] - 0.0346) < 1e-4


@evidence("SMP-7", "SMP-8", kind="quadrature")
def test_ancestral_sampling_has_order_one_away_from_the_data() -> None:
    """SMP-8: down to t = 1/16, where the components are wider than a step's noise, slopes are within 0.02 of 1."""
    last = TWO.noised(*linear_scales(1.0 / 16.0))
    distances = [_ancestral(steps, 1.0 / 16.0).distance(last.cdf) for steps in (60, 120, 240)]
    for coarse, fine in itertools.pairwise(distances):
        assert abs(log2(coarse / fine) - 1.0) <= 0.02


@evidence("SMP-7", kind="property")
@pytest.mark.parametrize("steps", [4, 16, 64])
def test_propagated_gaussian_agrees_with_the_affine_recursion(steps: int) -> None:
    """SMP-7: for a single Gaussian, the propagated distribution is within 1e-6 of that of the affine recursion."""
    times = np.linspace(1.0, END, steps + 1)
    scales = [linear_scales(t) for t in times]
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    first, last = ONE.noised(*scales[0]), ONE.noised(*scales[-1])
    law = walk.walked(ONE, walk.ancestral(ONE, alphas, sigmas), first, last)
    mean, variance = first.means[0], first.variances[0]
    for t, s in itertools.pairwise(times.tolist()):
        a, b, added = _ddpm(t, s)
        mean, variance = a * mean + b, a * a * variance + added
    expected = type(ONE)((1.0,), (mean,), (variance,))
    assert law.distance(expected.cdf) < 1e-6


def _by_distribution_functions(alphas: list[float], sigmas: list[float], points: int = 700) -> walk.Law:
    """Return the distribution of ancestral sampling for TWO, by `walk.carried`."""
    first, last = TWO.noised(alphas[0], sigmas[0] ** 2), TWO.noised(alphas[-1], sigmas[-1] ** 2)
    return walk.carried(TWO, walk.ancestral(TWO, np.array(alphas), np.array(sigmas)), first, last, points)


@evidence("SMP-7", kind="quadrature")
@pytest.mark.parametrize("steps", [8, 32])
def test_two_ways_to_propagate_a_distribution_agree(steps: int) -> None:
    """SMP-7: densities on a grid finer than the noise, and distribution functions by splines, agree within 1e-6."""
    scales = [linear_scales(t) for t in np.linspace(15 / 16, 1 / 16, steps + 1)]
    law = _by_distribution_functions([a for a, _ in scales], [sqrt(v) for _, v in scales])
    dense = _by_densities(scales, 1200)
    assert abs(dense.mass - 1.0) < 1e-6
    assert dense.distance(law.cdf) < 1e-6


def _by_densities(scales: list[tuple[float, float]], points: int) -> walk.Law:
    """Return the distribution of ancestral sampling for TWO, by `walk.walked`."""
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    steps = walk.ancestral(TWO, alphas, sigmas)
    return walk.walked(TWO, steps, TWO.noised(*scales[0]), TWO.noised(*scales[-1]), points)


@evidence("SMP-7", kind="property")
@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-10])
def test_narrow_noise_needs_no_fine_grid(size: float) -> None:
    """SMP-7: if sigma^2 decreases from 15/16 to 1/16 of `size`, the distribution is within 1e-6 + 2 size of the data's.

    Densities on a grid of 2000 points do not resolve such noise: their mass differs from 1 by more than 1e-3.
    """
    variances = [size * fraction for fraction in np.linspace(15 / 16, 1 / 16, 15).tolist()]
    law = _by_distribution_functions([sqrt(1.0 - v) for v in variances], [sqrt(v) for v in variances])
    assert law.distance(TWO.cdf) < 1e-6 + 2.0 * size
    if size < 1e-4:
        dense = _by_densities([(sqrt(1.0 - v), v) for v in variances], 2000)
        assert abs(dense.mass - 1.0) > 1e-3
        assert dense.distance(law.cdf) > 1e-3
