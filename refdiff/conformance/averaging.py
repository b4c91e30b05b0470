"""Warm-up of an average of weights: the decays d_k that a library uses in place of one decay d (TRN-1)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, final

from refdiff.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class Ratio:
    """d_k = min(d, (1 + k)/(offset + k)), as in score-SDE's and diffusers' code.

    Example:
        >>> from refdiff.conformance import Ratio
        >>> Ratio()
        Ratio(offset=10.0)
    """

    offset: float = 10.0
    """Added to k in the denominator, at least 1."""

    def __post_init__(self) -> None:
        """Convert the number to binary64. Raises ConfigError unless 1 <= offset < inf."""
        object.__setattr__(self, "offset", float(self.offset))
        if not 1.0 <= self.offset < inf:
            raise ConfigError(f"expected 1 <= offset, finite, got {self.offset} (TRN-1)")


@final
@dataclass(frozen=True, kw_only=True)
class Power:
    """d_k = 0 up to k = after, then 1 - (1 + (k - after)/inv_gamma)^-power, limited to [least, d].

    ema-pytorch's default, and diffusers' with `use_ema_warmup`.

    Example:
        >>> from refdiff.conformance import Power
        >>> Power(power=0.75, after=100)
        Power(inv_gamma=1.0, power=0.75, least=0.0, after=100)
    """

    inv_gamma: float = 1.0
    """Steps over which the decay rises."""
    power: float = 2.0 / 3.0
    """Exponent, above 0."""
    least: float = 0.0
    """Smallest decay after the first `after` steps."""
    after: int = 0
    """Number of steps whose average is a copy of the weights."""

    def __post_init__(self) -> None:
        """Convert the numbers. Raises ConfigError for numbers out of range."""
        for name in ("inv_gamma", "power", "least"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "after", int(self.after))
        positive = 0.0 < self.inv_gamma < inf and 0.0 < self.power < inf
        if not (positive and 0.0 <= self.least < 1.0 and self.after >= 0):
            raise ConfigError(f"expected inv_gamma, power > 0, least in [0, 1) and after >= 0, got {self} (TRN-1)")


@final
@dataclass(frozen=True, kw_only=True)
class Equal:
    """d_k = k/(k + 1), whatever d is: the mean of all weights, as torch's AveragedModel has it by default.

    Example:
        >>> from refdiff.conformance import Equal
        >>> Equal()
        Equal()
    """


DecayRule: TypeAlias = Ratio | Power | Equal
WarmUp: TypeAlias = DecayRule | Literal["declared"]
"""A rule; or declared: the built object has `decays(decay, n)`, which returns d_1, ..., d_n as float64."""
