"""Functions of several arguments in Arb balls, for the test vectors: the literal definitions, at 400 bits.

Inputs are binary64 numbers, taken as exact. At both ends of a schedule, the functions return the exact limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias, cast, final

import flint

from . import certified

Ball: TypeAlias = Any
BITS = 400
DIGITS = 40


@final
@dataclass(frozen=True, slots=True)
class Scales:
    """alpha, sigma and beta at one time. beta is None for a chain, and where it is infinite."""

    alpha: Ball
    sigma: Ball
    beta: Ball | None

    @property
    def snr(self) -> Ball:
        """Signal-to-noise ratio, alpha^2/sigma^2."""
        return (self.alpha / self.sigma) ** 2


def of_schedule(process: certified.Process, t: float) -> Scales:
    """Return the scales of a continuous process at time t."""
    if t == process.ends_at:
        return Scales(flint.arb(0), flint.arb(1), None)
    parameters = tuple(map(flint.arb, process.parameters))
    series = process.log_alpha_bar(flint.arb_series([flint.arb(t), 1], prec=2), parameters)
    if t == 0.0:
        return Scales(flint.arb(1), flint.arb(0), -series[1])
    alpha_bar = series[0].exp()
    return Scales(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), -series[1])


def of_chain(betas: tuple[Ball, ...], k: int) -> Scales:
    """Return the scales of a chain after k steps."""
    product = flint.arb(1)
    for beta in betas[:k]:
        product = product * (1 - beta)
    return Scales(product.sqrt(), flint.arb(0) if k == 0 else (1 - product).sqrt(), None)


def quantity(name: str, q: Scales) -> Ball | float:
    """Return the coefficient of this name, or its limit at an end of the schedule."""
    zero_noise, zero_signal = q.sigma == 0, q.alpha == 0
    match name:
        case "alpha":
            return q.alpha
        case "sigma":
            return q.sigma
        case "alpha_bar":
            return q.alpha**2
        case "log_alpha_bar":
            return -inf if zero_signal else 2 * q.alpha.log()
        case "log_snr":
            return inf if zero_noise else -inf if zero_signal else q.snr.log()
        case "beta":
            return inf if q.beta is None else q.beta
    raise ValueError(name)


def posterior(s: Scales, t: Scales) -> Mapping[str, Ball]:
    """Return the coefficients of the posterior q(x_s | x_t, x_0) (MAR-7), s before t."""
    ratio = t.alpha / s.alpha
    added = 1 - ratio**2
    return {
        "on_x_0": s.alpha * added / t.sigma**2,
        "on_x_t": ratio * s.sigma**2 / t.sigma**2,
        "variance": added * s.sigma**2 / t.sigma**2,
    }


CONVERSIONS: Mapping[tuple[str, str], Callable[[Scales, Ball, Ball], Ball]] = {
    ("eps", "x_0"): lambda q, x, v: (x - q.sigma * v) / q.alpha,
    ("score", "x_0"): lambda q, x, v: (x + q.sigma**2 * v) / q.alpha,
    ("v", "x_0"): lambda q, x, v: q.alpha * x - q.sigma * v,
    ("x_0", "eps"): lambda q, x, v: (x - q.alpha * v) / q.sigma,
    ("v", "eps"): lambda q, x, v: q.sigma * x + q.alpha * v,
    ("score", "eps"): lambda q, x, v: -q.sigma * v,
    ("eps", "v"): lambda q, x, v: (v - q.sigma * x) / q.alpha,
    ("x_0", "v"): lambda q, x, v: (q.alpha * x - v) / q.sigma,
    ("score", "v"): lambda q, x, v: (-q.sigma * v - q.sigma * x) / q.alpha,
    ("eps", "score"): lambda q, x, v: -v / q.sigma,
    ("x_0", "score"): lambda q, x, v: -(x - q.alpha * v) / q.sigma**2,
    ("v", "score"): lambda q, x, v: -(q.sigma * x + q.alpha * v) / q.sigma,
}


def weight(name: str, prediction: str, q: Scales) -> Ball | float:
    """Return the loss weight on this prediction, by the table of chapter 5, or its limit at an end of the schedule."""
    if name == "uniform":
        return flint.arb(1)
    if name == "likelihood":
        factors = {"score": 1, "eps": 1 / q.sigma**2, "v": q.alpha**2 / q.sigma**2, "x_0": q.alpha**2 / q.sigma**4}
        rate = cast("Any", q.beta)
        return rate * factors[prediction]
    if q.sigma == 0:
        on_x_0 = flint.arb(1 if name == "inverse_snr" else 5)
        over_snr: Ball | float = flint.arb(0)
    elif q.alpha == 0:
        on_x_0 = flint.arb(1 if name == "inverse_snr" else 0)
        over_snr = inf if name == "inverse_snr" else flint.arb(1)
    else:
        on_x_0 = flint.arb(1) if name == "inverse_snr" else (q.snr if q.snr < 5 else flint.arb(5))
        over_snr = on_x_0 / q.snr
    if prediction in ("eps", "score"):
        return over_snr if prediction == "eps" or over_snr == inf else over_snr * q.sigma**2
    return on_x_0 if prediction == "x_0" else on_x_0 * q.sigma**2


def step(rule: str, t: Scales, s: Scales, h: Ball, x: Ball, eps_hat: Ball, noise: Ball) -> Ball:
    """Return x_s after one step of a sampler from x_t (SMP-1 to SMP-4); h = t - s, noise is a draw of N(0, 1)."""
    if rule in ("em", "ode"):
        score_factor = flint.arb(1) if rule == "em" else flint.arb(1) / 2
        beta = cast("Any", t.beta)
        moved = x + h * (beta * x / 2 - score_factor * beta * eps_hat / t.sigma)
        return moved + (beta * h).sqrt() * noise if rule == "em" else moved
    x_0_hat = (x - t.sigma * eps_hat) / t.alpha
    if rule == "ddim":
        return s.alpha * x_0_hat + s.sigma * eps_hat
    q = posterior(s, t)
    return q["on_x_0"] * x_0_hat + q["on_x_t"] * x + q["variance"].sqrt() * noise


def decimal(value: Ball | float) -> dict[str, str]:
    """Return a number as a decimal ball: a midpoint of 40 digits, and a radius proven to contain the value."""
    if isinstance(value, float) or value == 0:
        return {"mid": {inf: "inf", -inf: "-inf"}.get(float(value), "0"), "rad": "0"}
    mid = value.mid().str(DIGITS, radius=False)
    exponent = int((abs(value).log() / flint.arb(10).log()).floor().unique_fmpz() or 0)
    rad = f"1e{exponent - DIGITS + 2}"
    if not abs(flint.arb(mid) - value) <= flint.arb(rad):
        raise ArithmeticError(f"{BITS} bits do not prove {DIGITS} digits of {mid}")
    return {"mid": mid, "rad": rad}
