"""Chapter 5 as algebra, by SymPy. A residual is 0 if the clause is true."""

from __future__ import annotations

import sympy as sp

from .symbolic import Expr, alpha, alpha_s, alpha_t, on_circle, posterior, sigma, x

e = sp.Symbol("e", real=True)
"""The error of eps_hat."""
snr, gamma = sp.symbols("SNR gamma", positive=True)
ERRORS: dict[str, Expr] = {"eps": e, "x_0": -sigma * e / alpha, "v": e / alpha, "score": -e / sigma}
"""The error of each prediction if all are converted from one eps_hat = eps + e, at one x_t."""
ERROR_RATIOS: dict[str, Expr] = {"eps": 1, "x_0": sigma**2 / alpha**2, "v": 1 / alpha**2, "score": 1 / sigma**2}
"""Ratio of each squared error to that of eps, as LOS-5 states it."""


def error_residual(name: str) -> Expr:
    """Return the squared error of a prediction minus the ratio of LOS-5 times that of eps."""
    return sp.simplify(ERRORS[name] ** 2 - ERROR_RATIOS[name] * e**2)


def v_residual() -> Expr:
    """Return 1/alpha^2 - (SNR + 1)/SNR, where alpha^2 + sigma^2 = 1."""
    ratio = alpha**2 / sigma**2
    return on_circle(1 / alpha**2 - (ratio + 1) / ratio)


def weight_limits(on_x_0: Expr) -> dict[str, tuple[Expr, Expr]]:
    """Return the limits at SNR = 0 and SNR = infinity of the weights on eps, x_0 and v that equal a weight on x_0."""
    weights = {"eps": on_x_0 / snr, "x_0": on_x_0, "v": on_x_0 / (snr + 1)}
    return {name: (sp.limit(w, snr, 0, "+"), sp.limit(w, snr, sp.oo)) for name, w in weights.items()}


def scale_residuals() -> list[Expr]:
    """Return SNR + 1 - 1/sigma^2, (SNR + 1)/SNR - 1/alpha^2, SNR/(SNR + 1) - alpha^2, sigma^2/alpha^2 - 1/SNR."""
    ratio = (alpha / sigma) ** 2
    found = (
        ratio + 1 - 1 / sigma**2,
        (ratio + 1) / ratio - 1 / alpha**2,
        ratio / (ratio + 1) - alpha**2,
        sigma**2 / alpha**2 - 1 / ratio,
    )
    return [on_circle(expression) for expression in found]


def min_snr(weak: bool) -> Expr:
    """Return min(SNR, gamma) where SNR is the smaller one (weak signal), or where gamma is."""
    return snr if weak else gamma


def matching_residual() -> Expr:
    """Return the difference of the cross terms of two losses, E[s_hat(x) s(x|x_0)] - E[s_hat(x) d log p/dx].

    The data are N(0, c^2), s_hat is any cubic, and the expectations are Gaussian moments of x = alpha x_0 + sigma eps.
    """
    c = sp.Symbol("c", positive=True)
    a = sp.symbols("a0:4")
    u, w = sp.symbols("u w", real=True)
    at = alpha * c * u + sigma * w
    s_hat = sum(a[i] * at**i for i in range(4))
    spread = alpha**2 * c**2 + sigma**2
    return sp.simplify(_mean(s_hat * (-w / sigma), u, w) - _mean(s_hat * (-at / spread), u, w))


def minimiser_residual() -> Expr:
    """Return the derivative of E (eps_hat - eps)^2 at eps* = sigma x/(alpha^2 c^2 + sigma^2), towards any cubic."""
    c = sp.Symbol("c", positive=True)
    b = sp.symbols("b0:4")
    u, w = sp.symbols("u w", real=True)
    at = alpha * c * u + sigma * w
    best = sigma * at / (alpha**2 * c**2 + sigma**2)
    return sp.simplify(_mean(2 * (best - w) * sum(b[i] * at**i for i in range(4)), u, w))


def least_residual() -> Expr:
    """Return E (eps* - eps)^2 minus the irreducible loss 1 - sigma^2 E (d log p/dx)^2, for data N(0, c^2)."""
    c = sp.Symbol("c", positive=True)
    u, w = sp.symbols("u w", real=True)
    at, spread = alpha * c * u + sigma * w, alpha**2 * c**2 + sigma**2
    least = _mean((sigma * at / spread - w) ** 2, u, w)
    return sp.simplify(least - (1 - sigma**2 * _mean((at / spread) ** 2, u, w)))


def _mean(expression: Expr, u: Expr, w: Expr) -> Expr:
    """Return the expectation of a polynomial in independent u, w ~ N(0, 1), by their moments."""
    poly = sp.Poly(sp.expand(expression), u, w)
    return sum(c * _moment(i) * _moment(j) for (i, j), c in poly.terms())


def _moment(n: int) -> Expr:
    """Return E u^n for u ~ N(0, 1): (n - 1)!! for even n, 0 for odd n."""
    return sp.factorial2(n - 1) if n % 2 == 0 else sp.Integer(0)


def divergence_rate_residual() -> Expr:
    """Return d KL(p_t | q_t)/dt + beta/2 E_p (d log p/dx - d log q/dx)^2 for Gaussians under the forward process."""
    t = sp.Symbol("t", positive=True)
    m, n = (sp.Function(name, real=True)(t) for name in "mn")
    v, u = (sp.Function(name, positive=True)(t) for name in "vu")
    beta = sp.Symbol("beta", positive=True)
    rate = sp.diff(gaussian_divergence(m, v, n, u), t)
    moment_odes = {sp.diff(f, t): -beta * f / 2 for f in (m, n)} | {sp.diff(f, t): beta * (1 - f) for f in (v, u)}
    score_difference = -(x - m) / v + (x - n) / u
    y = sp.Symbol("y", real=True)
    square = sp.Poly(sp.expand(score_difference.subs(x, m + sp.sqrt(v) * y) ** 2), y)
    mean = sum(c * _moment(i) for (i,), c in square.terms())
    return sp.simplify(rate.subs(moment_odes) + beta / 2 * mean)


def gaussian_divergence(m: Expr, v: Expr, n: Expr, u: Expr) -> Expr:
    """Return KL(N(m, v) | N(n, u)), by the textbook formula."""
    return (sp.log(u / v) + (v + (m - n) ** 2) / u - 1) / 2


def divergence_residual() -> Expr:
    """Return the textbook formula of KL(N(m, v) | N(n, u)) minus the expectation of the log-density ratio."""
    m, n, y = sp.symbols("m n y", real=True)
    v, u = sp.symbols("v u", positive=True)
    at = m + sp.sqrt(v) * y
    difference = (at - n) ** 2 / (2 * u) - (at - m) ** 2 / (2 * v) + sp.log(u) / 2 - sp.log(v) / 2
    poly = sp.Poly(sp.expand(difference), y)
    mean = sum(c * _moment(i) for (i,), c in poly.terms())
    return sp.simplify(sp.expand_log(gaussian_divergence(m, v, n, u) - mean, force=True))


def prior_residual() -> Expr:
    """Return the prior term of LOS-13 in one dimension minus KL(q(x_1 | x_0) | N(0, 1))."""
    clause = (alpha**2 * x**2 - alpha**2 - sp.log(1 - alpha**2)) / 2
    return sp.simplify(sp.expand_log(clause - gaussian_divergence(alpha * x, 1 - alpha**2, 0, 1), force=True))


def step_residuals() -> tuple[Expr, Expr]:
    """Return the step term of LOS-14 in one dimension minus the divergence, for the small and the large variance.

    e is x_0_hat - x_0.
    """
    q = posterior()
    difference = alpha_s**2 / (1 - alpha_s**2) - alpha_t**2 / (1 - alpha_t**2)
    r = (1 - alpha_s**2) / (1 - alpha_t**2)
    added = 1 - alpha_t**2 / alpha_s**2
    small = difference / 2 * e**2 - gaussian_divergence(0, q.variance, q.on_x_0 * e, q.variance)
    large = r * difference / 2 * e**2 + (r - 1 - sp.log(r)) / 2
    wide = (sp.log(1 / r) + (q.variance + (q.on_x_0 * e) ** 2) / added - 1) / 2
    return sp.simplify(small), sp.simplify(sp.expand_log(large - wide, force=True))
