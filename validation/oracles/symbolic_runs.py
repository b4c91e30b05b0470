"""Whole sampling runs on Gaussian data as algebra, by SymPy. A residual is 0 if the clause is true."""

from __future__ import annotations

import sympy as sp

from .symbolic import Expr

t, h, v, b = sp.symbols("t h v b", positive=True)
m, z = sp.symbols("m z", real=True)


def flow_residual() -> Expr:
    """Return dx/dt + beta/2 (x + score) along x = alpha m + S z, for any alpha(t) and its beta = -2 alpha'/alpha."""
    alpha = sp.Function("alpha", positive=True)(t)
    beta = -2 * sp.diff(alpha, t) / alpha
    power = alpha**2 * v + 1 - alpha**2
    x = alpha * m + sp.sqrt(power) * z
    score = -(x - alpha * m) / power
    return sp.simplify(sp.diff(x, t) + beta / 2 * (x + score))


def local_orders_of_variance() -> dict[str, int]:
    """Return the orders in h of the error of the variance after one step of em, and of ddpm, at a constant rate b."""
    alpha_t, ratio = sp.exp(-b * t / 2), sp.exp(-b * h / 2)
    sigma_t, power = 1 - alpha_t**2, alpha_t**2 * v + 1 - alpha_t**2
    alpha_s = alpha_t / ratio
    sigma_s = 1 - alpha_s**2
    wanted = alpha_s**2 * v + sigma_s
    em = (1 + b * h / 2 - b * h / power) ** 2 * power + b * h
    slope = alpha_s * (1 - ratio**2) / sigma_t * alpha_t * v / power + ratio * sigma_s / sigma_t
    ddpm = slope**2 * power + (1 - ratio**2) * sigma_s / sigma_t
    return {name: _order(found - wanted) for name, found in (("em", em), ("ddpm", ddpm))}


def _order(error: Expr) -> int:
    """Return the lowest power of h with a coefficient other than 0, up to 3, at rational b and v and a generic t."""
    known = error.subs({b: sp.Rational(3, 2), v: sp.Rational(1, 3)})
    for power in range(4):
        if sp.simplify(sp.diff(known, h, power).subs(h, 0)) != 0:
            return power
    return 4
