"""The clauses as integrals and ODEs, by SciPy. Every number comes with the integrator's own error estimate.

A rate is the only thing known of a schedule here; what alpha_bar is, the integral of the rate says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, pi, sqrt, tan
from typing import Any, TypeAlias, final

from scipy.integrate import quad, solve_ivp

Real: TypeAlias = Callable[[float], float]

_RELATIVE = 1e-12
"""Asked of solve_ivp, per step."""
_ABSOLUTE = 1e-13
_TAIL = 12.0
"""Standard deviations kept of a Gaussian: beyond them lies a mass of 4e-33."""


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and what the integrator says of its error."""

    value: float
    error: float


@final
@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal law in one dimension."""

    mean: float
    variance: float

    def log_density(self, x: float) -> float:
        """Return the textbook's log-density."""
        return -((x - self.mean) ** 2) / (2 * self.variance) - log(2 * pi * self.variance) / 2

    def density(self, x: float) -> float:
        """Return its exponential."""
        return exp(self.log_density(x))


def linear_rate(beta_min: float, beta_max: float) -> Real:
    """Return SCH-2."""
    return lambda t: beta_min + t * (beta_max - beta_min)


def cosine_rate(s: float) -> Real:
    """Return SCH-5."""
    return lambda t: pi / (1 + s) * tan(pi / 2 * (t + s) / (1 + s))


def integral(f: Real, a: float, b: float, *, within: float = 1e-11, peak: float | None = None) -> Estimate:
    """Integrate f, and refuse an answer that the integrator itself trusts less than `within`."""
    points = None if peak is None else [peak]
    value, error = quad(f, a, b, epsabs=within / 10, epsrel=1e-13, limit=200, points=points)
    if not error <= within:
        raise ArithmeticError(f"quad reports an error of {error}, wanted {within}")
    return Estimate(float(value), float(error))


def expectation(f: Real, density: Real, law: Gaussian) -> Estimate:
    """Integrate f times a density over the bulk of a Gaussian that covers it."""
    half = _TAIL * sqrt(law.variance)
    return integral(lambda x: f(x) * density(x), law.mean - half, law.mean + half, peak=law.mean)


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (of x_0 = 1) and variance of the SDE at one time, and a bound on the error of each."""

    mean: float
    variance: float
    error: float


def moments(rate: Real, t: float) -> Moments:
    """Solve d mu/dt = -beta mu/2 and dV/dt = -beta V + beta from (1, 0).

    The ODE contracts, as beta >= 0, so what the steps add to the error does not grow: their sum bounds it. A step is
    accepted if the root mean square of two errors over their scales is below 1, each then below sqrt(2) of its own.
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
    """Return the density at x of scale times a draw of `earlier` plus N(0, added), by integrating over the draw."""
    return expectation(lambda x_s: Gaussian(scale * x_s, added).density(x), earlier.density, earlier)


def bayes(x_t: float, earlier: Gaussian, scale: float, added: float) -> tuple[Estimate, Estimate, Estimate]:
    """Return evidence, mean and variance of x_s given x_t = scale x_s + N(0, added), by integrals over x_s."""

    def weight(x_s: float) -> float:
        return Gaussian(scale * x_s, added).density(x_t) * earlier.density(x_s)

    mass = expectation(lambda _: 1.0, weight, earlier)
    mean = _ratio(expectation(lambda x: x, weight, earlier), mass)
    second = _ratio(expectation(lambda x: (x - mean.value) ** 2, weight, earlier), mass)
    return mass, mean, second


def _ratio(of: Estimate, mass: Estimate) -> Estimate:
    """Return of/mass; |d(a/b)| <= (|da| + |a/b| |db|)/(|b| - |db|)."""
    value = of.value / mass.value
    return Estimate(value, (of.error + abs(value) * mass.error) / (mass.value - mass.error))


def mass(log_density: Callable[[float, float], float], centre: tuple[float, float], scale: float) -> Estimate:
    """Integrate exp(log_density) over the plane, one variable inside the other."""
    half = _TAIL * scale

    def inner(x: float) -> float:
        return integral(
            lambda y: exp(log_density(x, y)), centre[1] - half, centre[1] + half, within=1e-9, peak=centre[1]
        ).value

    outer = integral(inner, centre[0] - half, centre[0] + half, within=1e-8, peak=centre[0])
    # The inner integrals are each within 1e-9, over a stretch of 2 half.
    return Estimate(outer.value, outer.error + 2 * half * 1e-9)
