"""Noise schedules of the VP-SDE in continuous time (spec chapter 1).

A schedule is a rate beta(t) >= 0 on [0, 1]. Its integral gives the decay of the signal,

    log(alpha_bar_t / alpha_bar_s) = -int_s^t beta(u) du        `log_decay(t=t, s=s)`, SCH-3

from which `refdiff.derived.RateSchedule`, the base class, derives the public methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi, sin
from typing import ClassVar, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from refdiff.derived import RateSchedule
from refdiff.errors import DomainError
from refdiff.tensors import Times, Values


@runtime_checkable
class NoiseProcess(Protocol):
    """Interface of a noise process: a schedule (t in [0, 1]) or a discrete chain (k in 0..N).

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.DiscreteChain.linear(1000), refdiff.NoiseProcess)
        True
    """

    def alpha(self, t: Times, /) -> Values:
        """Return the signal scale (MAR-1)."""

    def sigma(self, t: Times, /) -> Values:
        """Return the noise standard deviation (MAR-2)."""

    def log_decay(self, *, t: Times, s: Times) -> Values:
        """Return log(alpha_bar_t / alpha_bar_s) for s <= t (SCH-3)."""


@runtime_checkable
class Schedule(NoiseProcess, Protocol):
    """A schedule in continuous time. All methods are elementwise, in the dtype of their argument.

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.LinearSchedule(), refdiff.Schedule)
        True
        >>> isinstance(refdiff.DiscreteChain.linear(1000), refdiff.Schedule)  # a chain has no rate
        False
    """

    def beta(self, t: Times, /) -> Values:
        """Return the noise rate, per unit of time."""

    def log_alpha_bar(self, t: Times, /) -> Values:
        """Return minus the integral of beta over [0, t] (SCH-3)."""

    def alpha_bar(self, t: Times, /) -> Values:
        """Return the fraction of the variance that is signal."""

    def log_snr(self, t: Times, /) -> Values:
        """Return log(alpha^2 / sigma^2), natural (SCH-7)."""

    def time_of_log_snr(self, log_snr: Values, /) -> Values:
        """Return the t at which the schedule has this log-SNR (SCH-10)."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSchedule(RateSchedule):
    """beta(t) = beta_min + t (beta_max - beta_min) (SCH-2); Song et al. 2021, appendix C.

        log alpha_bar(t) = -(beta_min t + (beta_max - beta_min) t^2 / 2)

    Example:
        >>> import refdiff, torch
        >>> schedule = refdiff.LinearSchedule(beta_min=0.1, beta_max=20.0)
        >>> schedule.beta(torch.tensor([0.0, 1.0])), schedule.sigma(torch.tensor([0.0]))
        (tensor([ 0.1000, 20.0000]), tensor([0.]))
    """

    _BETA_CLAUSE: ClassVar[str] = "SCH-2"

    beta_min: float = 0.1
    """Noise rate at t = 0, per unit of time."""
    beta_max: float = 20.0
    """Noise rate at t = 1, per unit of time."""

    def __post_init__(self) -> None:
        """Raise DomainError unless the rates are finite and non-negative, do not decrease, and are not both 0."""
        if not (0.0 <= self.beta_min <= self.beta_max < inf and self.beta_max > 0.0):
            raise DomainError("SCH-2", "0 <= beta_min <= beta_max, finite, and beta_max > 0", self)

    def _beta(self, t: Tensor) -> Tensor:
        """Return beta(t), unchecked."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def _beta_slope(self, t: Tensor) -> Tensor:
        """Return d beta/dt, unchecked."""
        return torch.full_like(t, self.beta_max - self.beta_min)

    def _decay(self, s: Tensor, t: Tensor) -> Tensor:
        """Return minus the area of a trapezium: width t - s, mean height beta((s + t)/2)."""
        return -(t - s) * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * (s + t))

    def _from_zero(self, t: Tensor) -> Tensor:
        """Return what `_decay` does from s = 0, to the bit, in half of its passes."""
        return t * (t * (-0.5 * (self.beta_max - self.beta_min)) - self.beta_min)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        """Solve beta_min t + slope t^2 / 2 = log(1 + 1/SNR) by the root that does not cancel."""
        integral = torch.nn.functional.softplus(-log_snr, threshold=700.0)
        slope = self.beta_max - self.beta_min
        return 2.0 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2.0 * slope * integral))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule(RateSchedule):
    """alpha_bar(t) = cos^2(pi/2 (t + s)/(1 + s)) / cos^2(pi/2 s/(1 + s)) (SCH-4); Nichol & Dhariwal 2021.

    Uncapped: alpha(1) = 0, beta(1) = +inf and log_snr(1) = -inf, exactly.

    Example:
        >>> import refdiff, torch
        >>> t = torch.tensor([0.0, 1.0])
        >>> refdiff.CosineSchedule(s=0.008).log_snr(t)
        tensor([inf, -inf])
    """

    _BETA_CLAUSE: ClassVar[str] = "SCH-5"
    _DECAY_CLAUSE: ClassVar[str] = "SCH-4"

    s: float = 0.008
    """Offset in units of time; s > 0 makes beta(0) > 0."""

    def __post_init__(self) -> None:
        """Raise DomainError for an offset that is negative, infinite or NaN."""
        if not 0.0 <= self.s < inf:
            raise DomainError("SCH-4", "0 <= s, finite", self)

    @property
    def _speed(self) -> float:
        return 0.5 * pi / (1.0 + self.s)

    @property
    def _start(self) -> float:
        return self._speed * self.s

    @property
    def _cos_start(self) -> float:
        # cos(start) would lose half of its digits at s = 1e8, where start is near pi/2.
        return sin(self._speed)

    def _beta(self, t: Tensor) -> Tensor:
        """Return 2 speed tan(start + speed t), each factor of the tangent from the end where it reaches 0."""
        return 2.0 * self._speed * torch.sin(self._start + self._speed * t) / torch.sin(self._speed * (1.0 - t))

    def _beta_slope(self, t: Tensor) -> Tensor:
        """Return d beta/dt, unchecked."""
        return 2.0 * (self._speed / torch.sin(self._speed * (1.0 - t))) ** 2

    def _decay(self, s: Tensor, t: Tensor) -> Tensor:
        """Return the log of a squared ratio of sines, as log1p of their difference where it is near 1."""
        return self._log_ratio(torch.sin(self._speed * (1.0 - s)), s, t)

    def _log_ratio(self, at_s: Tensor | float, s: Tensor | float, t: Tensor) -> Tensor:
        ratio = torch.sin(self._speed * (1.0 - t)) / at_s
        middle = self._start + 0.5 * self._speed * (s + t)
        drop = 2.0 * torch.sin(middle) * torch.sin(0.5 * self._speed * (t - s)) / at_s
        return 2.0 * torch.where(ratio > 0.5, torch.log1p(-drop), torch.log(ratio))

    def _from_zero(self, t: Tensor) -> Tensor:
        """Return what `_decay` does from s = 0, to the bit, where s and its sine are numbers."""
        return self._log_ratio(self._cos_start, 0.0, t)

    def _alpha_slope(self, t: Tensor) -> Tensor:
        """Return d alpha/dt, with the pole of beta and the zero of alpha cancelled."""
        return -self._speed * torch.sin(self._start + self._speed * t) / self._cos_start

    def _inverse(self, log_snr: Tensor) -> Tensor:
        """Solve cos(start + x) = alpha cos(start) for the angle x = speed t.

        sin x = sigma^2 cos(start) / (sin(start + x) + alpha sin(start)) is free of cancellation.
        """
        variance, alpha = torch.sigmoid(-log_snr), torch.sqrt(torch.sigmoid(log_snr))
        sin_sum = torch.sqrt(sin(self._start) ** 2 + self._cos_start**2 * variance)
        sin_x = variance * self._cos_start / (sin_sum + alpha * sin(self._start))
        cos_x = alpha * self._cos_start**2 + sin_sum * sin(self._start)
        return torch.atan2(sin_x, cos_x) / self._speed
