"""Chapter 11: is a target finite where it should be, and never NaN (NUM-3, NUM-5)."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.interface import Times
from refdiff.conformance.subject import Subject

from ..expected.tiers import KNOWN, exact, in_rho_domain
from ..oracles.certified import Quantity
from .grids import drawn_times, edges, times
from .inferred import uncertainty, unit_scales

QUANTITIES: tuple[Quantity, ...] = ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr", "beta")


@check("NUM-3", "schedule")
def test_never_nan(subject: Subject) -> None:
    """NUM-3: no t gives NaN, in any quantity."""

    def body(t: Times) -> None:
        for name, got in subject.built.coefficients(t).items():
            subject.expect(f"{name} is a number", np.where(np.isnan(got), np.nan, 0.0), Expected(0.0, 0.0), at={"t": t})

    t = times(subject)
    body(t)
    subject.law(body, t=drawn_times(subject))


@check("NUM-3", "perturb")
def test_perturb_is_finite(subject: Subject) -> None:
    """NUM-3: alpha and sigma, as `perturb` has them, are finite at every t."""
    t = times(subject)
    for name, got in zip(("alpha", "sigma"), unit_scales(subject, t), strict=True):
        subject.expect(f"{name} is finite", np.where(np.isfinite(got), 0.0, got), Expected(0.0, 0.0), at={"t": t})


@check("NUM-3", "schedule", on=KNOWN)
def test_finite_where_it_can_tell(subject: Subject) -> None:
    """NUM-3: what is finite, and stays so within its MUST bound, is finite."""
    t = times(subject)
    unknown = uncertainty(subject, t)
    tells = (exact(subject.process, "variance", t).value > unknown) & (
        exact(subject.process, "alpha_bar", t).value > unknown
    )
    _finite(subject, t, tells)


@check("NUM-5", "schedule", on=KNOWN)
def test_finite_where_exact_value_is(subject: Subject) -> None:
    """NUM-5: what is a finite number of the dtype is finite."""
    t = np.concatenate([times(subject), edges(subject)])
    _finite(subject, t, in_rho_domain(subject.process, t, subject.format))


def _finite(subject: Subject, t: Times, domain: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    found = subject.built.coefficients(t)
    for name in QUANTITIES:
        if name not in found:
            continue
        got, want = found[name], exact(subject.process, name, t).value
        finite = domain & (np.abs(want) <= subject.format.largest)
        shown = np.where(finite & ~np.isfinite(got), got, want)
        subject.expect(f"{name} is finite", shown, Expected(want, np.where(finite, 0.0, np.inf)), at={"t": t})
