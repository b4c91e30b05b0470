"""Which times to train at, and the weight that keeps every choice unbiased (spec chapter 6).

A sampler draws positions u in [0, 1) and weights w with E[w f(u)] = integral of f over [0, 1) for every f. What the
positions are is said by the shell around it: `Continuous` takes them to [t_min, t_max), `Discrete` to k in 1..N.

    times = Continuous(Stratified(), t_min=1e-3)
    t, weight = times(len(x_0), generator=generator)
    loss = (weight * objective(denoiser, x_0, eps, t)).mean()

Nothing here knows of diffusion. Draws are float64 and made by the generator given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Generator, Tensor

from refdiff.errors import ConfigError, DomainError
from refdiff.tensors import Batch, Time


@runtime_checkable
class Sampler(Protocol):
    """Draws positions in [0, 1), float64, with weights that keep means unbiased (TIM-2)."""

    def __call__(self, n: int, /, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions and n weights, in an order that says nothing of them (TIM-4)."""


@final
@dataclass(frozen=True, slots=True)
class Uniform:
    """Independent uniform draws, weight 1."""

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and ones."""
        return _uniform(n, generator), _ones(n, generator)


@final
@dataclass(frozen=True, slots=True)
class Stratified:
    """One draw in each of n equal strata, in random order, weight 1 (TIM-3): lower variance, same mean."""

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, one in each [i/n, (i + 1)/n), and ones."""
        device = _device(generator)
        strata = torch.randperm(n, generator=generator, device=device, dtype=torch.float64)
        # The quotient may round up to the next stratum, and in the last one to 1.
        ceiling = _below((strata + 1.0) / n)
        return torch.minimum((strata + _uniform(n, generator)) / n, ceiling), _ones(n, generator)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Importance:
    """Draws by a positive density that is constant on equal cells, weight 1/density (TIM-5)."""

    masses: Tensor
    """Probability of each cell, (cells,); any positive numbers, which are divided by their sum."""
    base: Sampler = field(default_factory=Uniform)
    """What the inverse distribution function is put to: `Stratified()` for strata of equal probability."""

    def __post_init__(self) -> None:
        """Refuse masses that are none, infinite, or not positive: what is never drawn has no weight."""
        masses = self.masses.detach().double()
        if masses.ndim != 1 or len(masses) == 0:
            raise DomainError("TIM-5", "masses of shape (cells,), one at least", tuple(masses.shape))
        if not bool(((masses > 0.0) & torch.isfinite(masses)).all()):
            raise DomainError("TIM-5", "masses in (0, inf)", masses.min().item())
        object.__setattr__(self, "masses", masses / masses.sum())

    @staticmethod
    def of(density: Callable[[Tensor], Tensor], cells: int = 1024, base: Sampler | None = None) -> Importance:
        """Return the sampler of a density on [0, 1), taken at the middle of each cell.

        The weights are those of the density that is drawn from, constant on cells, and so exact for any number of them.
        """
        return Importance(density((torch.arange(cells, dtype=torch.float64) + 0.5) / cells), base or Uniform())

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and n weights (1/cells)/mass."""
        level, outer = self.base(n, generator=generator)
        masses = self.masses.to(level.device)
        ends = masses.cumsum(0)
        cell = torch.searchsorted(ends, level * ends[-1], right=True).clamp(max=len(masses) - 1)
        inside = (level * ends[-1] - (ends - masses)[cell]) / masses[cell]
        position = (cell + inside.clamp(0.0, 1.0)) / len(masses)
        position = torch.minimum(position, _below((cell + 1.0) / len(masses)))
        return position, outer / (len(masses) * masses[cell])


@final
@dataclass(slots=True, eq=False)
class SecondMoment:
    """Draws each of `cells` cells in proportion to the root mean square of its last losses (TIM-6).

    Nichol & Dhariwal 2021, section 3.3. Uniform until every cell has `history` losses. `update` is told
    the positions drawn and their unweighted losses; `state_dict` holds all that decides the next draw.
    """

    cells: int
    """Equal cells of [0, 1); for a chain, its N steps."""
    history: int = 10
    """How many of its last losses a cell remembers."""
    uniform: float = 0.001
    """Share of draws that stay uniform, so that every weight is at most its inverse."""
    _losses: Tensor = field(init=False, repr=False)
    _counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and a share outside (0, 1]."""
        if self.cells < 1 or self.history < 1:
            raise DomainError("TIM-6", "cells >= 1 and history >= 1", (self.cells, self.history))
        if not 0.0 < self.uniform <= 1.0:
            raise DomainError("TIM-6", "a uniform share in (0, 1]", self.uniform)
        self._losses = torch.zeros(self.cells, self.history, dtype=torch.float64)
        self._counts = torch.zeros(self.cells, dtype=torch.int64)

    @property
    def masses(self) -> Tensor:
        """The probability of each cell, (cells,)."""
        even = torch.full((self.cells,), 1.0 / self.cells, dtype=torch.float64)
        root = self._losses.square().mean(1).sqrt()
        if bool((self._counts < self.history).any()) or not float(root.sum()) > 0.0:
            return even
        return (1.0 - self.uniform) * root / root.sum() + self.uniform * even

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and n weights (1/cells)/mass."""
        return Importance(self.masses)(n, generator=generator)

    def update(self, positions: Tensor, losses: Tensor) -> None:
        """Remember the unweighted losses, (n,), of positions in [0, 1), (n,). Raises DomainError on others."""
        positions, losses = positions.detach().double().cpu(), losses.detach().double().cpu()
        if positions.ndim != 1 or positions.shape != losses.shape:
            got = f"{tuple(positions.shape)} and {tuple(losses.shape)}"
            raise DomainError("TIM-6", "positions and losses of one shape (n,)", got)
        if not bool(((positions >= 0.0) & (positions < 1.0)).all()):
            raise DomainError("TIM-6", "positions in [0, 1)", positions.tolist())
        if not bool((torch.isfinite(losses) & (losses >= 0.0)).all()):
            raise DomainError("TIM-6", "losses in [0, inf)", losses.tolist())
        cell, order = torch.sort((positions * self.cells).long(), stable=True)
        _, run, sizes = torch.unique_consecutive(cell, return_inverse=True, return_counts=True)
        rank = torch.arange(len(cell)) - (sizes.cumsum(0) - sizes)[run]
        # Of a cell met more often than it remembers, the last losses stay: no place is written twice.
        kept = rank >= sizes[run] - self.history
        place = (self._counts[cell] + rank) % self.history
        self._losses[cell[kept], place[kept]] = losses[order][kept]
        self._counts += torch.bincount(cell, minlength=self.cells)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that decides the next draw."""
        return {"losses": self._losses.clone(), "counts": self._counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state of the same sizes. Raises ConfigError on any other, and changes nothing."""
        own = self.state_dict()
        shapes = {name: tuple(getattr(state.get(name), "shape", ())) for name in own}
        if set(state) != set(own) or shapes != {name: tuple(value.shape) for name, value in own.items()}:
            raise ConfigError(f"TIM-6 wants a state of {self.cells} cells with {self.history} losses, got {shapes}")
        self._losses, self._counts = (state[name].to(own[name]).clone() for name in own)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Continuous:
    """Times t in [t_min, t_max), of a float dtype (TIM-1)."""

    sampler: Sampler = field(default_factory=Uniform)
    t_min: float = 0.0
    """The first time. At 0 the score of q(x_t | x_0) has no bound, and 1/sigma^2 no mean (erratum E3)."""
    t_max: float = 1.0
    """The time before which all lie."""
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        """Refuse a range that is empty, or leaves [0, 1]."""
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise DomainError("TIM-1", "0 <= t_min < t_max <= 1", (self.t_min, self.t_max))
        if not self._ends()[0] <= self._ends()[1]:
            raise DomainError("TIM-1", f"a number of {self.dtype} in [t_min, t_max)", (self.t_min, self.t_max))

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Time, Batch]:
        """Return n times, and n weights, float32 or wider. Raises DomainError for n < 1."""
        position, weight = self.sampler(_counted(n), generator=generator)
        t = (self.t_min + (self.t_max - self.t_min) * position).to(self.dtype)
        first, last = self._ends()
        return t.clamp(first, last), weight.to(torch.promote_types(self.dtype, torch.float32))

    def _ends(self) -> tuple[float, float]:
        """Return the first and the last number of the dtype in [t_min, t_max): rounding may leave it."""
        low, high = (torch.tensor(x, dtype=torch.float64).to(self.dtype) for x in (self.t_min, self.t_max))
        first = low if low.item() >= self.t_min else torch.nextafter(low, torch.ones_like(low))
        last = high if high.item() < self.t_max else _below(high)
        return first.item(), last.item()

    def position(self, t: Time) -> Batch:
        """Return where t lies in [0, 1), float64: what `SecondMoment.update` wants."""
        position = (t.double() - self.t_min) / (self.t_max - self.t_min)
        return position.clamp(0.0, 1.0 - 2.0**-53)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Discrete:
    """Indices k in 1..N, int64 (TIM-1): k = 1 + floor(N u)."""

    steps: int
    """N."""
    sampler: Sampler = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        """Refuse an empty chain."""
        if self.steps < 1:
            raise DomainError("TIM-1", "N >= 1", self.steps)

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Time, Batch]:
        """Return n indices, and n weights, float32. Raises DomainError for n < 1."""
        position, weight = self.sampler(_counted(n), generator=generator)
        # N u may round up to N for u just below 1.
        return (position * self.steps).long().clamp(max=self.steps - 1) + 1, weight.float()

    def position(self, k: Time) -> Batch:
        """Return the middle of the cell of k in [0, 1), float64."""
        return (k.double() - 0.5) / self.steps


def _counted(n: int) -> int:
    if n < 1:
        raise DomainError("TIM-1", "n >= 1 times", n)
    return n


def _device(generator: Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _uniform(n: int, generator: Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, device=_device(generator), dtype=torch.float64)


def _ones(n: int, generator: Generator | None) -> Tensor:
    return torch.ones(n, device=_device(generator), dtype=torch.float64)


def _below(value: Tensor) -> Tensor:
    """Return the largest number below each value > 0."""
    return torch.nextafter(value, torch.zeros_like(value))
