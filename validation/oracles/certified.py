"""Certified values: Arb balls, whose error bound is proven, computed from the definitions.

The formulas are the literal definitions of the specification, even where they cancel: the working precision is doubled
until the ball proves enough digits. Derivatives come from power series, so no derivative is written down.
Arguments are binary64 numbers, taken as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from typing import Any, Literal, TypeAlias, final

import flint
import numpy as np
import numpy.typing as npt

Quantity: TypeAlias = Literal["log_alpha_bar", "alpha_bar", "alpha", "sigma", "variance", "log_snr", "beta"]
Floats: TypeAlias = npt.NDArray[np.float64]
Ball: TypeAlias = Any
"""An `arb` or an `arb_series`: flint is untyped, and both have exp, log, cos and sqrt."""

_BITS = 120
"""Required relative accuracy of every ball: 53 bits for a value, 53 for its residual, and a margin of 14."""
_BELOW_FLOATS = flint.arb(2) ** -1200
"""A number below every binary64. It stops the search at an exact 0, such as the log-SNR of cosine(0) at t = 1/2,
where no precision proves a relative accuracy."""


@final
@dataclass(frozen=True, slots=True)
class Process:
    """log alpha_bar as a formula in t and the parameters, and the time at which it is -inf (None: at no time)."""

    log_alpha_bar: Callable[[Ball, tuple[Ball, ...]], Ball]
    parameters: tuple[float, ...]
    ends_at: float | None = None


def linear(beta_min: float, beta_max: float) -> Process:
    """Return the linear schedule: log alpha_bar = -(beta_min t + (beta_max - beta_min) t^2/2) (SCH-3)."""

    def log_alpha_bar(t: Ball, p: tuple[Ball, ...]) -> Ball:
        return -(p[0] * t + (p[1] - p[0]) * t * t / 2)

    return Process(log_alpha_bar, (beta_min, beta_max))


def cosine(s: float) -> Process:
    """Return the cosine schedule: alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)) (SCH-4)."""

    def log_alpha_bar(t: Ball, p: tuple[Ball, ...]) -> Ball:
        half_pi = flint.arb.pi() / 2
        f = (half_pi * ((t + p[0]) / (1 + p[0]))).cos()
        f_0 = (half_pi * (p[0] / (1 + p[0]))).cos()
        return 2 * (f / f_0).log()

    return Process(log_alpha_bar, (s,), ends_at=1.0)


@final
@dataclass(frozen=True, slots=True)
class Certified:
    """A real number: `value` is the nearest binary64, `residual` the exact number minus it, `conditioning` its kappa.

    kappa(q) = sum |x dq/dx| over the arguments x of the quantity q (chapter 11).
    """

    value: float
    residual: float
    conditioning: float


@final
@dataclass(frozen=True, slots=True)
class Column:
    """The fields of `Certified` for many times: three arrays of one length."""

    value: Floats
    residual: Floats
    conditioning: Floats


def column(process: Process, quantity: Quantity, times: Iterable[float]) -> Column:
    """Return a quantity at many times of a continuous process."""
    return _column([at(process, quantity, float(t)) for t in times])


def chain_column(betas: tuple[float, ...], quantity: Quantity, steps: Iterable[int]) -> Column:
    """Return a quantity at many indices k in 0..N of a discrete chain, by the product DIS-1."""
    table = _chain(betas, quantity)
    return _column([table[int(k)] for k in steps])


@cache
def at(process: Process, quantity: Quantity, t: float) -> Certified:
    """Return a quantity at one time in [0, 1]."""
    if t == 0.0 and quantity != "beta":
        limits = {"alpha_bar": 1.0, "alpha": 1.0, "log_snr": inf}
        return Certified(limits.get(quantity, 0.0), 0.0, 0.0)
    if t == process.ends_at:
        limits = {"log_alpha_bar": -inf, "log_snr": -inf, "beta": inf, "sigma": 1.0, "variance": 1.0}
        conditioning = {"alpha": _end_slope(process, t), "alpha_bar": 0.0, "variance": 0.0, "sigma": 0.0}
        return Certified(limits.get(quantity, 0.0), 0.0, conditioning.get(quantity, inf))
    ball = _proven(partial(_evaluate, process, quantity, t, None))
    if quantity == "beta":
        return _certified(ball, _kappa(process, quantity, t))
    # Chain rule: every quantity other than beta is a function of log alpha_bar.
    slope = float(_proven(partial(_slope, process, quantity, t), 20))
    return _certified(ball, abs(slope) * _kappa(process, "log_alpha_bar", t))


@cache
def _kappa(process: Process, quantity: Quantity, t: float) -> float:
    """Return sum |x dq/dx| over the arguments x of the quantity q: t and the parameters."""
    return sum(
        abs(x * float(_proven(partial(_evaluate, process, quantity, t, i), 20)))
        for i, x in enumerate((t, *process.parameters))
        if x != 0.0
    )


def _slope(process: Process, quantity: Quantity, t: float) -> Ball:
    """Return the derivative of a quantity with respect to log alpha_bar, at time t."""
    log_alpha_bar = _evaluate(process, "log_alpha_bar", t, None)
    return _of_log_alpha_bar(log_alpha_bar, quantity)[1]


def from_log_alpha_bar(log_alpha_bar: Ball, quantity: Quantity) -> Ball:
    """Return a quantity other than beta from log alpha_bar, by its definition."""
    match quantity:
        case "log_alpha_bar":
            return log_alpha_bar
        case "alpha_bar":
            return log_alpha_bar.exp()
        case "alpha":
            return log_alpha_bar.exp().sqrt()
        case "variance":
            return 1 - log_alpha_bar.exp()
        case "sigma":
            return (1 - log_alpha_bar.exp()).sqrt()
        case "log_snr":
            return (log_alpha_bar.exp() / (1 - log_alpha_bar.exp())).log()
        case "beta":
            raise ValueError("beta is a derivative: see _evaluate")


def _evaluate(process: Process, quantity: Quantity, t: float, variable: int | None) -> Ball:
    """Return the quantity, or its derivative with respect to argument number `variable`: 0 is t, then the parameters.

    variable: None for the quantity itself.
    """
    arguments: list[Ball] = [flint.arb(x) for x in (t, *process.parameters)]
    if quantity == "beta":
        # beta = -d log_alpha_bar/dt is the first coefficient of the series in t, and d beta/dt twice the second.
        if variable in (None, 0):
            arguments[0] = flint.arb_series([arguments[0], 1], prec=3)
            series = process.log_alpha_bar(arguments[0], tuple(arguments[1:]))
            return -series[1] if variable is None else -2 * series[2]
        return _mixed(process, t, variable)
    if variable is not None:
        arguments[variable] = flint.arb_series([arguments[variable], 1], prec=2)
    result = from_log_alpha_bar(process.log_alpha_bar(arguments[0], tuple(arguments[1:])), quantity)
    return result if variable is None else result[1]


def _mixed(process: Process, t: float, variable: int) -> Ball:
    """Return d beta/dp for parameter p: minus the mixed second derivative of log alpha_bar in t and p."""

    def second(direction: tuple[int, int]) -> Ball:
        arguments: list[Ball] = [flint.arb(x) for x in (t, *process.parameters)]
        for i, step in zip((0, variable), direction, strict=True):
            arguments[i] = flint.arb_series([arguments[i], step], prec=3)
        return process.log_alpha_bar(arguments[0], tuple(arguments[1:]))[2]

    # f(t + h, p + h) has 2nd coefficient f_tt/2 + f_tp + f_pp/2.
    return -(second((1, 1)) - second((1, 0)) - second((0, 1)))


def _end_slope(process: Process, end: float) -> float:
    """Return |d alpha/dt| at the time where alpha reaches 0, as the difference quotient over a step of 2^-400."""

    def quotient() -> Ball:
        step = flint.arb(2) ** -400
        log_alpha_bar = process.log_alpha_bar(end - step, tuple(map(flint.arb, process.parameters)))
        return log_alpha_bar.exp().sqrt() / step

    return float(_proven(quotient))


@cache
def _chain(betas: tuple[float, ...], quantity: Quantity) -> list[Certified]:
    rows = [at(Process(lambda t, _: -t, ()), quantity, 0.0)]
    previous = flint.ctx.prec
    flint.ctx.prec = 512
    try:
        product, conditioning = flint.arb(1), 0.0
        for k, beta in enumerate(betas, start=1):
            if beta == 1.0:
                rows.append(_ended(quantity))  # The last: no signal is left.
                break
            product = product * (1 - flint.arb(beta))
            conditioning += beta / (1.0 - beta)
            value, slope = _of_product(product, quantity)
            if value.rel_accuracy_bits() < _BITS:
                value, slope = _of_exact_product(betas[:k], quantity)
            rows.append(_certified(value, abs(float(slope)) * conditioning))
    finally:
        flint.ctx.prec = previous
    return rows


def _ended(quantity: Quantity) -> Certified:
    """Return a quantity where alpha_bar is exactly 0, whatever the arguments are rounded to."""
    limits = {"log_alpha_bar": -inf, "log_snr": -inf, "sigma": 1.0, "variance": 1.0}
    return Certified(limits.get(quantity, 0.0), 0.0, inf if quantity in ("log_alpha_bar", "log_snr") else 0.0)


def _of_product(product: Ball, quantity: Quantity) -> tuple[Ball, Ball]:
    """Return a quantity, and its derivative with respect to log alpha_bar, from alpha_bar."""
    return _of_log_alpha_bar(product.log(), quantity)


def _of_log_alpha_bar(log_alpha_bar: Ball, quantity: Quantity) -> tuple[Ball, Ball]:
    """Return a quantity, and its derivative with respect to log alpha_bar, from log alpha_bar."""
    jet = from_log_alpha_bar(flint.arb_series([log_alpha_bar, 1], prec=2), quantity)
    return jet[0], jet[1]


def _of_exact_product(betas: tuple[float, ...], quantity: Quantity) -> tuple[Ball, Ball]:
    """Return a quantity and its derivative from the product without rounding: each 1 - beta is a multiple of 2^-1074.

    Needed for alpha_bar near 1/2, where the log-SNR is near 0 and loses relative digits, or is exactly 0.
    """
    flint.ctx.prec = 1200 * len(betas) + 512
    product = flint.arb(1)
    for beta in betas:
        product = product * (1 - flint.arb(beta))
    value, slope = _of_product(product, quantity)
    if quantity == "log_snr" and product.is_exact() and product == flint.arb(1) / 2:
        value = flint.arb(0)
    elif value.rel_accuracy_bits() < _BITS:
        raise ArithmeticError(f"{flint.ctx.prec} bits are too few for {quantity} of this chain")
    flint.ctx.prec = 512
    return value, slope


def _proven(evaluate: Callable[[], Ball], accuracy: int = _BITS) -> Ball:
    """Double the working precision until the ball has `accuracy` relative bits, or is proven to round to 0."""
    previous = flint.ctx.prec
    try:
        for bits in (192, 384, 768, 1536, 3072, 6144):
            flint.ctx.prec = bits
            try:
                ball = evaluate()
            except ValueError:  # a series divided by a ball that, at this precision, contains 0
                continue
            if ball.rel_accuracy_bits() >= accuracy or abs(ball) < _BELOW_FLOATS:
                return ball
    finally:
        flint.ctx.prec = previous
    raise ArithmeticError("6144 bits do not prove this value")


def _certified(ball: Ball, conditioning: float) -> Certified:
    previous = flint.ctx.prec
    flint.ctx.prec = 512
    try:
        value = float(ball.mid())
        if value == 0.0 and not ball.contains(0):
            # A number below every binary64 but not 0: the residual has its sign.
            return Certified(value, float(np.sign(float(ball.mid() * flint.arb(2) ** 100000))) * 5e-324, conditioning)
        return Certified(value, float((ball - flint.arb(value)).mid()), conditioning)
    finally:
        flint.ctx.prec = previous


def _column(rows: list[Certified]) -> Column:
    fields = np.array([(r.value, r.residual, r.conditioning) for r in rows], dtype=np.float64).reshape(-1, 3)
    return Column(fields[:, 0], fields[:, 1], fields[:, 2])
