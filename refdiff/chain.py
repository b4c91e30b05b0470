"""The discrete chain of DDPM as a noise process (spec chapter 7).

    alpha_bar_k = prod_{i=1}^{k} (1 - beta_i),    k = 1..N,    alpha_bar_0 = 1

The product is a sum of log1p(-beta_i): exact, and rounded once to float64. Times are the indices k, int64; results
are float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf, log1p, sqrt
from typing import TYPE_CHECKING, Never, TypeAlias, final

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.numerics import expm1, log1mexp
from refdiff.schedule import CosineSchedule, Schedule
from refdiff.tensors import Times, Values, within

if TYPE_CHECKING:
    Refused: TypeAlias = Never
    """Type of keyword arguments that are accepted only to be rejected, so that a type checker rejects them first."""
else:
    Refused = object


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiscreteChain:
    """A chain of N noising steps given by its per-step variances (DIS-1); Ho et al. 2020.

        x_k = sqrt(1 - beta_k) x_{k-1} + sqrt(beta_k) eps,    alpha_bar_k = prod_{i=1}^{k} (1 - beta_i),    k = 1..N

    Times are the indices k, of an integer dtype; k = 0 is data. Results are float64.

    Example:
        >>> import refdiff, torch
        >>> chain = refdiff.DiscreteChain(betas=(0.5, 0.5))
        >>> chain.alpha_bar(torch.tensor([0, 1, 2]))
        tensor([1.0000, 0.5000, 0.2500], dtype=torch.float64)
    """

    betas: tuple[float, ...]
    """beta_k for k = 1..N, the variance that step k adds: in (0, 1), or 1 for k = N where `ends_in_noise`."""
    ends_in_noise: bool = field(default=False, repr=False)
    """Whether beta_N may be 1, as in a chain with zero terminal SNR (DIS-6); its alpha_bar_N is then 0."""
    _log_alpha_bar: Tensor = field(init=False, repr=False)
    _to_middle: Tensor = field(init=False, repr=False)
    """(levels, N + 1): sum of log1p(-beta) over the steps between k and the middle of its block of 2^(level + 1)."""

    def __post_init__(self) -> None:
        """Raise DomainError for an empty chain and for any beta_k outside (0, 1), but a last 1 where it is allowed."""
        if not self.betas:
            raise DomainError("DIS-1", "at least one beta", "none")
        noisy = self.betas[:-1] if self.ends_in_noise and self.betas[-1] == 1.0 else self.betas
        for k, beta in enumerate(noisy, start=1):
            if not 0.0 < beta < 1.0:
                raise DomainError("DIS-1", "every beta_k in (0, 1)", f"beta_{k} = {beta}")
        losses = (_whole(-log1p(-beta)) if beta < 1.0 else _INFINITE for beta in self.betas)
        sums = list(accumulate(losses, initial=0))
        # Negated last: log alpha_bar_0 is -0.0, and sigma_0 = sqrt(-expm1(-0.0)) is 0.0, not -0.0.
        table = -torch.tensor([_rounded(total) for total in sums], dtype=torch.float64)
        object.__setattr__(self, "_log_alpha_bar", table)
        object.__setattr__(self, "_to_middle", _sums_to_middle(sums))

    @staticmethod
    def linear(
        steps: int, *, beta_start: float | None = None, beta_end: float | None = None, **renamed: Refused
    ) -> DiscreteChain:
        """Return DDPM's chain: beta_k runs evenly from beta_start to beta_end (DIS-3).

        The defaults are the 1e-4 and 0.02 of Ho et al. at 1000 steps, and end equally close to pure noise at any other
        number.

        Args:
            steps: Number of steps N.
            beta_start: Variance beta_1 of the first step, as in DDPM and diffusers; by default 0.1/steps.
            beta_end: Variance beta_N of the last step; by default 20/steps.
            **renamed: None; catches the names beta_min and beta_max, which are rates per unit of time.

        Returns:
            The chain.

        Raises:
            DomainError: steps < 1, a variance outside (0, 1), such as a rate N beta_k, or another name.
        """
        first, last = _ends(steps, beta_start, beta_end, (0.1, 20.0), renamed)
        return DiscreteChain(betas=tuple(_evenly(first, last, steps)))

    @staticmethod
    def scaled_linear(
        steps: int, *, beta_start: float | None = None, beta_end: float | None = None, **renamed: Refused
    ) -> DiscreteChain:
        """Return the chain whose sqrt(beta_k) runs evenly from sqrt(beta_start) to sqrt(beta_end) (DIS-3).

        Args:
            steps: Number of steps N.
            beta_start: Variance beta_1 of the first step; by default 0.85/steps, 8.5e-4 at 1000 steps.
            beta_end: Variance beta_N of the last step; by default 12/steps, 0.012 at 1000 steps.
            **renamed: None; as in `linear`.

        Returns:
            The chain.

        Raises:
            DomainError: As in `linear`.
        """
        first, last = _ends(steps, beta_start, beta_end, (0.85, 12.0), renamed)
        return DiscreteChain(betas=tuple(root * root for root in _evenly(sqrt(first), sqrt(last), steps)))

    @staticmethod
    def cosine(steps: int, *, s: float = 0.008, cap: float = 0.999) -> DiscreteChain:
        """Return the cosine schedule's chain with its betas capped (DIS-3); Nichol & Dhariwal 2021.

        Args:
            steps: Number of steps N.
            s: Offset of the schedule, in units of time.
            cap: The largest beta_k.

        Returns:
            The chain.

        Raises:
            DomainError: steps < 1, s < 0, or a beta_k outside (0, 1).
        """
        return DiscreteChain.sampled(CosineSchedule(s=s), steps, cap=cap)

    @staticmethod
    def sampled(schedule: Schedule, steps: int, *, cap: float = 1.0) -> DiscreteChain:
        """Return the chain that equals a schedule at every k/N, beta_k = 1 - alpha_bar(k/N)/alpha_bar((k-1)/N) (DIS-3).

        Args:
            schedule: Schedule in continuous time.
            steps: Number of steps N.
            cap: The largest beta_k; where it applies, the chain differs from the schedule. Needed if alpha(1) = 0.

        Returns:
            The chain.

        Raises:
            DomainError: steps < 1, or a beta_k outside (0, 1).
        """
        ends = torch.arange(_counted(steps) + 1, dtype=torch.float64) / steps
        betas = -expm1(schedule.log_decay(t=ends[1:], s=ends[:-1]))
        return DiscreteChain(betas=tuple(betas.clamp(max=cap).tolist()))

    def with_zero_terminal_snr(self) -> DiscreteChain:
        """Return the chain rescaled to end in pure noise, beta_N = 1 (DIS-6); Lin et al. 2024.

            sqrt(alpha_bar_k)  ->  sqrt(alpha_bar_1) (sqrt(alpha_bar_k) - sqrt(alpha_bar_N))
                                   / (sqrt(alpha_bar_1) - sqrt(alpha_bar_N))

        Its first beta is unchanged. At k = N it has no signal, so neither eps nor the score can be predicted there.

        Returns:
            The chain.

        Raises:
            DomainError: The chain has fewer than 2 steps.
        """
        steps = len(self.betas)
        if steps < 2:
            raise DomainError("DIS-6", "at least 2 steps to rescale", steps)
        beta = torch.tensor(self.betas, dtype=torch.float64)
        before = torch.arange(steps)
        # 1 - r for the ratio r of neighbouring differences sqrt(alpha_bar_k) - sqrt(alpha_bar_N): no cancellation.
        left = -expm1(0.5 * self.log_decay(t=torch.full_like(before, steps), s=before))
        falls = beta / (1.0 + torch.sqrt(1.0 - beta)) / left
        rescaled = (falls * (2.0 - falls)).tolist()
        return DiscreteChain(betas=(self.betas[0], *rescaled[1:-1], 1.0), ends_in_noise=True)

    def log_alpha_bar(self, k: Times) -> Values:
        """Return log alpha_bar_k, k int64 in 0..N, any shape (DIS-1). Raises DomainError outside."""
        steps = len(self.betas)
        looked_up = self._log_alpha_bar.to(k.device)[self._index(k)]
        return within("DIS-1", f"k in 0..{steps}", looked_up, (k >= 0) & (k <= steps), got=k)

    def log_decay(self, *, t: Times, s: Times) -> Values:
        """Return log(alpha_bar_t / alpha_bar_s) for indices s <= t (DIS-1).

        The difference of two entries of log_alpha_bar would cancel. Instead, s and t lie on either side of the middle
        of the smallest aligned block that holds both, and the sums from each to the middle add without cancellation:
        the relative error is at most 4 u, of which log1p has 2 u.

        Args:
            t: Later indices, any shape.
            s: Earlier indices, s <= t, shaped as t.

        Returns:
            Logarithms, float64, shaped as t.

        Raises:
            DomainError: An index is outside 0..N, s > t, or shapes differ.
        """
        if s.shape != t.shape:
            raise DomainError("MAR-6", "s and t of one shape", f"s {tuple(s.shape)}, t {tuple(t.shape)}")
        ends = self.log_alpha_bar(s) - self.log_alpha_bar(t)
        first, last = self._index(s), self._index(t)
        # The highest bit in which s and t differ gives the size of the block.
        level = (torch.frexp((first ^ last).double()).exponent - 1).clamp(min=0).long()
        table = self._to_middle.to(t.device)
        between = torch.where(first == last, 0.0, table[level, first] + table[level, last])
        # For s = 0, log_alpha_bar is rounded once; outside the domain it is NaN where no error can be raised.
        outside = self.log_alpha_bar(s).isnan() | self.log_alpha_bar(t).isnan()
        decay = -torch.where((first == 0) | outside, ends, between)
        return within("MAR-6", "t >= s", decay, t >= s, got=t)

    def alpha_bar(self, k: Times) -> Values:
        """Return alpha_bar_k, any shape (DIS-1)."""
        return torch.exp(self.log_alpha_bar(k))

    def alpha(self, k: Times) -> Values:
        """Return the signal scale sqrt(alpha_bar_k), any shape (MAR-1)."""
        return torch.exp(0.5 * self.log_alpha_bar(k))

    def sigma(self, k: Times) -> Values:
        """Return the noise standard deviation sqrt(1 - alpha_bar_k), any shape (MAR-2)."""
        return torch.sqrt(-expm1(self.log_alpha_bar(k)))

    def log_snr(self, k: Times) -> Values:
        """Return log(alpha_k^2 / sigma_k^2), any shape; +inf at k = 0 (SCH-7)."""
        log_alpha_bar = self.log_alpha_bar(k)
        return log_alpha_bar - log1mexp(log_alpha_bar)

    def _index(self, k: Times) -> Tensor:
        """Return k as int64, clamped to the table."""
        if k.is_floating_point() or k.is_complex() or k.dtype == torch.bool:
            raise DomainError("DIS-1", "an integer index k (a real time belongs to a schedule)", k.dtype)
        return k.clamp(0, len(self.betas)).long()


_FINEST = 1 << 1074
"""Every finite float64 is an integer multiple of 1/_FINEST."""
_INFINITE = _FINEST << 1024
"""Stands for -log(1 - beta) of beta = 1: above half of it, a sum is infinite."""


def _whole(value: float) -> int:
    """Return value times _FINEST, exactly."""
    numerator, denominator = value.as_integer_ratio()
    return numerator * (_FINEST // denominator)


def _rounded(total: int) -> float:
    """Return a sum of values times _FINEST as float64."""
    return inf if total > _INFINITE >> 1 else total / _FINEST


def _sums_to_middle(sums: Sequence[int]) -> Tensor:
    """Return a sparse table of sums over parts of aligned blocks, (levels, N + 1), float64.

    sums: sums over the first k steps, k = 0..N, times _FINEST. Entry (level, k) is the sum over the steps between k
    and the middle of its block; two of them, on either side of a middle, give the sum between any two indices.
    """
    last = len(sums) - 1
    rows = []
    for level in range(last.bit_length()):
        middles = (min(_middle_of_block(k, level), last) for k in range(last + 1))
        rows.append([_rounded(abs(sums[middle] - sums[k])) for k, middle in enumerate(middles)])
    return torch.tensor(rows, dtype=torch.float64)


def _middle_of_block(k: int, level: int) -> int:
    """Return the middle of the aligned block of 2^(level + 1) indices that holds k."""
    size = 1 << (level + 1)
    return k // size * size + size // 2


def _counted(steps: int) -> int:
    if steps < 1:
        raise DomainError("DIS-3", "N >= 1", steps)
    return steps


def _ends(
    steps: int, first: float | None, last: float | None, rates: tuple[float, float], renamed: Mapping[str, object]
) -> tuple[float, float]:
    """Return beta_1 and beta_N, by default rates/N. Raises DomainError unless both are variances of a step."""
    if renamed:
        need = "beta_start and beta_end, variances per step (a rate per unit of time over N)"
        raise DomainError("DIS-3", need, ", ".join(renamed))
    ends = (rates[0] / _counted(steps) if first is None else first, rates[1] / steps if last is None else last)
    if not all(0.0 < beta < 1.0 for beta in ends):
        need = "beta_start and beta_end in (0, 1), variances per step (a rate per unit of time over N)"
        raise DomainError("DIS-3", need, f"{ends[0]} and {ends[1]} at N = {steps}")
    return ends


def _evenly(first: float, last: float, steps: int) -> list[float]:
    """Return `steps` numbers from first to last, both included; of one step, the first."""
    gaps = max(_counted(steps) - 1, 1)
    return [(first * (gaps - i) + last * i) / gaps for i in range(steps)]
