"""Steps of chapter 10 from any prediction, with either variance and any eta, as algebra by SymPy."""

from __future__ import annotations

import sympy as sp

from .symbolic import Expr, alpha_s, alpha_t, eps, posterior, x_0
from .symbolic_sde import sigma_s, sigma_t

eta = sp.Symbol("eta", nonnegative=True)


def given(prediction: str) -> Expr:
    """Return the true value of a prediction at x_t = alpha_t x_0 + sigma_t eps."""
    return {"eps": eps, "x_0": x_0, "v": alpha_t * eps - sigma_t * x_0, "score": -eps / sigma_t}[prediction]


def parts(prediction: str, value: Expr, x_t: Expr) -> tuple[Expr, Expr]:
    """Return x_0_hat and eps_hat, by PAR-1 to PAR-4."""
    if prediction == "x_0":
        return value, (x_t - alpha_t * value) / sigma_t
    if prediction == "v":
        return alpha_t * x_t - sigma_t * value, sigma_t * x_t + alpha_t * value
    noise = value if prediction == "eps" else -sigma_t * value
    return (x_t - sigma_t * noise) / alpha_t, noise


def landing_residuals(prediction: str) -> tuple[Expr, ...]:
    """Return what is 0 if a step from the true prediction has the mean and the variance that SMP-5 states.

    Of ddim with any eta: the coefficient of x_0 minus alpha_s, and the variance over eps and z minus sigma_s^2; of the
    mean of ddpm: the same coefficient, and the variance over eps minus sigma_s^2 - V.
    """
    q, x_t = posterior(), alpha_t * x_0 + sigma_t * eps
    x_0_hat, eps_hat = parts(prediction, given(prediction), x_t)
    c_squared = eta**2 * q.variance
    # The coefficient of eps_hat is a root: its square is compared.
    on_x_0, on_eps = (sp.simplify(sp.expand(y).coeff(x_0, 1)) for y in (x_0_hat, eps_hat))
    of_x_0_hat, of_eps_hat = (sp.simplify(sp.expand(y).coeff(eps, 1)) for y in (x_0_hat, eps_hat))
    mean = sp.expand(sp.simplify(q.on_x_0 * x_0_hat + q.on_x_t * x_t))
    residuals = (
        on_x_0 - 1,
        on_eps,
        of_x_0_hat,
        (sigma_s**2 - c_squared) * of_eps_hat**2 + c_squared - sigma_s**2,
        mean.coeff(x_0, 1) - alpha_s,
        mean.coeff(eps, 1) ** 2 - (sigma_s**2 - q.variance),
    )
    return tuple(sp.simplify(residual) for residual in residuals)


def at_eta_one() -> tuple[Expr, Expr]:
    """Return ddim's step at eta = 1 minus that of ddpm: the square of the coefficient of eps_hat, and the variance.

    In x_0_hat and eps_hat the mean of ddpm is alpha_s x_0_hat + B sigma_t eps_hat.
    """
    q, x_0_hat, eps_hat = posterior(), sp.Symbol("x_0_hat"), sp.Symbol("eps_hat")
    mean = sp.expand(q.on_x_0 * x_0_hat + q.on_x_t * (alpha_t * x_0_hat + sigma_t * eps_hat))
    root = mean.coeff(eps_hat, 1)
    return sp.simplify(mean.coeff(x_0_hat, 1) - alpha_s), sp.simplify(root**2 - (sigma_s**2 - q.variance))


def reverse_variance(spread: Expr) -> Expr:
    """Return the variance of x_s given x_t for data of variance `spread`^2, by the formula of conditioning."""
    of_s, of_t = (a**2 * spread**2 + 1 - a**2 for a in (alpha_s, alpha_t))
    between = alpha_t / alpha_s * of_s
    return sp.simplify(of_s - between**2 / of_t)
