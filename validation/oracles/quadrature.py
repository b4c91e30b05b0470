"""The clauses as integrals and ODEs, by SciPy. Every value comes with the integrator's own error estimate.

These functions know only the rate beta of a schedule; alpha_bar = exp(-integral of beta) follows by quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, pi, sqrt, tan
from typing import Any, TypeAlias, final

from scipy.integrate import quad, solve_ivp

Real: TypeAlias = Callable[[float], float]

_RELATIVE = 1e-12
"""Relative tolerance of solve_ivp, per step; _ABSOLUTE is the absolute one."""
_ABSOLUTE = 1e-13
_TAIL = 12.0
"""Half-width of the integration interval in standard deviations: a Gaussian has a mass of 4e-33 outside."""


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the integrator's estimate of its absolute error."""

    value: float
    error: float


@final
@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal distribution in one dimension."""

    mean: float
    variance: float

    def log_density(self, x: float) -> float:
        """Return the log-density at x."""
        return -((x - self.mean) ** 2) / (2 * self.variance) - log(2 * pi * self.variance) / 2

    def density(self, x: float) -> float:
        """Return the density at x."""
        return exp(self.log_density(x))


def linear_rate(beta_min: float, beta_max: float) -> Real:
    """Return the rate of the linear schedule, beta(t) = beta_min + t (beta_max - beta_min) (SCH-2)."""
    return lambda t: beta_min + t * (beta_max - beta_min)


def cosine_rate(s: float) -> Real:
    """Return the rate of the cosine schedule, beta(t) = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)) (SCH-5)."""
    return lambda t: pi / (1 + s) * tan(pi / 2 * (t + s) / (1 + s))


def integral(f: Real, a: float, b: float, *, within: float = 1e-11, peak: float | None = None) -> Estimate:
    """Return the integral of f over [a, b]; raise ArithmeticError if the estimated error exceeds `within`.

    peak: a point where the integrand is concentrated.
    """
    points = None if peak is None else [peak]
    value, error = quad(f, a, b, epsabs=within / 10, epsrel=1e-13, limit=200, points=points)
    if not error <= within:
        raise ArithmeticError(f"expected an error of at most {within}, got {error} from quad")
    return Estimate(float(value), float(error))


def expectation(f: Real, density: Real, law: Gaussian) -> Estimate:
    """Return the integral of f times a density over 12 standard deviations of `law` to both sides of its mean.

    law: a Gaussian at least as wide as the density.
    """
    half = _TAIL * sqrt(law.variance)
    return integral(lambda x: f(x) * density(x), law.mean - half, law.mean + half, peak=law.mean)


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (for x_0 = 1) and variance of the SDE's solution at one time, and a bound on the error of each."""

    mean: float
    variance: float
    error: float


def moments(rate: Real, t: float) -> Moments:
    """Solve d mu/dt = -beta mu/2 and dV/dt = -beta V + beta from (mu, V) = (1, 0).

    The ODE is contractive, as beta >= 0, so local errors do not grow, and their sum bounds the global error.
    solve_ivp accepts a step if the root mean square of the two scaled errors is below 1, so each is below sqrt(2).
    """

    def slope(time: float, y: Any) -> list[float]:
        beta = rate(time)
        return [-beta * y[0] / 2, beta * (1 - y[1])]

    solution = solve_ivp(slope, (0.0, t), [1.0, 0.0], method="DOP853", rtol=_RELATIVE, atol=_ABSOLUTE)
    if not solution.success:
        raise ArithmeticError(str(solution.message))
    steps = len(solution.t) - 1
    mean, variance = solution.y[:, -1]
    return Moments(float(mean), float(variance), steps * sqrt(2) * (_RELATIVE + _ABSOLUTE))


def convolved(x: float, earlier: Gaussian, scale: float, added: float) -> Estimate:
    """Return the density at x of scale x_s + N(0, added), where x_s has the distribution `earlier`, by quadrature."""
    return expectation(lambda x_s: Gaussian(scale * x_s, added).density(x), earlier.density, earlier)


def bayes(x_t: float, earlier: Gaussian, scale: float, added: float) -> tuple[Estimate, Estimate, Estimate]:
    """Return the evidence p(x_t), and the mean and variance of x_s given x_t = scale x_s + N(0, added), by quadrature.

    earlier: the prior distribution of x_s.
    """

    def weight(x_s: float) -> float:
        return Gaussian(scale * x_s, added).density(x_t) * earlier.density(x_s)

    mass = expectation(lambda _: 1.0, weight, earlier)
    mean = _ratio(expectation(lambda x: x, weight, earlier), mass)
    variance = _ratio(expectation(lambda x: (x - mean.value) ** 2, weight, earlier), mass)
    return mass, mean, variance


def _ratio(a: Estimate, b: Estimate) -> Estimate:
    """Return a/b with its error bound, |d(a/b)| <= (|da| + |a/b| |db|)/(|b| - |db|)."""
    value = a.value / b.value
    return Estimate(value, (a.error + abs(value) * b.error) / (b.value - b.error))


def mass(log_density: Callable[[float, float], float], centre: tuple[float, float], scale: float) -> Estimate:
    """Return the integral of exp(log_density) over the plane, as an iterated integral.

    The domain is a square of half-width 12 scale around the centre.
    """
    half = _TAIL * scale

    def inner(x: float) -> float:
        return integral(
            lambda y: exp(log_density(x, y)), centre[1] - half, centre[1] + half, within=1e-9, peak=centre[1]
        ).value

    outer = integral(inner, centre[0] - half, centre[0] + half, within=1e-8, peak=centre[0])
    # Each inner integral has an error of at most 1e-9, and the outer interval the length 2 half.
    return Estimate(outer.value, outer.error + 2 * half * 1e-9)
