"""Quantities of a noise schedule in continuous time, derived from its rate beta(t).

A subclass implements four private formulas, `_beta`, `_beta_slope`, `_decay` and `_inverse` (float64, without checks);
the training guide has an example. Its log-decay, `_decay`, then gives

    log_alpha_bar = log_decay from 0 to t      alpha = exp(log_alpha_bar / 2)
    alpha_bar = exp(log_alpha_bar)             sigma = sqrt(-expm1(log_alpha_bar))
    log_snr = log_alpha_bar - log1mexp(log_alpha_bar)

Each public method checks its times, evaluates in float64, rounds once to the dtype of its argument, is exact at
the ends, and carries its one-sided derivative (NUM-4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.numerics import Formula, expm1, has_slopes, log1mexp, with_slopes
from refdiff.tensors import Times, Values, between, within


class RateSchedule(ABC):
    """A schedule in continuous time, given by its rate beta(t) >= 0 on [0, 1].

    The public methods are elementwise: they take times of any shape and any float dtype, return values of that shape
    and dtype, and raise DomainError outside [0, 1].

    A subclass implements `_beta`, `_beta_slope`, `_decay` and `_inverse`, in float64 and without checks.

    Example:
        >>> import torch
        >>> from refdiff import RateSchedule
        >>> class Constant(RateSchedule):
        ...     def _beta(self, t): return torch.full_like(t, 10.0)
        ...     def _beta_slope(self, t): return torch.zeros_like(t)
        ...     def _decay(self, s, t): return -10.0 * (t - s)
        ...     def _inverse(self, log_snr): return torch.nn.functional.softplus(-log_snr) / 10.0
        >>> Constant().alpha_bar(torch.tensor([0.0, 0.1]))
        tensor([1.0000, 0.3679])
    """

    __slots__ = ()

    _BETA_CLAUSE: ClassVar[str] = "SCH-1"
    """The clause that states beta, named in errors."""
    _DECAY_CLAUSE: ClassVar[str] = "SCH-3"
    """The clause that states alpha_bar and its logarithm, named in errors."""

    @abstractmethod
    def _beta(self, t: Tensor) -> Tensor:
        """Return beta(t), unchecked."""

    @abstractmethod
    def _beta_slope(self, t: Tensor) -> Tensor:
        """Return d beta/dt, unchecked."""

    @abstractmethod
    def _decay(self, s: Tensor, t: Tensor) -> Tensor:
        """Return log(alpha_bar_t / alpha_bar_s), unchecked and without cancellation for s near t."""

    def _alpha_slope(self, t: Tensor) -> Tensor:
        """Return d alpha/dt = -beta alpha / 2, unchecked; -inf where beta is infinite.

        A schedule whose alpha falls to 0 with a finite slope overrides it.
        """
        beta = self._beta(t)
        return torch.where(beta == inf, -inf, -0.5 * beta * self._alpha(t))

    @abstractmethod
    def _inverse(self, log_snr: Tensor) -> Tensor:
        """Return t from a finite log-SNR, unchecked."""

    @final
    def beta(self, t: Times) -> Values:
        """Return the noise rate, per unit of time (SCH-2); of the cosine, +inf at t = 1 (SCH-5)."""
        return _elementwise(self._BETA_CLAUSE, self._beta, self._beta_slope, t)

    @final
    def log_decay(self, *, t: Times, s: Times) -> Values:
        """Return log(alpha_bar_t / alpha_bar_s), minus the integral of beta over [s, t] (SCH-3).

        Args:
            t: Later times in [s, 1], any shape, floating.
            s: Earlier times in [0, 1), shaped as t and of its dtype.

        Returns:
            Logarithms, shaped as t and of its dtype.

        Raises:
            DomainError: A time is outside its range, or shapes or dtypes differ (MAR-6).
        """
        if s.shape != t.shape or s.dtype != t.dtype or not t.is_floating_point():
            got = f"s {s.dtype} {tuple(s.shape)}, t {t.dtype} {tuple(t.shape)}"
            raise DomainError("MAR-6", "floating-point s and t of one shape and dtype", got)
        s = within("MAR-6", "s in [0, 1)", s, (s >= 0.0) & (s < 1.0))
        t = within("MAR-6", "t in [s, 1]", t, (t >= s) & (t <= 1.0))
        slopes: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
            lambda s, t: self._beta(s),
            lambda s, t: -self._beta(t),
        )
        return with_slopes(self._decay, slopes, s.double(), t.double()).to(t.dtype)

    @final
    def log_alpha_bar(self, t: Times) -> Values:
        """Return minus the integral of beta over [0, t] (SCH-3, SCH-4); of the cosine, -inf at t = 1."""
        return _elementwise(self._DECAY_CLAUSE, self._from_zero, lambda t: -self._beta(t), t)

    @final
    def alpha_bar(self, t: Times) -> Values:
        """Return exp(log_alpha_bar), the fraction of the variance that is signal (SCH-3, SCH-4)."""
        return _elementwise(self._DECAY_CLAUSE, lambda t: torch.exp(self._from_zero(t)), self._alpha_bar_slope, t)

    @final
    def alpha(self, t: Times) -> Values:
        """Return the signal scale sqrt(alpha_bar) (MAR-1)."""
        return _elementwise("MAR-1", self._alpha, self._alpha_slope, t)

    @final
    def sigma(self, t: Times) -> Values:
        """Return the noise standard deviation sqrt(1 - alpha_bar) (MAR-2)."""

        def slope(t: Tensor) -> Tensor:
            # 2 sigma sigma' = -alpha_bar'. At 0, sigma^2 is beta(0) t, or beta'(0) t^2 / 2 if beta(0) = 0.
            at_zero = torch.where(self._beta(t) > 0.0, inf, torch.sqrt(0.5 * self._beta_slope(t)))
            return torch.where(t == 0.0, at_zero, -self._alpha_bar_slope(t) / (2.0 * self._sigma(t)))

        return _elementwise("MAR-2", self._sigma, slope, t)

    @final
    def scales(self, t: Times) -> tuple[Values, Values]:
        """Return what `alpha` and `sigma` return, to the bit, from one log-decay: half of the cost (MAR-1, MAR-2)."""
        if has_slopes(t) or not t.is_floating_point():
            return self.alpha(t), self.sigma(t)
        exact = between("MAR-1", "t in [0, 1]", t, 0.0, 1.0)
        log_alpha_bar = self._from_zero(exact if t.dtype == torch.float64 else exact.double())
        # The formulas of `_alpha_of` and `_sigma_of`, in place: no derivative is recorded here.
        alpha, sigma = torch.mul(log_alpha_bar, 0.5).exp_(), torch.expm1(log_alpha_bar).neg_().sqrt_()
        return (alpha, sigma) if t.dtype == torch.float64 else (alpha.to(t.dtype), sigma.to(t.dtype))

    @final
    def log_snr(self, t: Times) -> Values:
        """Return log(alpha^2 / sigma^2), natural; +inf at t = 0; of the cosine, -inf at t = 1 (SCH-7)."""

        def slope(t: Tensor) -> Tensor:
            return torch.where(t == 0.0, -inf, -self._beta(t) / self._sigma(t) ** 2)

        return _elementwise("SCH-7", self._log_snr, slope, t)

    @final
    def time_of_log_snr(self, log_snr: Values) -> Values:
        """Return the t at which the schedule has this log-SNR, the inverse of `log_snr` (SCH-10).

        Args:
            log_snr: Values from log_snr(1) to +inf, any shape, floating.

        Returns:
            Times in [0, 1], shaped as log_snr and of its dtype.

        Raises:
            DomainError: A value is below log_snr(1).
        """
        if not log_snr.is_floating_point():
            raise DomainError("SCH-10", "floating-point log_snr", log_snr.dtype)
        # log_snr(1), rounded to the dtype of the argument, is inside the domain and must give t = 1.
        lowest = self._log_snr(torch.ones((), dtype=torch.float64, device=log_snr.device))
        inside = within("SCH-10", "log_snr >= log_snr(1)", log_snr, log_snr >= lowest.to(log_snr.dtype))

        def time(value: Tensor) -> Tensor:
            # At +inf the inverse may divide 0 by 0; the answer is t = 0.
            return torch.where(value == inf, 0.0, self._inverse(value)).clamp(max=1.0)

        def slope(value: Tensor) -> Tensor:
            t = time(value)
            return torch.where(t == 0.0, 0.0, -torch.sigmoid(-value) / self._beta(t))

        return with_slopes(time, (slope,), inside.double()).to(log_snr.dtype)

    def _from_zero(self, t: Tensor) -> Tensor:
        """Return log alpha_bar, unchecked; a schedule may override it by a faster form of `_decay`."""
        return self._decay(torch.zeros_like(t), t)

    def _alpha(self, t: Tensor) -> Tensor:
        return _alpha_of(self._from_zero(t))

    def _alpha_bar_slope(self, t: Tensor) -> Tensor:
        return 2.0 * self._alpha(t) * self._alpha_slope(t)

    def _sigma(self, t: Tensor) -> Tensor:
        return _sigma_of(self._from_zero(t))

    def _log_snr(self, t: Tensor) -> Tensor:
        return self._from_zero(t) - log1mexp(self._from_zero(t))


def _alpha_of(log_alpha_bar: Tensor) -> Tensor:
    return torch.exp(0.5 * log_alpha_bar)


def _sigma_of(log_alpha_bar: Tensor) -> Tensor:
    # 1 - exp(.) loses 0.6% of sigma at t = 1e-5 in float32; expm1 loses 3e-8. exp of half of
    # log(1 - alpha_bar) would lose 45 ulp in float64 at t = 1e-38, where that log is -90.
    return torch.sqrt(-expm1(log_alpha_bar))


def _elementwise(clause: str, value: Formula, slope: Formula, t: Tensor) -> Tensor:
    if not t.is_floating_point():
        raise DomainError(clause, "floating-point t (an integer index belongs to a chain)", t.dtype)
    return with_slopes(value, (slope,), between(clause, "t in [0, 1]", t, 0.0, 1.0).double()).to(t.dtype)
