"""Chapter 2, at every time: alpha and sigma in float16, bfloat16 and float32 (MAR-10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Cosine, Linear, Process

from ..expected.tiers import in_rho_domain
from ..oracles import exhaustive
from ..oracles.certified import Floats
from .grids import at_shares, span

DEFAULTS = (Linear(beta_min=0.1, beta_max=20.0), Cosine(s=0.008))
CHUNK = 2**20
STEP = 1e-4


@check("MAR-10", "schedule", on=(Linear, Cosine))
def test_relative_accuracy_at_every_time(case: Case) -> None:
    """MAR-10: alpha and sigma at every 16-bit time, or float32 time in [2^-17, 1].

    Of the float32 times every one for the default schedules in a full run, else one in 4096. The
    oracle is binary64 arithmetic, proven to 2^-48 relative: nothing beside half a float32's ulp.
    """
    names = [name for name in ("alpha", "sigma") if name in case.built.coefficients(at_shares(case, [0.5]))]
    if not names:
        raise NotClaimed("coefficients has neither alpha nor sigma")
    low, high = span(case)
    for every in _times(case):
        t = every[(every >= low) & (every <= high)]
        if len(t) == 0:
            continue
        found = case.built.coefficients(t)
        for name in names:
            want, conditioning = _wanted(case, name, t.astype(np.float64))
            bound = 4.0 * case.format.ulp(want) * (1.0 + np.where(want > 0.0, conditioning / want, 0.0))
            case.expect(name, found[name], Expected(want, np.where(want > 0.0, bound, 0.0)), at={"t": t})


def _times(case: Case) -> Iterator[Array]:
    """Yield chunks of times; none for float64, which no one exhausts."""
    name, one = case.format.name, 1
    if name == "float64":
        return
    if name == "float16":
        every = np.arange(0x3C00 + one, dtype=np.uint16).view(np.float16)
        yield every[in_rho_domain(case.process, every, case.format)]
        return
    if name == "bfloat16":
        # The upper half of a float32; below 2^-60 nothing new happens.
        patterns = np.arange(np.float32(2.0**-60).view(np.uint32) >> 16, 0x3F80 + one, dtype=np.uint32)
        yield (patterns << 16).view(np.float32)
        return
    first, last = (int(np.float32(x).view(np.uint32)) for x in (2.0**-17, 1.0))
    stride = 1 if case.full and case.process in DEFAULTS else 4096
    for start in range(first, last + 1, CHUNK * stride):
        patterns = np.arange(start, min(start + CHUNK * stride, last + 1), stride, dtype=np.uint32)
        yield patterns.view(np.float32)


def _wanted(case: Case, name: str, t: Floats) -> tuple[Floats, Floats]:
    """Return the exact value and its conditioning, the latter by differences."""
    formula, parameters = _formula(case.process, name)
    high, low = 1.0 + STEP, 1.0 - STEP
    # Backwards from t: beyond 1 there is no schedule.
    moved = np.abs(formula(*parameters, t) - formula(*parameters, t * low)) / STEP
    for i, parameter in enumerate(parameters):
        up, down = ([*parameters[:i], parameter * x, *parameters[i + 1 :]] for x in (high, low))
        moved = moved + np.abs(formula(*up, t) - formula(*down, t)) / (2.0 * STEP)
    return formula(*parameters, t), moved


def _formula(process: Process, name: str) -> tuple[Callable[..., Floats], list[float]]:
    if isinstance(process, Linear):
        of_linear = exhaustive.linear_alpha if name == "alpha" else exhaustive.linear_sigma
        return of_linear, [process.beta_min, process.beta_max]
    assert isinstance(process, Cosine)
    return (exhaustive.cosine_alpha if name == "alpha" else exhaustive.cosine_sigma), [process.s]
