"""Names of loss weights, and min-SNR with its parameter: the last argument of `loss` (spec chapter 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, final, get_args

from refdiff.errors import ConfigError

Weighting: TypeAlias = Literal["uniform", "inverse_snr", "min_snr", "likelihood", "snr", "snr_plus_one"]
"""A weight without parameters; min_snr has gamma = 5."""


@final
@dataclass(frozen=True, kw_only=True)
class MinSNR:
    """The min-SNR weight (LOS-8) of a library that takes gamma as an argument.

    Example:
        >>> from refdiff.conformance import MinSNR
        >>> print(MinSNR(gamma=3.0))
        min_snr(gamma=3)
    """

    gamma: float
    """Largest weight on the squared error of x_0."""

    def __post_init__(self) -> None:
        """Convert the number to binary64. Raises ConfigError unless gamma is in (0, inf)."""
        object.__setattr__(self, "gamma", float(self.gamma))
        if not 0.0 < self.gamma < inf:
            raise ConfigError(f"expected gamma in (0, inf), got {self.gamma} (LOS-8)")

    def __str__(self) -> str:
        """Return its name in reports."""
        return f"min_snr(gamma={self.gamma:g})"


Weight: TypeAlias = Weighting | MinSNR
"""What `loss` is given."""
Weights: TypeAlias = tuple[Weighting | MinSNR | type[MinSNR], ...]
"""What a claim lists; the type claims every gamma."""

FIRST: Weights = ("uniform", "inverse_snr", "min_snr", "likelihood")
"""The weights of a claim that lists none: those of version 1 of the contract."""


def checked_weights(claimed: Iterable[object]) -> Weights:
    """Return the weights of a claim. Raises ConfigError for what is none, and for an empty list."""
    found = tuple(claimed)
    wrong = [x for x in found if not (isinstance(x, MinSNR) or x is MinSNR or x in get_args(Weighting))]
    if wrong or not found:
        names = ", ".join(get_args(Weighting))
        raise ConfigError(
            f"expected weights among {names}, MinSNR, got {wrong[0]!r} (CON-1)"
            if wrong
            else "expected at least one weight in the claim, got none (CON-1)"
        )
    return found  # type: ignore[return-value]  # checked one by one
