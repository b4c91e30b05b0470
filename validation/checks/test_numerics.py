"""Chapter 11: is a target finite where it should be, and never NaN (NUM-3, NUM-5)."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.interface import Times

from ..expected.tiers import KNOWN, exact, in_rho_domain
from ..oracles.certified import Quantity
from .grids import drawn_times, edges, times
from .inferred import uncertainty, unit_scales

QUANTITIES: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr", "beta")


@check("NUM-3", "schedule")
def test_never_nan(case: Case) -> None:
    """NUM-3: no t gives NaN, in any quantity."""

    def body(t: Times) -> None:
        for name, got in case.built.coefficients(t).items():
            case.expect(f"{name} is a number", np.where(np.isnan(got), np.nan, 0.0), Expected(0.0, 0.0), at={"t": t})

    t = times(case)
    body(t)
    case.law(body, t=drawn_times(case))


@check("NUM-3", "perturb")
def test_perturb_is_finite(case: Case) -> None:
    """NUM-3: alpha and sigma, as `perturb` has them, are finite at every t."""
    t = times(case)
    for name, got in zip(("alpha", "sigma"), unit_scales(case, t), strict=True):
        case.expect(f"{name} is finite", np.where(np.isfinite(got), 0.0, got), Expected(0.0, 0.0), at={"t": t})


@check("NUM-3", "schedule", on=KNOWN)
def test_finite_where_it_can_tell(case: Case) -> None:
    """NUM-3: what is finite, and stays so within its MUST bound, is finite."""
    t = times(case)
    unknown = uncertainty(case, t)
    tells = (exact(case.process, "variance", t).value > unknown) & (exact(case.process, "alpha_bar", t).value > unknown)
    _finite(case, t, tells)


@check("NUM-5", "schedule", on=KNOWN)
def test_finite_where_exact_value_is(case: Case) -> None:
    """NUM-5: what is a finite number of the dtype is finite."""
    t = np.concatenate([times(case), edges(case)])
    _finite(case, t, in_rho_domain(case.process, t, case.format))


def _finite(case: Case, t: Times, domain: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    found = case.built.coefficients(t)
    for name in QUANTITIES:
        if name not in found:
            continue
        got, want = found[name], exact(case.process, name, t).value
        finite = domain & (np.abs(want) <= case.format.largest)
        shown = np.where(finite & ~np.isfinite(got), got, want)
        case.expect(f"{name} is finite", shown, Expected(want, np.where(finite, 0.0, np.inf)), at={"t": t})
