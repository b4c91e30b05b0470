"""Chapter 10: the steps are what their clauses call them, and converge at the orders given, without Monte Carlo."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from math import log2, sqrt
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from refdiff.conformance.check import evidence

from ..oracles import symbolic_sde, walk
from ..oracles.mixture import ONE, TWO
from .scales import linear_rate, linear_scales

Affine: TypeAlias = Callable[[float, float], tuple[float, float, float]]
"""Maps t and s to the step x -> a x + b + N(0, v) that a rule makes on Gaussian data with the exact eps."""

exactly = settings(deadline=None, derandomize=True, max_examples=50)
circle = st.fractions(min_value=Fraction(1, 20), max_value=Fraction(19, 20), max_denominator=40)
"""m in (0, 1): (1 - m^2)/(1 + m^2) and 2m/(1 + m^2) are a rational alpha and sigma."""


@evidence("SMP-1", "SMP-4", kind="symbolic")
def test_euler_steps_are_of_their_equations() -> None:
    """SMP-1: x less h times the reverse drift, at the score -eps/sigma; SMP-4: the same of the flow."""
    for residual in symbolic_sde.euler_residuals():
        assert residual == 0


@evidence("SMP-2", kind="symbolic")
def test_posterior_mean_is_the_textbook_step() -> None:
    """SMP-2: A x_0_hat + B x_t = (x_t - (1 - alpha_t|s^2)/sigma_t eps)/alpha_t|s, DDPM's form, strided or not."""
    assert symbolic_sde.ddpm_residual() == 0


@evidence("SMP-3", "SMP-5", "SMP-2", kind="symbolic")
def test_steps_land_on_the_marginal() -> None:
    """SMP-5: with the true eps, ddim gives alpha_s x_0 + sigma_s eps, ddpm the mean alpha_s x_0 and power sigma_s^2."""
    assert symbolic_sde.landing_residuals() == (0, 0, 0)


@evidence("SMP-6", kind="symbolic")
def test_last_step_is_the_prediction() -> None:
    """SMP-6: at s = 0 the posterior's mean is x_0_hat, its variance 0."""
    assert symbolic_sde.last_step_residuals() == (0, 0)


def _on_circle(m: Fraction) -> tuple[Fraction, Fraction]:
    return (1 - m * m) / (1 + m * m), 2 * m / (1 + m * m)


@evidence("SMP-2", "SMP-3", "SMP-5", kind="property")
@exactly
@given(earlier=circle, later=circle, x_0=circle, eps=circle)
def test_steps_over_the_rationals(earlier: Fraction, later: Fraction, x_0: Fraction, eps: Fraction) -> None:
    """SMP-3: over the rationals, ddim lands; at eta = 1 its eps is ddpm's."""
    low, high = sorted((earlier, later))
    if low == high:
        return
    (a_s, s_s), (a_t, s_t) = _on_circle(low), _on_circle(high)
    x_t = a_t * x_0 + s_t * eps
    assert a_s * (x_t - s_t * eps) / a_t + s_s * eps == a_s * x_0 + s_s * eps
    added = 1 - (a_t / a_s) ** 2
    on_x_0, on_x_t, variance = a_s * added / s_t**2, a_t / a_s * s_s**2 / s_t**2, added * s_s**2 / s_t**2
    # ddpm's mean is alpha_s x_0 + B sigma_t eps, ddim's at eta = 1 alpha_s x_0 + sqrt(sigma_s^2 - variance) eps.
    assert on_x_0 * x_0 + on_x_t * x_t == a_s * x_0 + on_x_t * s_t * eps
    assert (on_x_t * s_t) ** 2 == s_s**2 - variance
    assert on_x_0 * x_0 + on_x_t * x_t == (x_t - added / s_t * eps) * a_s / a_t
    # A strided step with the variance of an adjacent one, beta_k, would be another.
    assert added != 1 - a_t**2 or s_s == 0


At: TypeAlias = tuple[Fraction, Fraction]
"""alpha and sigma."""
Step: TypeAlias = Callable[[Fraction, Fraction, At, At], tuple[Fraction, Fraction]]
"""Maps x_t, eps_hat, and the scales at t and at s, to mean and variance of x_s."""


def _predicted(x: Fraction, eps: Fraction, t: At) -> Fraction:
    return (x - t[1] * eps) / t[0]


def _textbook(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDPM's step by eps_hat alone."""
    added = 1 - (t[0] / s[0]) ** 2
    return (x - added / t[1] * eps) * s[0] / t[0], added * s[1] ** 2 / t[1] ** 2


def _by_precision(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return the posterior given x_0_hat by Bayes: precisions of prior and likelihood add. It divides by sigma_s."""
    ratio, prior = t[0] / s[0], 1 / s[1] ** 2
    likelihood = ratio**2 / (1 - ratio**2)
    mean = likelihood * x / ratio + prior * s[0] * _predicted(x, eps, t)
    return mean / (likelihood + prior), 1 / (likelihood + prior)


def _deterministic(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDIM's step."""
    return s[0] * _predicted(x, eps, t) + s[1] * eps, Fraction(0)


def _transition(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDPM's step with the variance of q(x_t given x_s)."""
    return _textbook(x, eps, t, s)[0], 1 - (t[0] / s[0]) ** 2


def _unscaled(x: Fraction, eps: Fraction, t: At, s: At) -> tuple[Fraction, Fraction]:
    """Return DDPM's step without its 1/alpha_t|s."""
    return x - (1 - (t[0] / s[0]) ** 2) / t[1] * eps, Fraction(0)


NEAR = Fraction(1, 10**12)
"""sigma_s for which a step is as good as the last."""


def _ends_with_the_prediction(step: Step, x: Fraction, eps: Fraction, t: At) -> bool:
    """Say whether the last step is x_0_hat, without noise: at s = 0 where the form allows it, and in the limit."""
    wanted = _predicted(x, eps, t)
    near = step(x, eps, t, _on_circle(NEAR / 2))
    # To first order sigma_s times eps_hat, and what x_t has; both are below 10^5 for the numbers drawn.
    limit = abs(near[0] - wanted) < NEAR * 10**6 and 0 <= near[1] < NEAR
    return limit and (step is _by_precision or step(x, eps, t, (Fraction(1), Fraction(0))) == (wanted, Fraction(0)))


@evidence("SMP-6", kind="property")
@exactly
@given(later=circle, x=circle, eps=circle)
def test_last_step_over_the_rationals(later: Fraction, x: Fraction, eps: Fraction) -> None:
    """SMP-6: for any x_t and any eps_hat, ddpm by two forms and ddim end at x_0_hat, no noise; two faults do not."""
    t = _on_circle(later)
    for step in (_textbook, _by_precision, _deterministic):
        assert _ends_with_the_prediction(step, x, eps, t)
    for wrong in (_transition, _unscaled):
        assert not _ends_with_the_prediction(wrong, x, eps, t)


@evidence("SMP-2", kind="property")
@exactly
@given(earlier=circle, later=circle, x=circle, eps=circle)
def test_ancestral_step_is_bayes(earlier: Fraction, later: Fraction, x: Fraction, eps: Fraction) -> None:
    """SMP-2: over the rationals DDPM's form is the posterior by precisions, for any eps_hat."""
    low, high = sorted((earlier, later))
    if low == high:
        return
    s, t = _on_circle(low), _on_circle(high)
    assert _textbook(x, eps, t, s) == _by_precision(x, eps, t, s)
    assert _transition(x, eps, t, s) != _by_precision(x, eps, t, s)


def _moments(t: float) -> tuple[float, float]:
    """Return mean and variance of p_t for the data ONE."""
    law = ONE.noised(*linear_scales(t))
    return law.means[0], law.variances[0]


def _best(t: float) -> tuple[float, float, float]:
    """Return c, d and sigma of eps*(x) = c x + d: sigma (x - mean)/variance."""
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
    """Put the flow's slope a(t) x + b(t) through the classical scheme, for x = 0 and x = 1."""

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
"""Where the walks end."""


def _errors(rule: Affine, steps: int) -> tuple[float, float]:
    """Return the errors of mean and variance at END, by the recursion of the rule's affine steps from the exact p_1."""
    mean, variance = _moments(1.0)
    times = 1.0 - np.arange(steps + 1) * (1.0 - END) / steps
    for t, s in itertools.pairwise(times.tolist()):
        a, b, added = rule(t, s)
        mean, variance = a * mean + b, a * a * variance + added
    wanted = _moments(END)
    return abs(mean - wanted[0]), abs(variance - wanted[1])


@evidence("SMP-8", "SMP-1", "SMP-4", kind="quadrature")
@pytest.mark.parametrize(
    ("rule", "order", "steps"), [(_em, 1, 960), (_ode, 1, 960), (_ddpm, 1, 960), (_ddim, 1, 960), (_rk4, 4, 48)]
)
def test_orders_on_gaussian_data(rule: Affine, order: int, steps: int) -> None:
    """SMP-8: doubling the steps divides the errors of mean and variance by 2 to the order: slopes within 0.03 of it.

    Rounding, 1e-16 a step, is below 1e-3 of the smallest error, that of RK4 with 192 steps.
    """
    found = [_errors(rule, steps << doubling) for doubling in range(3)]
    for moment in (0, 1):
        errors = [error[moment] for error in found]
        if moment == 0 and rule in (_ddpm, _ddim):
            # The posterior at E[x_0 | x] keeps the mean exactly; it is off by 1e-15 of rounding after 4000 steps.
            assert max(errors) < 1e-13
            continue
        for coarse, fine in itertools.pairwise(errors):
            assert abs(log2(coarse / fine) - order) <= 0.03 * order


@evidence("SMP-8", kind="symbolic")
def test_local_orders() -> None:
    """SMP-8: on dx/dt = a(t) x, one Euler step is off by h^2, one Runge-Kutta step by h^5: orders 1 and 4."""
    assert symbolic_sde.local_orders() == (2, 5)


@evidence("SMP-8", kind="symbolic")
def test_ddim_is_exact_for_a_point() -> None:
    """SMP-8: where the data is one point x_0, eps is constant along the flow, and ddim follows it in one step."""
    assert symbolic_sde.landing_residuals()[0] == 0


def _flow(eps: Callable[[float, float], float], x: float, end: float) -> float:
    """Return where the flow dx/dt = -beta/2 (x - eps/sigma) leads from t = 1, by an eighth-order integrator."""

    def slope(t: float, state: np.ndarray) -> list[float]:
        at = float(state[0])
        return [-0.5 * float(linear_rate(np.asarray(t))) * (at - eps(at, t) / sqrt(linear_scales(t)[1]))]

    found = solve_ivp(slope, (1.0, end), [x], method="DOP853", rtol=1e-12, atol=1e-13)
    assert found.success
    return float(found.y[0, -1])


def _of_a_point(x_0: float) -> Callable[[float, float], float]:
    """Return the exact eps for data that is one point."""
    return lambda x, t: (x - linear_scales(t)[0] * x_0) / sqrt(linear_scales(t)[1])


def _of_a_gaussian(x: float, t: float) -> float:
    c, d, _ = _best(t)
    return c * x + d


def _ddim_step(x: float, eps: float, t: float, s: float) -> float:
    (a_t, v_t), (a_s, v_s) = linear_scales(t), linear_scales(s)
    return a_s * (x - sqrt(v_t) * eps) / a_t + sqrt(v_s) * eps


@evidence("SMP-8", "SMP-3", kind="quadrature")
@pytest.mark.parametrize("end", [0.5, 0.25, 0.01])
@pytest.mark.parametrize(("x_0", "x"), [(0.7, 1.3), (-2.0, 0.4), (0.0, -3.0)])
def test_one_ddim_step_follows_the_flow_of_a_point(x_0: float, x: float, end: float) -> None:
    """SMP-8: from t = 1, one ddim step is where the integrated flow leads, to 1e-9: alpha(1) = 6.6e-3 divides 1e-13.

    An Euler step of the flow is not, nor is ddim with the sign of eps turned, nor where the data has width.
    """
    eps = _of_a_point(x_0)
    want = _flow(eps, x, end)
    assert abs(_ddim_step(x, eps(x, 1.0), 1.0, end) - want) < 1e-9
    assert abs(_ddim_step(x, -eps(x, 1.0), 1.0, end) - want) > 1e-2
    euler = x + 0.5 * (1.0 - end) * float(linear_rate(np.asarray(1.0))) * (
        x - eps(x, 1.0) / sqrt(linear_scales(1.0)[1])
    )
    assert abs(euler - want) > 1e-3
    wide = _ddim_step(x, _of_a_gaussian(x, 1.0), 1.0, end)
    assert abs(wide - _flow(_of_a_gaussian, x, end)) > 1e-5


def _walk(steps: int, end: float = 0.0) -> walk.Law:
    scales = [linear_scales(t) for t in np.linspace(1.0, end, steps + 1)]
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    return walk.walked(TWO, walk.ancestral(TWO, alphas, sigmas), TWO.noised(*scales[0]), TWO.noised(*scales[-1]))


@evidence("SMP-7", kind="quadrature")
def test_ancestral_walk_meets_the_data() -> None:
    """SMP-7: the law of 32, 64, 128 ancestral steps is 0.058, 0.035, 0.020 from the data's: its bias falls to 0.

    Slopes rise towards 1: the last steps, where the components' width is of the size of sigma, come to count less.
    """
    distances = [_walk(steps).distance(TWO.cdf) for steps in (32, 64, 128)]
    slopes = [log2(coarse / fine) for coarse, fine in itertools.pairwise(distances)]
    assert 0.7 < slopes[0] < slopes[1] < 1.0
    assert abs(distances[1] - 0.0346) < 1e-4


@evidence("SMP-7", "SMP-8", kind="quadrature")
def test_ancestral_walk_has_order_one_away_from_the_data() -> None:
    """SMP-8: to t = 1/16, where the components are wider than a step's noise, slopes are within 0.02 of 1."""
    last = TWO.noised(*linear_scales(1.0 / 16.0))
    distances = [_walk(steps, 1.0 / 16.0).distance(last.cdf) for steps in (60, 120, 240)]
    for coarse, fine in itertools.pairwise(distances):
        assert abs(log2(coarse / fine) - 1.0) <= 0.02


@evidence("SMP-7", kind="property")
@pytest.mark.parametrize("steps", [4, 16, 64])
def test_walk_of_a_gaussian_is_the_affine_recursion(steps: int) -> None:
    """SMP-7: for a single Gaussian the carried density is the Gaussian of the affine recursion, to 1e-6 of mass."""
    times = np.linspace(1.0, END, steps + 1)
    scales = [linear_scales(t) for t in times]
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    first, last = ONE.noised(*scales[0]), ONE.noised(*scales[-1])
    law = walk.walked(ONE, walk.ancestral(ONE, alphas, sigmas), first, last)
    mean, variance = first.means[0], first.variances[0]
    for t, s in itertools.pairwise(times.tolist()):
        a, b, added = _ddpm(t, s)
        mean, variance = a * mean + b, a * a * variance + added
    wanted = type(ONE)((1.0,), (mean,), (variance,))
    assert law.distance(wanted.cdf) < 1e-6


def _even(alphas: list[float], sigmas: list[float], points: int = 700) -> walk.Law:
    first, last = (TWO.noised(alphas[i], sigmas[i] ** 2) for i in (0, -1))
    return walk.carried(TWO, walk.ancestral(TWO, np.array(alphas), np.array(sigmas)), first, last, points)


@evidence("SMP-7", kind="quadrature")
@pytest.mark.parametrize("steps", [8, 32])
def test_two_ways_to_carry_a_law_agree(steps: int) -> None:
    """SMP-7: densities on a grid finer than the noise, and distribution functions by splines, agree to 1e-6."""
    scales = [linear_scales(t) for t in np.linspace(15 / 16, 1 / 16, steps + 1)]
    law = _even([a for a, _ in scales], [sqrt(v) for _, v in scales])
    dense = _walk_between(scales, 1200)
    assert abs(dense.mass - 1.0) < 1e-6
    assert dense.distance(law.cdf) < 1e-6


def _walk_between(scales: list[tuple[float, float]], points: int) -> walk.Law:
    alphas, sigmas = np.array([a for a, _ in scales]), np.sqrt([v for _, v in scales])
    steps = walk.ancestral(TWO, alphas, sigmas)
    return walk.walked(TWO, steps, TWO.noised(*scales[0]), TWO.noised(*scales[-1]), points)


@evidence("SMP-7", kind="property")
@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-10])
def test_noise_may_be_narrow(size: float) -> None:
    """SMP-7: with sigma^2 from `size` down to a sixteenth of it, the law is that of the data, to 2 size.

    2000 points of a density are not enough: their mass is off, and so is the law.
    """
    variances = [size * share for share in np.linspace(15 / 16, 1 / 16, 15).tolist()]
    law = _even([sqrt(1.0 - v) for v in variances], [sqrt(v) for v in variances])
    assert law.distance(TWO.cdf) < 1e-6 + 2.0 * size
    if size < 1e-4:
        dense = _walk_between([(sqrt(1.0 - v), v) for v in variances], 2000)
        assert abs(dense.mass - 1.0) > 1e-3
        assert dense.distance(law.cdf) > 1e-3
