"""Samplers of training times: positions in [0, 1) mapped to times of a schedule or indices of a chain (chapter 6).

    t = t_min + (t_max - t_min) u      `Continuous`, in [t_min, t_max)
    k = 1 + floor(N u)                 `Discrete`, in 1..N

    times = Continuous(sampler=Stratified(), t_min=1e-3)
    t, weight = times(len(x_0), generator=generator)
    loss = (weight * objective(denoiser, x_0, eps, t)).mean()

The weights keep the mean unbiased; `refdiff.positions` draws both. Nothing here depends on the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import torch
from torch import Generator, Tensor

from refdiff.errors import DomainError
from refdiff.positions import PositionSampler, UniformPositions, cell_of
from refdiff.tensors import Batch, Time, Times, Values, within


@runtime_checkable
class TimeSampler(Protocol):
    """Draws training times with weights that keep means unbiased (TIM-1, TIM-2).

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.Discrete(steps=1000), refdiff.TimeSampler)
        True
    """

    @property
    def sampler(self) -> PositionSampler:
        """Draws the positions."""

    @property
    def last(self) -> Tensor:
        """The largest time that is drawn, ()."""

    def __call__(self, n: int, /, *, generator: Generator | None = None) -> tuple[Time, Batch]:
        """Return n times and n weights, (n,).

        Args:
            n: Number of draws, at least 1.
            generator: Draws them; by default torch's own, on the CPU.
        """

    def at(self, position: Values, /) -> Times:
        """Return the times of positions in [0, 1), any shape."""

    def position(self, t: Time, /) -> Batch:
        """Return the positions of times, float64."""

    def falling(self, n: int, /, *, to_zero: bool = True) -> list[float] | list[int]:
        """Return decreasing times of n sampling steps, from the end of the range to 0 or to its start."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Continuous:
    """Times t in [t_min, t_max), of a float dtype, for a schedule (TIM-1).

        t = t_min + (t_max - t_min) u,    u a position in [0, 1)

    Example:
        >>> import refdiff
        >>> times = refdiff.Continuous(sampler=refdiff.Stratified(), t_min=0.5)
        >>> t, weight = times(2)
        >>> ((t - 0.5) * 4).floor().sort().values, weight
        (tensor([0., 1.]), tensor([1., 1.]))
    """

    sampler: PositionSampler = field(default_factory=UniformPositions)
    t_min: float = 0.0
    """Smallest time. At 0 the score of q(x_t | x_0) is unbounded, and 1/sigma^2 has no mean (erratum E3)."""
    t_max: float = 1.0
    """End of the range, excluded."""
    dtype: torch.dtype = torch.float32
    device: torch.device | None = None
    """Device of times and weights; by default that of the generator, or the CPU."""
    _ends: tuple[float, float] = field(init=False, repr=False)
    """First and last number of the dtype in [t_min, t_max); times are clamped to them after rounding."""

    def __post_init__(self) -> None:
        """Raise DomainError for a range that is empty or not within [0, 1]."""
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise DomainError("TIM-1", "0 <= t_min < t_max <= 1", (self.t_min, self.t_max))
        low, high = (torch.tensor(x, dtype=torch.float64).to(self.dtype) for x in (self.t_min, self.t_max))
        first = low if low.item() >= self.t_min else torch.nextafter(low, torch.ones_like(low))
        last = high if high.item() < self.t_max else torch.nextafter(high, torch.zeros_like(high))
        if not first <= last:
            raise DomainError("TIM-1", f"a number of {self.dtype} in [t_min, t_max)", (self.t_min, self.t_max))
        object.__setattr__(self, "_ends", (first.item(), last.item()))

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Time, Batch]:
        """Return n times and n weights.

        Args:
            n: Number of draws.
            generator: Draws them; by default torch's own, on the CPU.

        Returns:
            Times, (n,), of the dtype; weights, (n,), float32 or wider.

        Raises:
            DomainError: n < 1.
        """
        position, weight = (x.to(device=self.device) for x in self.sampler(_counted(n), generator=generator))
        return self._at(position), weight.to(torch.promote_types(self.dtype, torch.float32))

    @property
    def last(self) -> Tensor:
        """The largest number of the dtype below t_max, ()."""
        return torch.tensor(self._ends[1], dtype=self.dtype, device=self.device)

    def at(self, position: Values) -> Times:
        """Return the times of positions.

        Args:
            position: Positions in [0, 1), any shape.

        Returns:
            Times in [t_min, t_max), of the dtype, shaped as position.

        Raises:
            DomainError: A position is outside [0, 1).
        """
        return self._at(_checked(position))

    def _at(self, position: Tensor) -> Tensor:
        return (self.t_min + (self.t_max - self.t_min) * position).to(self.dtype).clamp(*self._ends)

    def falling(self, n: int, *, to_zero: bool = True) -> list[float]:
        """Return the times of n sampling steps, evenly spaced from t_max to t_min.

        Args:
            n: Number of steps.
            to_zero: Whether the last time, t_min, is moved to 0.

        Returns:
            n + 1 decreasing times.

        Raises:
            DomainError: n < 1.
        """
        step = (self.t_max - self.t_min) / _counted(n)
        return [*(self.t_max - step * i for i in range(n)), 0.0 if to_zero else self.t_min]

    def position(self, t: Time) -> Batch:
        """Return the positions of times, for `SecondMoment.update`.

        Args:
            t: Times in [t_min, t_max), (n,).

        Returns:
            Positions in [0, 1), (n,), float64.

        Raises:
            DomainError: A time is outside the range.
        """
        exact = t.double()
        position = ((exact - self.t_min) / (self.t_max - self.t_min)).clamp(0.0, 1.0 - 2.0**-53)
        inside = (exact >= self.t_min) & (exact < self.t_max)
        return within("TIM-1", f"t in [{self.t_min}, {self.t_max})", position, inside, got=t)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Discrete:
    """Indices k in 1..N, int64, for a chain (TIM-1).

        k = 1 + floor(N u),    u a position in [0, 1)

    Example:
        >>> import refdiff
        >>> k, weight = refdiff.Discrete(steps=4, sampler=refdiff.Stratified())(4)
        >>> k.sort().values, weight
        (tensor([1, 2, 3, 4]), tensor([1., 1., 1., 1.]))
    """

    steps: int
    """Number of steps N of the chain."""
    sampler: PositionSampler = field(default_factory=UniformPositions)
    device: torch.device | None = None
    """Device of indices and weights; by default that of the generator, or the CPU."""

    def __post_init__(self) -> None:
        """Raise DomainError for steps < 1."""
        if self.steps < 1:
            raise DomainError("TIM-1", "N >= 1", self.steps)

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Time, Batch]:
        """Return n indices and n weights.

        Args:
            n: Number of draws.
            generator: Draws them; by default torch's own, on the CPU.

        Returns:
            Indices, (n,), int64; weights, (n,), float32.

        Raises:
            DomainError: n < 1.
        """
        position, weight = (x.to(device=self.device) for x in self.sampler(_counted(n), generator=generator))
        return self._at(position), weight.float()

    @property
    def last(self) -> Tensor:
        """N, ()."""
        return torch.tensor(self.steps, device=self.device)

    def at(self, position: Values) -> Times:
        """Return the indices of positions.

        Args:
            position: Positions in [0, 1), any shape.

        Returns:
            Indices 1..N, int64, shaped as position.

        Raises:
            DomainError: A position is outside [0, 1).
        """
        return self._at(_checked(position)).clamp(1, self.steps)

    def _at(self, position: Tensor) -> Tensor:
        return cell_of(position, self.steps) + 1

    def falling(self, n: int, *, to_zero: bool = True) -> list[int]:
        """Return the indices of n sampling steps, evenly spaced from N to 0 up to rounding.

        Args:
            n: Number of steps.
            to_zero: Whether the last index is 0; otherwise it is 1.

        Returns:
            n + 1 distinct decreasing indices, or all of them where there are fewer.

        Raises:
            DomainError: n < 1.
        """
        indices = {-(-self.steps * i // n) for i in range(1, _counted(n) + 1)}
        return sorted({*indices, 0 if to_zero else 1}, reverse=True)

    def position(self, k: Time) -> Batch:
        """Return the middle of the cell of each index, for `SecondMoment.update`.

        Args:
            k: Indices 1..N, (n,).

        Returns:
            Positions in [0, 1), (n,), float64.

        Raises:
            DomainError: An index is outside 1..N.
        """
        inside = (k >= 1) & (k <= self.steps)
        return within("TIM-1", f"k in 1..{self.steps}", (k.double() - 0.5) / self.steps, inside, got=k)


def _counted(n: int) -> int:
    if n < 1:
        raise DomainError("TIM-1", "n >= 1 times", n)
    return n


def _checked(position: Tensor) -> Tensor:
    exact = position.double()
    return within("TIM-1", "a position in [0, 1)", exact, (exact >= 0.0) & (exact < 1.0))
