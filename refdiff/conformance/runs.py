"""What a claim says of whole sampling runs: the range of its grids, and its samplers (SMP-10 to SMP-13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final, get_args

from refdiff.conformance.step import Parameterization
from refdiff.errors import ConfigError

Served = Literal["any", "grid"]


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """Range of the times that `grid` returns (SMP-10). A grid of a chain goes from N to `last`."""

    t_min: float | None = None
    """Last time; by default the claim's t_min."""
    t_max: float | None = None
    """First time; by default the claim's t_max."""
    last: int = 0
    """Last index of a grid of a chain; 0 is the data."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid range."""
        low, high = (end if end is None else float(end) for end in (self.t_min, self.t_max))
        object.__setattr__(self, "t_min", low)
        object.__setattr__(self, "t_max", high)
        if not 0.0 <= (low or 0.0) < (1.0 if high is None else high) <= 1.0:
            raise ConfigError(f"expected 0 <= t_min < t_max <= 1, got {self} (CON-1)")
        if type(self.last) is not int or self.last < 0:
            raise ConfigError(f"expected last as a whole number from 0, got {self.last!r} (CON-1)")


@final
@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A whole sampler, which `sample` runs (SMP-11 to SMP-13)."""

    name: str
    """Name by which `sample` is asked for it."""
    prediction: Parameterization = "eps"
    """What the denoiser that it is given predicts."""
    order: int = 1
    """Order of convergence in the number of steps; 1 for a stochastic sampler."""
    exact: bool = False
    """Whether one step of any length is exact where all data is one point: DDIM, DPM-Solver, Euler in sigma/alpha."""
    stochastic: bool = False
    """Whether it draws noise, by the seed."""
    chains: bool = True
    """Whether it runs on chains; what needs the rate beta does not."""
    times: Served = "any"
    """any: it steps along any falling times; grid: along the times of `grid` only."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a field outside the contract."""
        object.__setattr__(self, "name", " ".join(str(self.name).split()))
        object.__setattr__(self, "order", int(self.order))
        if not self.name:
            raise ConfigError("expected a name of the sampler, got an empty one (CON-1)")
        if self.prediction not in get_args(Parameterization):
            some = ", ".join(get_args(Parameterization))
            raise ConfigError(f"expected a prediction of {some}, got {self.prediction!r} (CON-1)")
        if not 1 <= self.order <= 8 or (self.stochastic and self.order > 1):
            raise ConfigError(f"expected an order from 1 to 8, and 1 if stochastic, got {self} (CON-1)")
        if self.times not in get_args(Served):
            raise ConfigError(f"expected times that are 'any' or 'grid', got {self.times!r} (CON-1)")


def checked_samplers(samplers: Any, capabilities: frozenset[str]) -> tuple[Sampler, ...]:
    """Return the samplers of a claim. Raises ConfigError unless they have different names, and `sample` has one."""
    found = tuple(samplers)
    if wrong := [one for one in found if not isinstance(one, Sampler)]:
        raise ConfigError(f"expected samplers to be of type Sampler, got {wrong[0]!r} (CON-1)")
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"expected samplers of different names, got {', '.join(names)} (CON-1)")
    if not found and "sample" in capabilities:
        raise ConfigError("expected at least one of samplers, as the claim lists 'sample', got none (CON-1)")
    return found
