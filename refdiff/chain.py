"""The discrete chain of DDPM as a noise process (spec chapter 7).

    alpha_bar_k = prod_{i=1}^{k} (1 - beta_i),    k = 1..N,    alpha_bar_0 = 1

The product is a sum of log1p(-beta_i) in float64. Times are the indices k, int64; results are float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import fsum, log1p, sqrt
from typing import final

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.numerics import log1mexp
from refdiff.schedule import CosineSchedule, Schedule
from refdiff.tensors import Times, Values, within


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiscreteChain:
    """A chain of N noising steps given by its per-step variances (DIS-1); Ho et al. 2020."""

    betas: tuple[float, ...]
    """beta_k for k = 1..N, each in (0, 1): the variance that step k adds."""
    _log_alpha_bar: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse an empty chain and any beta_k outside (0, 1)."""
        if not self.betas:
            raise DomainError("DIS-1", "at least one beta", "none")
        for k, beta in enumerate(self.betas, start=1):
            if not 0.0 < beta < 1.0:
                raise DomainError("DIS-1", "every beta_k in (0, 1)", f"beta_{k} = {beta}")
        integral = [-log1p(-beta) for beta in self.betas]
        table = torch.tensor([fsum(integral[:k]) for k in range(len(integral) + 1)], dtype=torch.float64)
        # Negated last: log alpha_bar_0 is -0.0, and sigma_0 = sqrt(-expm1(-0.0)) is 0.0, not -0.0.
        object.__setattr__(self, "_log_alpha_bar", -table)

    @staticmethod
    def linear(steps: int, *, beta_min: float = 0.1, beta_max: float = 20.0) -> DiscreteChain:
        """Return DDPM's chain: N beta_k runs evenly from beta_min to beta_max (DIS-3); at N = 1000, 1e-4 to 0.02."""
        return DiscreteChain(betas=tuple(rate / steps for rate in _evenly(beta_min, beta_max, steps)))

    @staticmethod
    def scaled_linear(steps: int, *, beta_min: float = 0.85, beta_max: float = 12.0) -> DiscreteChain:
        """Return the chain whose sqrt(N beta_k) runs evenly (DIS-3); at N = 1000, 8.5e-4 to 0.012."""
        roots = _evenly(sqrt(beta_min), sqrt(beta_max), steps)
        return DiscreteChain(betas=tuple(root * root / steps for root in roots))

    @staticmethod
    def cosine(steps: int, *, s: float = 0.008, cap: float = 0.999) -> DiscreteChain:
        """Return the cosine schedule's chain with its betas capped (DIS-3); Nichol & Dhariwal 2021."""
        return DiscreteChain.sampled(CosineSchedule(s=s), steps, cap=cap)

    @staticmethod
    def sampled(schedule: Schedule, steps: int, *, cap: float = 1.0) -> DiscreteChain:
        """Return the chain that meets a schedule at every k/N, beta_k = 1 - alpha_bar(k/N)/alpha_bar((k-1)/N) (DIS-3).

        cap: the largest beta_k; where it bites, the chain leaves the schedule. A schedule with alpha(1) = 0 needs one.
        """
        ends = torch.arange(_counted(steps) + 1, dtype=torch.float64) / steps
        betas = -torch.expm1(schedule.log_decay(ends[:-1], ends[1:]))
        return DiscreteChain(betas=tuple(betas.clamp(max=cap).tolist()))

    def log_alpha_bar(self, k: Times) -> Values:
        """Return log alpha_bar_k, k int64 in 0..N, any shape (DIS-1). Raises DomainError outside."""
        if k.is_floating_point() or k.is_complex() or k.dtype == torch.bool:
            raise DomainError("DIS-1", "an integer index k (a real time belongs to a schedule)", k.dtype)
        steps = len(self.betas)
        inside = (k >= 0) & (k <= steps)
        looked_up = self._log_alpha_bar.to(k.device)[k.clamp(0, steps).long()]
        return within("DIS-1", f"k in 0..{steps}", looked_up, inside, got=k)

    def log_decay(self, s: Times, t: Times) -> Values:
        """Return log(alpha_bar_t / alpha_bar_s) for indices s <= t of one shape (DIS-1)."""
        if s.shape != t.shape:
            raise DomainError("MAR-6", "s and t of one shape", f"s {tuple(s.shape)}, t {tuple(t.shape)}")
        decay = -(self.log_alpha_bar(s) - self.log_alpha_bar(t))
        return within("MAR-6", "t >= s", decay, t >= s, got=t)

    def alpha_bar(self, k: Times) -> Values:
        """Return alpha_bar_k, any shape (DIS-1)."""
        return torch.exp(self.log_alpha_bar(k))

    def alpha(self, k: Times) -> Values:
        """Return the signal scale sqrt(alpha_bar_k), any shape (MAR-1)."""
        return torch.exp(0.5 * self.log_alpha_bar(k))

    def sigma(self, k: Times) -> Values:
        """Return the noise standard deviation sqrt(1 - alpha_bar_k), any shape (MAR-2)."""
        return torch.sqrt(-torch.expm1(self.log_alpha_bar(k)))

    def log_snr(self, k: Times) -> Values:
        """Return log(alpha_k^2 / sigma_k^2), any shape; +inf at k = 0 (SCH-7)."""
        log_alpha_bar = self.log_alpha_bar(k)
        return log_alpha_bar - log1mexp(log_alpha_bar)


def _counted(steps: int) -> int:
    if steps < 1:
        raise DomainError("DIS-3", "N >= 1", steps)
    return steps


def _evenly(first: float, last: float, steps: int) -> list[float]:
    """Return `steps` numbers from first to last, both included; of one step, the first."""
    gaps = max(_counted(steps) - 1, 1)
    return [(first * (gaps - i) + last * i) / gaps for i in range(steps)]
