"""Chapters 3 (SDE) and 10 (sampling) as algebra, by SymPy. A residual is 0 if the clause is true."""

from __future__ import annotations

import sympy as sp

from .symbolic import Expr, alpha_s, alpha_t, eps, posterior, x, x_0, x_t

t, h = sp.symbols("t h", positive=True)
beta = sp.Function("beta", positive=True)(t)
p = sp.Function("p", positive=True)(x, t)
sigma_t, sigma_s = sp.sqrt(1 - alpha_t**2), sp.sqrt(1 - alpha_s**2)


def power_rate(factor: Expr) -> Expr:
    """Return d E[x^2]/dt at x ~ N(0, 1) for the SDE dx = -factor g^2 x dt + g dW.

    It is the second moment of the right-hand side of the Fokker-Planck equation.
    """
    g, y = sp.Symbol("g", positive=True), sp.Symbol("y", real=True)
    density = sp.exp(-(y**2) / 2) / sp.sqrt(2 * sp.pi)
    change = sp.diff(factor * g**2 * y * density, y) + g**2 / 2 * sp.diff(density, y, 2)
    return sp.integrate(sp.expand(y**2 * change), (y, -sp.oo, sp.oo))


def forward(density: Expr) -> Expr:
    """Return dp/dt by the Fokker-Planck equation of the forward SDE: beta/2 (x p)' + beta/2 p''."""
    return beta / 2 * sp.diff(x * density, x) + beta / 2 * sp.diff(density, x, 2)


def reverse_residual(score_factor: Expr = 1) -> Expr:
    """Return dp/dt by the Fokker-Planck equation of the reverse SDE minus that of the forward SDE, for any density p.

    In the time u = -t the drift is -(f - g^2 score), so dp/du = -((-f + g^2 score) p)' + g^2/2 p'', and dp/du = -dp/dt.
    """
    score = score_factor * sp.diff(sp.log(p), x)
    backward = -sp.diff((beta * x / 2 + beta * score) * p, x) + beta / 2 * sp.diff(p, x, 2)
    return sp.simplify(-backward - forward(p))


def flow_residual() -> Expr:
    """Return dp/dt by the continuity equation of the flow, -((f - g^2 score/2) p)', minus that of the forward SDE."""
    velocity = -beta * x / 2 - beta / 2 * sp.diff(sp.log(p), x)
    return sp.simplify(-sp.diff(velocity * p, x) - forward(p))


def log_density_residual() -> Expr:
    """Return d log p/dt along the flow plus the divergence of its velocity, where p solves the forward equation."""
    velocity = -beta * x / 2 - beta / 2 * sp.diff(sp.log(p), x)
    along = forward(p) / p + velocity * sp.diff(sp.log(p), x)
    return sp.simplify(along + sp.diff(velocity, x))


def euler_residuals() -> tuple[Expr, Expr]:
    """Return SMP-1 without its noise, and SMP-4, each minus an Euler step of length -h.

    The Euler steps follow the drift of SDE-6 and the velocity of SDE-7, with the score -eps/sigma.
    """
    b, s = sp.symbols("b s", positive=True)
    score = -eps / s
    em = x + h * (b * x / 2 - b * eps / s) - (x - h * (-b * x / 2 - b * score))
    ode = x + b * h / 2 * (x - eps / s) - (x - h * (-b * x / 2 - b / 2 * score))
    return sp.simplify(em), sp.simplify(ode)


def ddpm_residual() -> Expr:
    """Return the mean of the posterior at x_0_hat minus the mean of DDPM, (x - (1 - ratio^2)/sigma_t eps)/ratio."""
    q, ratio = posterior(), alpha_t / alpha_s
    x_0_hat = (x_t - sigma_t * eps) / alpha_t
    return sp.simplify(q.on_x_0 * x_0_hat + q.on_x_t * x_t - (x_t - (1 - ratio**2) / sigma_t * eps) / ratio)


def landing_residuals() -> tuple[Expr, Expr, Expr]:
    """Return three residuals for a step from x_t = alpha_t x_0 + sigma_t eps with eps_hat = eps.

    They are ddim's x_s - (alpha_s x_0 + sigma_s eps), the coefficient of x_0 in ddpm's mean minus alpha_s, and ddpm's
    variance over eps and its noise minus sigma_s^2.
    """
    q, start = posterior(), alpha_t * x_0 + sigma_t * eps
    x_0_hat = (start - sigma_t * eps) / alpha_t
    ddim = alpha_s * x_0_hat + sigma_s * eps - (alpha_s * x_0 + sigma_s * eps)
    mean = sp.expand(q.on_x_0 * x_0_hat + q.on_x_t * start)
    power = mean.coeff(eps, 1) ** 2 + q.variance - (1 - alpha_s**2)
    return sp.simplify(ddim), sp.simplify(mean.coeff(x_0, 1) - alpha_s), sp.simplify(power)


def last_step_residuals() -> tuple[Expr, Expr]:
    """Return, at s = 0, the mean of the posterior at x_0_hat minus x_0_hat, and the variance of the posterior."""
    q, x_0_hat = posterior(), sp.Symbol("x_0_hat")
    mean = q.on_x_0 * x_0_hat + q.on_x_t * x_t - x_0_hat
    return sp.simplify(mean.subs(alpha_s, 1)), sp.simplify(q.variance.subs(alpha_s, 1))


def local_orders() -> tuple[int, int]:
    """Return the orders in h of the local errors of Euler and of the classical Runge-Kutta scheme on dx/dt = a(t) x.

    a is any polynomial of degree 5.
    """
    c = sp.symbols("c0:6")

    def a(at: Expr) -> Expr:
        return sum(c[i] * at**i for i in range(6))

    exact = sp.series(sp.exp(sp.integrate(a(t), (t, 0, h))), h, 0, 7).removeO()
    k_1 = a(sp.Integer(0))
    k_2 = a(h / 2) * (1 + h / 2 * k_1)
    k_3 = a(h / 2) * (1 + h / 2 * k_2)
    k_4 = a(h) * (1 + h * k_3)
    rk4 = 1 + h * (k_1 + 2 * k_2 + 2 * k_3 + k_4) / 6
    return _order(1 + h * k_1 - exact), _order(rk4 - exact)


def _order(error: Expr) -> int:
    """Return the lowest power of h with a coefficient other than 0."""
    coefficients = sp.Poly(sp.expand(error), h).all_coeffs()[::-1]
    return next(i for i, value in enumerate(coefficients) if sp.simplify(value) != 0)
