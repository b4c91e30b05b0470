"""Comparison of an output of the target with the right one and with that of a fault, number by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from .outputs import Floats

WEAK, STRONG = 4.0, 64.0
"""Below the first multiple of the noise two numbers agree, above the second they differ; between, nobody knows."""
SHARE = 1e-3
"""The target may be so far from a fault, in units of the fault's own error."""
TRAINED = 0.1
"""Root mean square below which two trained denoisers agree."""
Mask = npt.NDArray[np.bool_]


@final
@dataclass(slots=True)
class Tally:
    """How a fault fares on one output of one process."""

    matched: int = 0
    """Numbers that the fault explains."""
    missed: int = 0
    """Wrong numbers that it does not give."""
    contradicted: int = 0
    """Right numbers that it would make wrong."""
    error: float = 0.0
    exact: bool = True

    def add(self, other: Tally) -> None:
        """Count what another has counted."""
        self.matched += other.matched
        self.missed += other.missed
        self.contradicted += other.contradicted
        self.error = max(self.error, other.error)
        self.exact &= other.exact


def beyond(a: Floats, b: Floats, allowance: Floats | float) -> Mask:
    """Return where two arrays of one shape differ by more than is allowed; NaN and infinities agree with themselves."""
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.asarray(~(same | (np.abs(a - b) <= allowance)))


def wrong(told: Floats, right: Floats, noise: Floats, *, is_trained: bool = False) -> Mask:
    """Return where an output of the target is certainly wrong."""
    if told.shape != right.shape:
        return np.array([True])
    if is_trained:
        return np.array([_rms(told, right) > 2.0 * TRAINED])
    return beyond(told, right, STRONG * noise)


def tally(
    told: Floats,
    right: Floats,
    fault: Floats,
    noise: Floats,
    *,
    own: Floats | None = None,
    is_trained: bool = False,
) -> Tally:
    """Compare one output of one call; noise: of the right value; own: of the fault's, by default the same."""
    own = noise if own is None else own
    if is_trained:
        return _of_trained(told, right, fault)
    if told.shape != right.shape or fault.shape != right.shape:
        return _of_shapes(told, right, fault)
    with np.errstate(all="ignore"):
        gap = np.abs(fault - right)
        share = np.where(np.isfinite(gap), SHARE * gap, 0.0)
        off = np.abs(told - fault)
    is_wrong = beyond(told, right, STRONG * noise)
    agrees = ~beyond(told, fault, WEAK * own + share)
    differs = beyond(told, fault, STRONG * own + share)
    found = Tally(
        matched=int((is_wrong & agrees).sum()),
        missed=int((is_wrong & differs).sum()),
        contradicted=int((~beyond(told, right, WEAK * noise) & differs).sum()),
    )
    chosen = is_wrong & agrees & np.isfinite(off)
    if chosen.any():
        size = np.maximum(np.abs(fault[chosen]), np.where(np.isfinite(gap[chosen]), gap[chosen], 0.0))
        found.error = min(float((off[chosen] / np.maximum(size, np.finfo(float).tiny)).max()), 1.0)
        found.exact = bool((off[chosen] <= STRONG * np.maximum(noise[chosen], 1e-15 * size)).all())
    return found


def _of_shapes(told: Floats, right: Floats, fault: Floats) -> Tally:
    """Compare an output whose shape is wrong, or that of the fault."""
    if told.shape == right.shape:
        return Tally(contradicted=1)
    same = told.shape == fault.shape and not beyond(told, fault, SHARE * np.abs(fault) + SHARE).any()
    return Tally(matched=1) if same else Tally(missed=1)


def _of_trained(told: Floats, right: Floats, fault: Floats) -> Tally:
    if not told.shape == right.shape == fault.shape:
        return Tally(missed=1)
    off, gap, error = _rms(told, right), _rms(fault, right), _rms(told, fault)
    if off > 2.0 * TRAINED:
        return Tally(matched=1, error=error) if error < 0.3 * gap else Tally(missed=1)
    return Tally(contradicted=1) if off < 0.5 * TRAINED and gap > 2.0 * TRAINED else Tally()


def _rms(a: Floats, b: Floats) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2))) if a.shape == b.shape else np.inf
