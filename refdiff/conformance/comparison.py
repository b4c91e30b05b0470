"""Comparison of a target's output with an expected value, element by element: pure, and the same for every check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, slots=True, init=False, eq=False)
class Expected:
    """An exact value, the tolerance of its clause, and the domain on which the clause speaks.

    The four arrays broadcast against each other, and against the output, (n, ...).
    """

    value: Floats
    tolerance: Floats
    """Largest error that the clause allows, absolute."""
    domain: Mask
    """Where the clause speaks. Elsewhere any number is accepted, but not NaN."""
    residual: Floats
    """Exact value minus `value`: what float64 cannot hold of it."""

    def __init__(
        self,
        value: npt.ArrayLike,
        tolerance: npt.ArrayLike,
        domain: npt.ArrayLike = True,
        residual: npt.ArrayLike = 0.0,
    ) -> None:
        """Store numbers and arrays of any dtype as float64."""
        for name, array in (("value", value), ("tolerance", tolerance), ("residual", residual)):
            object.__setattr__(self, name, np.asarray(array, dtype=np.float64))
        object.__setattr__(self, "domain", np.asarray(domain, dtype=np.bool_))

    def rows(self, index: npt.NDArray[Any]) -> Expected:
        """Return some of the examples, in the order given: their indices, or a mask over (n,)."""
        arrays = (self.value, self.tolerance, self.domain, self.residual)
        value, tolerance, domain, residual = (array[index] if array.ndim else array for array in arrays)
        return Expected(value, tolerance, domain, residual)

    def widened(self, factor: float = 1.0, more: npt.ArrayLike = 0.0) -> Expected:
        """Return the same value with the tolerance `factor * tolerance + more`."""
        return Expected(self.value, factor * self.tolerance + np.asarray(more), self.domain, self.residual)


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """Errors of an output, with their tolerances. All arrays have the shape of the output."""

    got: Floats
    value: Floats
    error: Floats
    tolerance: Floats
    """Infinite outside the domain."""
    ratio: Floats
    """Error over tolerance; above 1 is a violation. 0 for an error of 0 or an infinite tolerance."""

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the largest ratio."""
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(self.ratio)), self.ratio.shape))

    @property
    def violations(self) -> Mask:
        """Elements whose error exceeds the tolerance."""
        return np.asarray(self.ratio > 1.0)

    @property
    def failing(self) -> Mask:
        """Examples, (n,), with a violation; of a single number, one example."""
        found = self.violations
        return np.asarray(found.reshape(len(found) if found.ndim else 1, -1).any(axis=1))


def compare(got: npt.ArrayLike, expected: Expected) -> Comparison:
    """Return the errors |got - (value + residual)|, elementwise, beside their tolerances.

    A NaN in the output, the value or the tolerance is a violation. Equal infinities have error 0.
    """
    observed = np.asarray(got, dtype=np.float64)
    with np.errstate(all="ignore"):
        bound = np.where(expected.domain, expected.tolerance, np.inf)
        value, residual, tolerance = (
            np.broadcast_to(array, observed.shape) for array in (expected.value, expected.residual, bound)
        )
        error = np.where(observed == value, np.abs(residual), np.abs((observed - value) - residual))
        # 0/0 and inf/inf are met tolerances; what compares false with everything is NaN, and meets none.
        quotient = np.where((error > 0.0) & (tolerance < np.inf), error / tolerance, 0.0)
        missed = np.where(np.isnan(quotient + error + tolerance), np.inf, quotient)
        ratio = np.where(error <= tolerance, quotient, missed)
    return Comparison(observed, value, error, tolerance, ratio)
