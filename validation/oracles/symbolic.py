"""The clauses as algebra, by SymPy. A residual is an expression that is identically 0 if the clause is true.

There are three schedules: linear, cosine, and the general one, log alpha_bar = -integral of an unspecified beta.
Symbols have the names of the specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, final

import sympy as sp

Expr: TypeAlias = Any
"""A SymPy expression: sympy is untyped."""
Name: TypeAlias = Literal["general", "linear", "cosine"]

t, u = sp.symbols("t u", positive=True)
x, x_0, x_s, x_t, eps = sp.symbols("x x_0 x_s x_t eps", real=True)
beta_min, beta_max = sp.symbols("beta_min beta_max", positive=True)
offset = sp.Symbol("s", nonnegative=True)
lam, omega = sp.symbols("lambda omega", real=True)
alpha, sigma = sp.symbols("alpha sigma", positive=True)
alpha_s, alpha_t = sp.symbols("alpha_s alpha_t", positive=True)
size = sp.Symbol("D", integer=True, positive=True)


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """beta and log alpha_bar of a schedule, as the clauses state them."""

    beta: Expr
    log_alpha_bar: Expr

    @property
    def mean(self) -> Expr:
        """Signal scale, alpha."""
        return sp.exp(self.log_alpha_bar / 2)

    @property
    def variance(self) -> Expr:
        """Noise variance, sigma^2."""
        return 1 - sp.exp(self.log_alpha_bar)


@cache
def schedule(name: Name) -> Schedule:
    """Return the linear schedule (SCH-2, SCH-3), the cosine one (SCH-5, SCH-4), or an unspecified rate."""
    match name:
        case "general":
            beta = sp.Function("beta", nonnegative=True)
            return Schedule(beta(t), -sp.Integral(beta(u), (u, 0, t)))
        case "linear":
            slope = beta_max - beta_min
            return Schedule(beta_min + t * slope, -(beta_min * t + slope * t**2 / 2))
        case "cosine":
            angle = sp.pi / 2 * (t + offset) / (1 + offset)
            start = sp.pi / 2 * offset / (1 + offset)
            return Schedule(sp.pi / (1 + offset) * sp.tan(angle), sp.log(sp.cos(angle) ** 2 / sp.cos(start) ** 2))


def is_zero(residual: Expr) -> bool:
    """Return whether SymPy simplifies a residual to 0."""
    return bool(sp.simplify(residual) == 0)


def rate_residual(q: Schedule) -> Expr:
    """Return d log alpha_bar/dt + beta."""
    return sp.diff(q.log_alpha_bar, t) + q.beta


def at_zero(expression: Expr) -> Expr:
    """Return the expression at t = 0, with its integrals evaluated."""
    return sp.simplify(expression.subs(t, 0).doit())


def mean_residual(q: Schedule) -> Expr:
    """Return d mu/dt + beta mu/2, the residual of the moment ODE for the mean mu = alpha."""
    return sp.diff(q.mean, t) + q.beta * q.mean / 2


def variance_residual(q: Schedule) -> Expr:
    """Return dV/dt + beta V - beta, the residual of the moment ODE for the variance V = sigma^2."""
    return sp.diff(q.variance, t) + q.beta * q.variance - q.beta


def log_normal(at: Expr, mean: Expr, variance: Expr) -> Expr:
    """Return the log-density of N(mean, variance) at a point, in one dimension."""
    return -((at - mean) ** 2) / (2 * variance) - sp.log(variance) / 2 - sp.log(2 * sp.pi) / 2


def fokker_planck_residual(q: Schedule) -> Expr:
    """Return (dp/dt - d(beta x p/2)/dx - beta/2 d2p/dx2)/p for the Gaussian marginal p, with p' = p (log p)'."""
    f = log_normal(x, q.mean * x_0, q.variance)
    slope = sp.diff(f, x)
    return sp.diff(f, t) - q.beta / 2 - q.beta * x * slope / 2 - q.beta / 2 * (sp.diff(f, x, 2) + slope**2)


def characteristic_residual() -> Expr:
    """Return the log-characteristic function of alpha x_0 + sigma eps minus that of N(alpha x_0, sigma^2)."""
    noise = sp.log(sp.integrate(sp.exp(-(eps**2) / 2 + sp.I * omega * sigma * eps), (eps, -sp.oo, sp.oo)))
    of_sample = sp.I * omega * alpha * x_0 + noise - sp.log(2 * sp.pi) / 2
    return sp.expand_log(of_sample - (sp.I * omega * alpha * x_0 - omega**2 * sigma**2 / 2), force=True)


def density_residual() -> Expr:
    """Return the log-density of MAR-9 in D dimensions minus the sum of D one-dimensional log-densities."""
    norm = sp.Symbol("norm", positive=True)
    clause = -norm / (2 * sigma**2) - size * sp.log(sigma) - size * sp.log(2 * sp.pi) / 2
    one = log_normal(x, x, sigma**2)
    return sp.expand_log(clause - (size * one - norm / (2 * sigma**2)), force=True)


def score() -> Expr:
    """Return the conditional score, the derivative of log q(x_t | x_0) with respect to x_t."""
    return sp.diff(log_normal(x_t, alpha * x_0, sigma**2), x_t)


@final
@dataclass(frozen=True, slots=True)
class Posterior:
    """The posterior q(x_s | x_t, x_0) = N(on_x_0 x_0 + on_x_t x_t, variance), as MAR-7 states it."""

    on_x_0: Expr
    on_x_t: Expr
    variance: Expr


def transition() -> tuple[Expr, Expr]:
    """Return the scale and the variance of the transition q(x_t | x_s), as MAR-6 states them."""
    return alpha_t / alpha_s, 1 - alpha_t**2 / alpha_s**2


def semigroup_residuals() -> tuple[Expr, Expr]:
    """Return mean and variance of x_t through x_s, minus those of x_t from x_0 directly."""
    scale, added = transition()
    return scale * alpha_s - alpha_t, scale**2 * (1 - alpha_s**2) + added - (1 - alpha_t**2)


def posterior() -> Posterior:
    """Return the posterior of MAR-7, as a function of alpha_s and alpha_t alone."""
    scale, added = transition()
    v_s, v_t = 1 - alpha_s**2, 1 - alpha_t**2
    return Posterior(alpha_s * added / v_t, scale * v_s / v_t, v_s * added / v_t)


def bayes_residuals() -> tuple[Expr, Expr]:
    """Return the residuals of Bayes' rule: the difference of the exponents, and the ratio of the constants minus 1."""
    scale, added = transition()
    v_s, v_t = 1 - alpha_s**2, 1 - alpha_t**2
    p = posterior()

    def exponent(at: Expr, mean: Expr, variance: Expr) -> Expr:
        return -((at - mean) ** 2) / (2 * variance)

    joint = exponent(x_t, scale * x_s, added) + exponent(x_s, alpha_s * x_0, v_s) - exponent(x_t, alpha_t * x_0, v_t)
    claimed = exponent(x_s, p.on_x_0 * x_0 + p.on_x_t * x_t, p.variance)
    return joint - claimed, added * v_s / (v_t * p.variance) - 1


def undoing_residuals() -> tuple[Expr, Expr]:
    """Return the residuals of MAR-8: A + B alpha_t - alpha_s, and B^2 sigma_t^2 + variance - sigma_s^2.

    They are 0 if the posterior, averaged over q(x_t | x_0), is the marginal q(x_s | x_0).
    """
    p = posterior()
    mean = p.on_x_0 + p.on_x_t * alpha_t - alpha_s
    return mean, p.on_x_t**2 * (1 - alpha_t**2) + p.variance - (1 - alpha_s**2)


def remainder_residual() -> Expr:
    """Return a linear schedule on [u, 1] minus the linear schedule that it equals when its time runs over [0, 1].

    That one has the time (t - u)/(1 - u), beta_min' = (1 - u) beta(u) and beta_max' = (1 - u) beta_max.
    """
    q = schedule("linear")
    remainder = q.log_alpha_bar - q.log_alpha_bar.subs(t, u)
    rates = {beta_min: (1 - u) * q.beta.subs(t, u), beta_max: (1 - u) * beta_max, t: (t - u) / (1 - u)}
    return remainder - q.log_alpha_bar.subs(rates, simultaneous=True)


_value = sp.Symbol("value", real=True)
CONVERSIONS: dict[tuple[str, str], Expr] = {
    ("eps", "x_0"): (x_t - sigma * _value) / alpha,
    ("x_0", "eps"): (x_t - alpha * _value) / sigma,
    ("v", "x_0"): alpha * x_t - sigma * _value,
    ("v", "eps"): sigma * x_t + alpha * _value,
    ("eps", "v"): (_value - sigma * x_t) / alpha,
    ("x_0", "v"): (alpha * x_t - _value) / sigma,
    ("eps", "score"): -_value / sigma,
    ("score", "eps"): -sigma * _value,
}
"""The conversions that PAR-1 to PAR-4 state. The other four are compositions through eps."""


def convert(source: str, to: str, of: Expr) -> Expr:
    """Return the conversion of a value, directly where a clause states it, or else through eps."""
    if (source, to) in CONVERSIONS:
        return CONVERSIONS[source, to].subs(_value, of)
    return convert("eps", to, convert(source, "eps", of))


def meaning(name: str) -> Expr:
    """Return the definition of a quantity in terms of x_0 and eps; of the score, from the density."""
    meanings = {"eps": eps, "x_0": x_0, "v": alpha * eps - sigma * x_0, "score": score()}
    return meanings[name].subs(x_t, alpha * x_0 + sigma * eps)


def conversion_residual(source: str, to: str) -> Expr:
    """Return the converted definition of `source` minus the definition of `to`, where alpha^2 + sigma^2 = 1."""
    converted = convert(source, to, meaning(source)).subs(x_t, alpha * x_0 + sigma * eps)
    return on_circle(converted - meaning(to))


def round_trip_residual(source: str, to: str) -> Expr:
    """Return a value converted to another parameterization and back, minus the value.

    Value and x_t are independent symbols: neither needs to come from data.
    """
    return on_circle(convert(to, source, convert(source, to, _value)) - _value)


def recomposition_residual(source: str) -> Expr:
    """Return alpha x_0 + sigma eps - x_t (PAR-6), with x_0 and eps converted from any value at any x_t."""
    converted = {name: _value if name == source else convert(source, name, _value) for name in ("x_0", "eps")}
    return on_circle(alpha * converted["x_0"] + sigma * converted["eps"] - x_t)


def on_circle(expression: Expr) -> Expr:
    """Substitute the rational parameterization of alpha^2 + sigma^2 = 1, so that the algebra needs no roots."""
    m = sp.Symbol("m", positive=True)
    return sp.cancel(expression.subs({alpha: (1 - m**2) / (1 + m**2), sigma: 2 * m / (1 + m**2)}))


def divisors(source: str, to: str) -> set[Expr]:
    """Return the symbols in the denominator of a conversion."""
    symbols: set[Expr] = sp.denom(sp.together(convert(source, to, _value))).free_symbols
    return symbols


def inverse_residual(name: Literal["linear", "cosine"]) -> Expr:
    """Return log alpha_bar at t(lambda) (SCH-10) plus log(1 + exp(-lambda)); for cosine, the same for alpha_bar."""
    if name == "linear":
        b = sp.Symbol("B", positive=True)
        slope = sp.Symbol("slope", nonnegative=True)
        inverse = 2 * b / (beta_min + sp.sqrt(beta_min**2 + 2 * slope * b))
        return schedule("linear").log_alpha_bar.subs(beta_max, beta_min + slope).subs(t, inverse) + b
    start = sp.pi / 2 * offset / (1 + offset)
    beyond = sp.acos(sp.cos(start) / sp.sqrt(1 + sp.exp(-lam))) - start
    inverse = beyond * 2 * (1 + offset) / sp.pi
    angle = sp.simplify(start + sp.pi / 2 * inverse / (1 + offset))
    return sp.cos(angle) ** 2 / sp.cos(start) ** 2 - 1 / (1 + sp.exp(-lam))


def log_snr(alpha_bar: Expr) -> Expr:
    """Return the log-SNR, log(alpha^2/sigma^2)."""
    return sp.log(alpha_bar / (1 - alpha_bar))


def log_snr_slope_residual(q: Schedule) -> Expr:
    """Return d lambda/dt + beta/sigma^2. If it is 0 and beta >= 0, then lambda never increases."""
    return sp.diff(q.log_alpha_bar - sp.log(q.variance), t) + q.beta / q.variance


def sigma_slope_at_zero(beta_min_is_zero: bool) -> Expr:
    """Return the limit of d sigma/dt of the linear schedule as t decreases to 0."""
    q = schedule("linear")
    slope = sp.diff(sp.sqrt(q.variance), t).subs(beta_min, 0 if beta_min_is_zero else beta_min)
    return sp.limit(slope, t, 0, "+")


def alpha_slope_at_one() -> Expr:
    """Return the limit of d alpha/dt of the cosine schedule as t increases to 1."""
    angle = sp.pi / 2 * (t + offset) / (1 + offset)
    return sp.diff(sp.cos(angle), t).subs(t, 1) / sp.cos(sp.pi / 2 * offset / (1 + offset))


def chain_step_residuals() -> tuple[Expr, Expr]:
    """Return scale and variance after one more step of a chain, minus those of alpha_bar (1 - beta_k) (DIS-1).

    The step is x' = sqrt(1 - beta_k) x + sqrt(beta_k) eps.
    """
    alpha_bar, beta_k = sp.symbols("alpha_bar beta_k", positive=True)
    mean = sp.sqrt(1 - beta_k) * sp.sqrt(alpha_bar) - sp.sqrt(alpha_bar * (1 - beta_k))
    variance = (1 - beta_k) * (1 - alpha_bar) + beta_k - (1 - alpha_bar * (1 - beta_k))
    return sp.powsimp(sp.expand_power_base(mean, force=True)), variance
