"""What follows from a rate: every quantity of a schedule, written once.

A schedule states four formulas (`Primitives`, float64, unchecked). From its log_decay follow

    log_alpha_bar = log_decay(0, t)            alpha = exp(log_alpha_bar / 2)
    alpha_bar = exp(log_alpha_bar)             sigma = sqrt(-expm1(log_alpha_bar))
    log_snr = log_alpha_bar - log1mexp(log_alpha_bar)

Each is evaluated in float64, rounded once to the dtype of its argument, exact at the ends, and
carries its one-sided derivative (NUM-4).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.numerics import Formula, log1mexp, with_slopes
from refdiff.tensors import within


@runtime_checkable
class Primitives(Protocol):
    """The formulas that make a schedule what it is: float64 in, float64 out, no checks."""

    def rate(self, t: Tensor, /) -> Tensor:
        """Return beta(t)."""

    def rate_slope(self, t: Tensor, /) -> Tensor:
        """Return d beta/dt."""

    def decay(self, s: Tensor, t: Tensor, /) -> Tensor:
        """Return log(alpha_bar_t / alpha_bar_s), without cancellation for s near t."""

    def alpha_slope(self, t: Tensor, /) -> Tensor:
        """Return d alpha/dt = -beta alpha / 2, also where beta is infinite."""

    def inverse(self, log_snr: Tensor, /) -> Tensor:
        """Return t from a finite log-SNR."""


def beta(of: Primitives, clause: str, t: Tensor) -> Tensor:
    """Return the rate, any shape."""
    return _elementwise(clause, of.rate, of.rate_slope, t)


def log_decay(of: Primitives, s: Tensor, t: Tensor) -> Tensor:
    """Return log(alpha_bar_t / alpha_bar_s) for 0 <= s <= t <= 1, s < 1, of one shape and dtype."""
    if s.shape != t.shape or s.dtype != t.dtype or not t.is_floating_point():
        got = f"s {s.dtype} {tuple(s.shape)}, t {t.dtype} {tuple(t.shape)}"
        raise DomainError("MAR-6", "floating-point s and t of one shape and dtype", got)
    s = within("MAR-6", "s in [0, 1)", s, (s >= 0.0) & (s < 1.0))
    t = within("MAR-6", "t in [s, 1]", t, (t >= s) & (t <= 1.0))
    slopes: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (lambda s, t: of.rate(s), lambda s, t: -of.rate(t))
    return with_slopes(of.decay, slopes, s.double(), t.double()).to(t.dtype)


def log_alpha_bar(of: Primitives, clause: str, t: Tensor) -> Tensor:
    """Return minus the integral of the rate over [0, t], any shape."""
    return _elementwise(clause, lambda t: _from_zero(of, t), lambda t: -of.rate(t), t)


def alpha_bar(of: Primitives, clause: str, t: Tensor) -> Tensor:
    """Return exp(log_alpha_bar), any shape."""
    return _elementwise(clause, lambda t: torch.exp(_from_zero(of, t)), lambda t: _alpha_bar_slope(of, t), t)


def alpha(of: Primitives, t: Tensor) -> Tensor:
    """Return sqrt(alpha_bar), any shape (MAR-1)."""
    return _elementwise("MAR-1", lambda t: _alpha(of, t), of.alpha_slope, t)


def sigma(of: Primitives, t: Tensor) -> Tensor:
    """Return sqrt(1 - alpha_bar), any shape (MAR-2)."""

    def slope(t: Tensor) -> Tensor:
        # 2 sigma sigma' = -alpha_bar'. At 0, sigma^2 is beta(0) t, or beta'(0) t^2 / 2 if beta(0) = 0.
        at_zero = torch.where(of.rate(t) > 0.0, inf, torch.sqrt(0.5 * of.rate_slope(t)))
        return torch.where(t == 0.0, at_zero, -_alpha_bar_slope(of, t) / (2.0 * _sigma(of, t)))

    return _elementwise("MAR-2", lambda t: _sigma(of, t), slope, t)


def log_snr(of: Primitives, t: Tensor) -> Tensor:
    """Return log(alpha^2 / sigma^2), any shape (SCH-7)."""

    def slope(t: Tensor) -> Tensor:
        return torch.where(t == 0.0, -inf, -of.rate(t) / _sigma(of, t) ** 2)

    return _elementwise("SCH-7", lambda t: _log_snr(of, t), slope, t)


def time_of_log_snr(of: Primitives, log_snr: Tensor) -> Tensor:
    """Return the t at which log_snr(t) is the argument, any shape (SCH-10)."""
    if not log_snr.is_floating_point():
        raise DomainError("SCH-10", "floating-point log_snr", log_snr.dtype)
    # log_snr(1), rounded to the dtype of the argument, is inside: it must come back as t = 1.
    lowest = _log_snr(of, torch.ones((), dtype=torch.float64, device=log_snr.device))
    inside = within("SCH-10", "log_snr >= log_snr(1)", log_snr, log_snr >= lowest.to(log_snr.dtype))

    def time(value: Tensor) -> Tensor:
        # At +inf the inverse may divide 0 by 0; the answer is t = 0.
        return torch.where(value == inf, 0.0, of.inverse(value)).clamp(max=1.0)

    def slope(value: Tensor) -> Tensor:
        t = time(value)
        return torch.where(t == 0.0, 0.0, -torch.sigmoid(-value) / of.rate(t))

    return with_slopes(time, (slope,), inside.double()).to(log_snr.dtype)


def _elementwise(clause: str, value: Formula, slope: Formula, t: Tensor) -> Tensor:
    if not t.is_floating_point():
        raise DomainError(clause, "floating-point t (an integer index belongs to a chain)", t.dtype)
    # Two kernels where two comparisons and their conjunction are three; NaN equals nothing.
    inside = within(clause, "t in [0, 1]", t, t == t.clamp(0.0, 1.0))
    return with_slopes(value, (slope,), inside.double()).to(t.dtype)


def _from_zero(of: Primitives, t: Tensor) -> Tensor:
    return of.decay(torch.zeros_like(t), t)


def _alpha(of: Primitives, t: Tensor) -> Tensor:
    return torch.exp(0.5 * _from_zero(of, t))


def _alpha_bar_slope(of: Primitives, t: Tensor) -> Tensor:
    return 2.0 * _alpha(of, t) * of.alpha_slope(t)


def _sigma(of: Primitives, t: Tensor) -> Tensor:
    # 1 - exp(.) loses 0.6% of sigma at t = 1e-5 in float32; expm1 loses 3e-8. exp of half of
    # log(1 - alpha_bar) would lose 45 ulp in float64 at t = 1e-38, where that log is -90.
    return torch.sqrt(-torch.expm1(_from_zero(of, t)))


def _log_snr(of: Primitives, t: Tensor) -> Tensor:
    return _from_zero(of, t) - log1mexp(_from_zero(of, t))
