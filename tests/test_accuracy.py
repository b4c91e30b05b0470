"""refdiff's own accuracy (spec chapter 11): 0.51 ulp of float32 and narrower, on samples and on every number there is.

`pytest tests/test_accuracy.py --refdiff-full -s` runs the exhaustive part, and prints the worst error of each quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from refdiff.conformance.formats import FORMATS
from refdiff.schedule import CosineSchedule, LinearSchedule
from validation.oracles import certified, exhaustive

Floats: TypeAlias = npt.NDArray[np.float64]
CHUNK = 2**21


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A quantity of a default schedule: refdiff's, Arb's, and the fast oracle's."""

    quantity: Literal["alpha", "sigma"]
    schedule: LinearSchedule | CosineSchedule
    process: certified.Process
    oracle: Callable[[Floats], Floats]

    def __str__(self) -> str:
        """Name the case in a test id."""
        return f"{type(self.schedule).__name__}-{self.quantity}"

    def refdiff(self, t: Tensor) -> Tensor:
        """Return what refdiff says."""
        return self.schedule.alpha(t) if self.quantity == "alpha" else self.schedule.sigma(t)


_LINEAR, _COSINE = LinearSchedule(), CosineSchedule()
_RATES, _OFFSET = (_LINEAR.beta_min, _LINEAR.beta_max), _COSINE.s
_ARB_LINEAR, _ARB_COSINE = certified.linear(*_RATES), certified.cosine(_OFFSET)
CASES = [
    Case(
        quantity="alpha",
        schedule=_LINEAR,
        process=_ARB_LINEAR,
        oracle=lambda t: exhaustive.linear_alpha(*_RATES, t),
    ),
    Case(
        quantity="sigma",
        schedule=_LINEAR,
        process=_ARB_LINEAR,
        oracle=lambda t: exhaustive.linear_sigma(*_RATES, t),
    ),
    Case(
        quantity="alpha",
        schedule=_COSINE,
        process=_ARB_COSINE,
        oracle=lambda t: exhaustive.cosine_alpha(_OFFSET, t),
    ),
    Case(
        quantity="sigma",
        schedule=_COSINE,
        process=_ARB_COSINE,
        oracle=lambda t: exhaustive.cosine_sigma(_OFFSET, t),
    ),
]

of_every_case = pytest.mark.parametrize("case", CASES, ids=str)


def _sample(low: int, high: int, count: int) -> Floats:
    """Return float32 numbers in [2^low, 2^high]: `count` strata of the exponent, powers of two and their neighbours."""
    rng = np.random.default_rng([low & 0xFF, high & 0xFF])
    strata = 2.0 ** (low + (high - low) * (np.arange(count) + rng.random(count)) / count)
    powers = (2.0 ** np.arange(low, high + 1)).astype(np.float32)
    near = [np.nextafter(powers, np.float32(end)) for end in (0.0, 1.0)]
    every = np.concatenate([powers, *near, strata.astype(np.float32)])
    return np.unique(every[(every >= 2.0**low) & (every <= 2.0**high)]).astype(np.float64)


# Below 2^-17 alpha is 1 to float32; above it, everything happens. Uniform strata too, for most floats are near 1.
_SMALL = np.concatenate([[0.0, 1.0], _sample(-149, -17, 600)])
_LARGE = np.unique(np.concatenate([_sample(-17, 0, 600), np.linspace(2.0**-17, 1.0, 1500).astype(np.float32)]))


def _worst(got: Tensor, want: Floats, residual: Floats | float, t: Floats, dtype: str) -> tuple[float, float]:
    """Return the largest error in ulps of the exact value's binade, and the t where it is. NaN is the largest."""
    observed = got.double().numpy()
    with np.errstate(invalid="ignore"):
        error = np.where(observed == want, np.abs(residual), np.abs((observed - want) - residual))
    ulps = error / FORMATS[dtype].ulp(want)  # type: ignore[index]  # the four names of dtypes
    ulps = np.where(np.isnan(ulps), np.inf, ulps)
    i = int(ulps.argmax())
    return float(ulps[i]), float(t[i])


@pytest.mark.parametrize("times", [_SMALL, _LARGE], ids=["small", "large"])
@of_every_case
def test_float32_is_within_half_an_ulp_of_arb(case: Case, times: Floats) -> None:
    """Chapter 11, first row: alpha and sigma at t in {0} and [2^-149, 1], on a stratified sample with the ends."""
    want = certified.column(case.process, case.quantity, times)
    got = case.refdiff(torch.from_numpy(times.astype(np.float32)))
    worst, at = _worst(got, want.value, want.residual, times, "float32")
    assert worst <= 0.51, f"{case} at t={at!r}: {worst} ulp"


@pytest.mark.parametrize("quantity", ["log_snr", "log_alpha_bar"])
@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_float32_logarithms_are_within_half_an_ulp_of_arb(
    case: Case, quantity: Literal["log_snr", "log_alpha_bar"]
) -> None:
    """Chapter 11, second row: 0.51 ulp + 2^-48, where finite; infinities are the exact ones."""
    times = np.unique(np.concatenate([_SMALL, _LARGE]))
    want = certified.column(case.process, quantity, times)
    got = getattr(case.schedule, quantity)(torch.from_numpy(times.astype(np.float32))).double().numpy()
    finite = np.isfinite(want.value)
    assert (got[~finite] == want.value[~finite]).all()
    error = np.abs((got[finite] - want.value[finite]) - want.residual[finite])
    excess = error - 2.0**-48 - 0.51 * FORMATS["float32"].ulp(want.value[finite])
    assert excess.max() <= 0.0, f"{case.schedule} {quantity} at t={times[finite][excess.argmax()]!r}"


@of_every_case
def test_fast_oracle_is_within_its_stated_error_of_arb(case: Case) -> None:
    """An oracle needs a bound of its own: relative error at most 2^-48 of Arb's value, on the samples and at random."""
    times = np.unique(np.concatenate([_SMALL, _LARGE, np.random.default_rng(3).random(2000).astype(np.float32)]))
    want = certified.column(case.process, case.quantity, times.astype(np.float64))
    error = np.abs((case.oracle(times.astype(np.float64)) - want.value) - want.residual)
    worst = (error / np.where(want.value == 0.0, 1.0, want.value)).max()
    print(f"oracle {case}: {worst * 2.0**53:.2f} u")
    assert worst <= exhaustive.ERROR


def _floats(low: float, high: float) -> Iterator[npt.NDArray[np.float32]]:
    """Yield every float32 in [low, high], low >= 0, in chunks: the bit patterns between theirs."""
    first, last = (int(np.float32(x).view(np.uint32)) for x in (low, high))
    for start in range(first, last + 1, CHUNK):
        yield np.arange(start, min(start + CHUNK, last + 1), dtype=np.uint32).view(np.float32)


def _half(dtype: torch.dtype) -> Tensor:
    """Return every number of a 16-bit dtype in [0, 1]."""
    last = int(torch.ones((), dtype=dtype).view(torch.int16).item())
    return torch.arange(last + 1, dtype=torch.int16).view(dtype)


# The oracle's error, in ulps of float32, is part of the allowance.
_ALLOWED = 0.51 - exhaustive.ERROR * 2.0**24


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@of_every_case
def test_every_16_bit_time_is_within_half_an_ulp(case: Case, dtype: torch.dtype) -> None:
    """Chapter 11, first row, narrower: all of them in [0, 1], subnormals included."""
    t = _half(dtype)
    wide = t.double().numpy()
    assert (wide[0], wide[-1]) == (0.0, 1.0)
    worst, at = _worst(case.refdiff(t), case.oracle(wide), 0.0, wide, str(dtype).removeprefix("torch."))
    print(f"{case} {dtype}: {len(t)} times, worst {worst:.6f} ulp at t={at!r}")
    assert worst <= _ALLOWED, f"{case} {dtype} at t={at!r}: {worst} ulp"


@of_every_case
def test_every_float32_time_is_within_half_an_ulp(case: Case, request: pytest.FixtureRequest) -> None:
    """Chapter 11, first row: all 142,606,337 float32 in [2^-17, 1]."""
    full: Any = request.config.getoption("refdiff_full")
    if not full:
        pytest.skip("exhaustive over float32, 5 to 10 seconds a case on 2 cores: pytest --refdiff-full")
    worst, at, count = 0.0, float("nan"), 0
    for t in _floats(2.0**-17, 1.0):
        wide = t.astype(np.float64)
        worst, at = max((worst, at), _worst(case.refdiff(torch.from_numpy(t)), case.oracle(wide), 0.0, wide, "float32"))
        count += len(t)
    print(f"{case}: {count} times, worst {worst:.9f} ulp at t={at!r}")
    assert count == 17 * 2**23 + 1
    assert worst <= _ALLOWED, f"{case} at t={at!r}: {worst} ulp"
