"""Samplers of positions u in [0, 1), with weights w such that E[w f(u)] is the integral of f (spec chapter 6).

    UniformPositions()         independent, weight 1
    Stratified()               one in each [i/n, (i + 1)/n), weight 1
    Importance(masses)         from a density that is constant on cells, weight 1/density
    SecondMoment(cells)        in proportion to the root mean square of the last losses of a cell

`refdiff.times` maps positions to times of a schedule or indices of a chain. Draws are float64, from the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Generator, Tensor

from refdiff.errors import ConfigError, DomainError
from refdiff.numerics import veltkamp_split
from refdiff.tensors import Batch

_TINY = float(torch.finfo(torch.float64).tiny)


@runtime_checkable
class PositionSampler(Protocol):
    """Draws positions in [0, 1), float64, with weights that keep means unbiased (TIM-2).

    Example:
        >>> import refdiff
        >>> isinstance(refdiff.Stratified(), refdiff.PositionSampler)
        True
    """

    def __call__(self, n: int, /, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions and n weights, in random order (TIM-4).

        Args:
            n: Number of draws.
            generator: Draws them; by default torch's own, on the CPU.

        Returns:
            Positions and weights, (n,), float64, on the device of the generator.
        """


@final
@dataclass(frozen=True, slots=True)
class UniformPositions:
    """Independent uniform draws, weight 1.

    Example:
        >>> import refdiff
        >>> position, weight = refdiff.UniformPositions()(1000)
        >>> bool(((position >= 0.0) & (position < 1.0)).all()), weight.mean().item()
        (True, 1.0)
    """

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and ones."""
        return _uniform(n, generator), _ones(n, generator)


@final
@dataclass(frozen=True, slots=True)
class Stratified:
    """One draw in each of n equal strata, in random order, weight 1 (TIM-3): lower variance, same mean.

    Example:
        >>> import refdiff
        >>> position, weight = refdiff.Stratified()(4)
        >>> (4 * position).floor().sort().values
        tensor([0., 1., 2., 3.], dtype=torch.float64)
    """

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, one in each [i/n, (i + 1)/n), and ones."""
        strata = torch.randperm(n, generator=generator, device=_device(generator), dtype=torch.float64)
        return _in_cell(strata, _uniform(n, generator), n), _ones(n, generator)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Importance:
    """Draws from a positive density that is constant on equal cells, weight 1/density (TIM-5).

        P(cell i) = mass_i,    weight = (1/cells)/mass_i

    Example:
        >>> import refdiff, torch
        >>> sampler = refdiff.Importance(torch.tensor([1.0, 3.0]), base=refdiff.Stratified())
        >>> position, weight = sampler(4)
        >>> position.sort().values >= 0.5, weight.sort().values
        (tensor([False,  True,  True,  True]), tensor([0.6667, 0.6667, 0.6667, 2.0000], dtype=torch.float64))
    """

    masses: Tensor
    """Probability of each cell, (cells,); any positive numbers, which are divided by their sum."""
    base: PositionSampler = field(default_factory=UniformPositions)
    """Sampler of the uniform numbers that are mapped to the density; `Stratified()` gives strata of equal mass."""

    def __post_init__(self) -> None:
        """Raise DomainError unless there are masses, all positive and finite: a cell of mass 0 has no weight."""
        masses = self.masses.detach().double()
        if masses.ndim != 1 or len(masses) == 0:
            raise DomainError("TIM-5", "masses of shape (cells,), at least one", tuple(masses.shape))
        if not bool((inside := (masses > 0.0) & torch.isfinite(masses)).all()):
            raise DomainError("TIM-5", "masses in (0, inf)", masses[~inside][0].item())
        # The sum of masses of 1e308 is infinite; the sum of masses divided by the largest is finite.
        shares = masses / masses.max()
        shares = shares / shares.sum()
        if not bool((shares >= _TINY).all()):
            raise DomainError("TIM-5", f"relative masses of at least {_TINY:.1e}", shares.min().item())
        object.__setattr__(self, "masses", shares)

    @staticmethod
    def of(density: Callable[[Tensor], Tensor], cells: int = 1024, base: PositionSampler | None = None) -> Importance:
        """Return the sampler of a density on [0, 1), evaluated at the middle of each cell.

        The weights belong to the piecewise constant density, and are therefore exact for any number of cells.

        Args:
            density: Maps midpoints, (cells,), to positive numbers of that shape.
            cells: Number of equal cells.
            base: Sampler of the uniform numbers that are mapped to the density; by default independent ones.

        Returns:
            The sampler.

        Raises:
            DomainError: cells < 1, another shape, or a value that is not positive and finite.
        """
        if cells < 1:
            raise DomainError("TIM-5", "cells >= 1", cells)
        masses: object = density((torch.arange(cells, dtype=torch.float64) + 0.5) / cells)
        if not isinstance(masses, Tensor) or masses.shape != (cells,):
            got = f"shape {tuple(masses.shape)}" if isinstance(masses, Tensor) else type(masses).__name__
            raise DomainError("TIM-5", f"a density that returns values of shape ({cells},)", got)
        return Importance(masses, base or UniformPositions())

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and n weights (1/cells)/mass."""
        level, outer = self.base(n, generator=generator)
        masses = self.masses.to(level.device)
        ends = masses.cumsum(0)
        cell = torch.searchsorted(ends, level * ends[-1], right=True).clamp(max=len(masses) - 1)
        inside = (level * ends[-1] - (ends - masses)[cell]) / masses[cell]
        position = _in_cell(cell.double(), inside.clamp(0.0, 1.0), len(masses))
        return position, outer / (len(masses) * masses[cell])


@final
@dataclass(slots=True, eq=False)
class SecondMoment:
    """Draws each of `cells` cells in proportion to the root mean square of its last losses (TIM-6).

        P(cell i) = (1 - uniform) sqrt(m_i)/sum_j sqrt(m_j) + uniform/cells,    m_i the mean square of its last losses

    Nichol & Dhariwal 2021, section 3.3. Uniform until every cell has `history` losses. `update` takes the positions
    drawn and their unweighted losses; `state_dict` holds everything that determines the next draw.

    Example:
        >>> import refdiff, torch
        >>> sampler = refdiff.SecondMoment(cells=2, history=1, uniform=0.1)
        >>> sampler.update(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 3.0]))
        >>> sampler.masses  # 0.9 (1/4, 3/4) + 0.1 (1/2, 1/2)
        tensor([0.2750, 0.7250], dtype=torch.float64)
    """

    cells: int
    """Number of equal cells of [0, 1); for a chain, N."""
    history: int = 10
    """Number of last losses stored per cell."""
    uniform: float = 0.001
    """Fraction of draws that stay uniform, which bounds every weight by 1/uniform."""
    _losses: Tensor = field(init=False, repr=False)
    _counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise DomainError for sizes below 1 and a uniform fraction outside (0, 1]."""
        if self.cells < 1 or self.history < 1:
            raise DomainError("TIM-6", "cells >= 1 and history >= 1", (self.cells, self.history))
        if not 0.0 < self.uniform <= 1.0:
            raise DomainError("TIM-6", "a uniform fraction in (0, 1]", self.uniform)
        self._losses = torch.zeros(self.cells, self.history, dtype=torch.float64)
        self._counts = torch.zeros(self.cells, dtype=torch.int64)

    @property
    def masses(self) -> Tensor:
        """The probability of each cell, (cells,)."""
        even = torch.full((self.cells,), 1.0 / self.cells, dtype=torch.float64)
        largest = self._losses.max()
        if bool((self._counts < self.history).any()) or not float(largest) > 0.0:
            return even
        # The square of 1e200 overflows and that of 1e-200 underflows; losses divided by the largest do neither.
        root = (self._losses / largest).square().mean(1).sqrt()
        return (1.0 - self.uniform) * root / root.sum() + self.uniform * even

    def __call__(self, n: int, *, generator: Generator | None = None) -> tuple[Batch, Batch]:
        """Return n positions, and n weights (1/cells)/mass."""
        return Importance(self.masses)(n, generator=generator)

    def update(self, positions: Tensor, losses: Tensor) -> None:
        """Store the losses of a batch.

        Args:
            positions: Positions in [0, 1), (n,).
            losses: Their unweighted losses, (n,), finite and at least 0.

        Raises:
            DomainError: Shapes differ, or a value is outside its range.
        """
        positions, losses = positions.detach().double().cpu(), losses.detach().double().cpu()
        if positions.ndim != 1 or positions.shape != losses.shape:
            got = f"{tuple(positions.shape)} and {tuple(losses.shape)}"
            raise DomainError("TIM-6", "positions and losses of one shape (n,)", got)
        if not bool(((positions >= 0.0) & (positions < 1.0)).all()):
            raise DomainError("TIM-6", "positions in [0, 1)", positions.tolist())
        if not bool((torch.isfinite(losses) & (losses >= 0.0)).all()):
            raise DomainError("TIM-6", "losses in [0, inf)", losses.tolist())
        cell, order = torch.sort(cell_of(positions, self.cells), stable=True)
        _, run, sizes = torch.unique_consecutive(cell, return_inverse=True, return_counts=True)
        rank = torch.arange(len(cell)) - (sizes.cumsum(0) - sizes)[run]
        # If a cell has more losses than `history`, only the last are kept, so that no place is written twice.
        kept = rank >= sizes[run] - self.history
        place = (self._counts[cell] + rank) % self.history
        self._losses[cell[kept], place[kept]] = losses[order][kept]
        self._counts += torch.bincount(cell, minlength=self.cells)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that determines the next draw."""
        return {"losses": self._losses.clone(), "counts": self._counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state of the same sizes and dtypes. Raises ConfigError on any other, and then changes nothing."""
        own, got = _forms(self.state_dict()), _forms(state)
        if got != own:
            want = f"{self.cells} cells with {self.history} losses, {own}"
            raise ConfigError(f"expected a state of {want}, got {got} (TIM-6)")
        losses, counts = state["losses"].detach().cpu(), state["counts"].cpu()
        if not bool((torch.isfinite(losses) & (losses >= 0.0)).all()):
            raise ConfigError(f"expected a state whose losses are in [0, inf), got {losses.tolist()} (TIM-6)")
        if not bool((counts >= 0).all()):
            raise ConfigError(f"expected a state whose counts are 0 or more, got {counts.tolist()} (TIM-6)")
        self._losses, self._counts = losses.clone(), counts.clone()


def _device(generator: Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _uniform(n: int, generator: Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, device=_device(generator), dtype=torch.float64)


def _ones(n: int, generator: Generator | None) -> Tensor:
    return torch.ones(n, device=_device(generator), dtype=torch.float64)


def _below(value: Tensor) -> Tensor:
    """Return the largest number below each value > 0."""
    return torch.nextafter(value, torch.zeros_like(value))


def _in_cell(cell: Tensor, inside: Tensor, cells: int) -> Tensor:
    """Return (cell + inside)/cells, inside in [0, 1], clamped to [cell/cells, (cell + 1)/cells) (TIM-3). Float64."""
    # Rounding may leave the cell on either side: float 1/3 is below 1/3, and for `inside` near 1 the sum rounds up.
    first, end = _edge(torch.stack([cell, cell + 1.0]), cells)
    return torch.minimum(torch.maximum((cell + inside) / cells, first), _below(end))


def cell_of(position: Tensor, cells: int) -> Tensor:
    """Return floor(cells position) of the exact product.

    Args:
        position: Positions in [0, 1), float64, any shape.
        cells: Number of equal cells, below 2^26.

    Returns:
        Indices 0..cells - 1, int64, shaped as position.
    """
    cell = (position * cells).floor()
    return (cell - (position < _edge(cell, cells)).double()).long()


def _edge(i: Tensor, n: int) -> Tensor:
    """Return the smallest float64 >= i/n, for integer i and n up to 2^26."""
    edge = i / n
    if n & (n - 1) == 0:
        return edge
    # Products of 26 bits with n are exact, and so is the sign of n edge - i.
    head, rest = veltkamp_split(edge)
    short = (head * n - i) + rest * n < 0.0
    return torch.where(short, torch.nextafter(edge, torch.full_like(edge, 2.0)), edge)


def _forms(state: Mapping[str, Any]) -> dict[str, str]:
    """Return dtype and shape of each tensor of a state, and the type of any other value."""
    return {k: f"{v.dtype} {tuple(v.shape)}" if isinstance(v, Tensor) else str(type(v)) for k, v in state.items()}
