"""The four floating-point formats in which a target may compute, as NumPy carries them (NUM-1, NUM-2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.interface import Array, DType

Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A binary format. All results are binary64, which holds every value of every format."""

    name: DType
    bits: int
    """Significant bits, the hidden one included."""
    smallest_exponent: int
    """Exponent of the smallest normal number: 2**smallest_exponent."""
    storage: np.dtype[np.floating[Any]]
    """The NumPy dtype in which its values travel."""

    @property
    def u(self) -> float:
        """Unit roundoff."""
        return 2.0**-self.bits

    @property
    def smallest_normal(self) -> float:
        """The smallest number with all its bits."""
        return 2.0**self.smallest_exponent

    @property
    def smallest(self) -> float:
        """The smallest number above 0."""
        return 2.0 ** (self.smallest_exponent - self.bits + 1)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.bits)) * 2.0 ** (1 - self.smallest_exponent)

    def ulp(self, exact: npt.ArrayLike) -> Floats:
        """Return the distance between neighbours in the binade of each value, any shape."""
        magnitude = np.maximum(np.abs(np.asarray(exact, dtype=np.float64)), self.smallest_normal)
        magnitude = np.where(np.isfinite(magnitude), magnitude, 1.0)
        return np.asarray(np.ldexp(1.0, np.frexp(magnitude)[1] - self.bits), dtype=np.float64)

    def rounded(self, values: npt.ArrayLike) -> Array:
        """Return the nearest values of the format, ties to even, in the storage dtype."""
        wide = np.asarray(values, dtype=np.float64)
        if self.name != "bfloat16":
            with np.errstate(over="ignore"):
                return wide.astype(self.storage)
        step = self.ulp(wide)
        with np.errstate(over="ignore"):
            return (np.rint(wide / step) * step).astype(self.storage)

    def holds(self, values: Array) -> bool:
        """Say whether every value is one of the format, NaN and infinities included."""
        if self.name != "bfloat16" and values.dtype == self.storage:
            return True
        return bool(np.array_equal(self.rounded(values), values, equal_nan=True))


FORMATS: Mapping[DType, Format] = {
    "float16": Format(name="float16", bits=11, smallest_exponent=-14, storage=np.dtype(np.float16)),
    "bfloat16": Format(name="bfloat16", bits=8, smallest_exponent=-126, storage=np.dtype(np.float32)),
    "float32": Format(name="float32", bits=24, smallest_exponent=-126, storage=np.dtype(np.float32)),
    "float64": Format(name="float64", bits=53, smallest_exponent=-1022, storage=np.dtype(np.float64)),
}
"""By the name that a claim gives."""
