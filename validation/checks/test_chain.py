"""Chapter 7: does a target's discrete chain obey DIS-1 and DIS-2, at every index."""

from __future__ import annotations

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Times
from refdiff.conformance.subject import Subject

from ..expected.tiers import exact, rho
from ..oracles.certified import Floats, Quantity
from .grids import times
from .readings import readings, uncertainty, unit_scales


def _parts(subject: Subject) -> list[Times]:
    """Return every index but the last, and the last: a table read one step late runs out there, and only there."""
    drawn = times(subject)
    k = drawn[np.argsort(drawn)]
    return [part for part in (k[:-1], k[-1:]) if len(part)]


@check("DIS-1", "schedule", on=(Chain,))
def test_product(subject: Subject) -> None:
    """DIS-1: alpha_bar_k is the product of 1 - beta_i over i = 1..k."""
    for k in _parts(subject):
        want = exact(subject.process, "alpha_bar", k)
        for reading in readings(subject, k, ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")):
            name = f"alpha_bar by {reading.name}"
            subject.expect(
                name, reading.alpha_bar, Expected(want.value, reading.bound, residual=want.residual), at={"k": k}
            )


@check("DIS-1", "perturb", on=(Chain,))
def test_product_of_perturb(subject: Subject) -> None:
    """DIS-1: the same, as `perturb` has alpha and sigma."""
    for k in _parts(subject):
        alpha, sigma = unit_scales(subject, k)
        want, bound = exact(subject.process, "alpha_bar", k), uncertainty(subject, k)
        more = 4.0 * subject.format.u * want.value
        subject.expect("alpha^2", alpha**2, Expected(want.value, bound + more, residual=want.residual), at={"k": k})
        subject.expect("1 - sigma^2", 1.0 - sigma**2, Expected(want.value, bound, residual=want.residual), at={"k": k})


def _relative(subject: Subject, found: dict[Quantity, Floats]) -> None:
    k = times(subject)
    for name, got in found.items():
        want, bound = exact(subject.process, name, k), rho(subject.process, name, k, subject.format)
        subject.expect(name, got, Expected(want.value, bound, residual=want.residual), at={"k": k})


@check("DIS-2", "schedule", on=(Chain,))
def test_relative_accuracy(subject: Subject) -> None:
    """DIS-2: alpha_bar_k, alpha_k and sigma_k are accurate relative to themselves."""
    found = subject.built.coefficients(times(subject))
    names: tuple[Quantity, ...] = ("alpha_bar", "alpha", "sigma")
    if not set(names) & set(found):
        raise NotClaimed("coefficients has none of alpha_bar, alpha and sigma")
    _relative(subject, {name: found[name].astype(np.float64) for name in names if name in found})


@check("DIS-2", "perturb", on=(Chain,))
def test_relative_accuracy_of_perturb(subject: Subject) -> None:
    """DIS-2: alpha_k and sigma_k are accurate relative to themselves, as `perturb` has them."""
    alpha, sigma = unit_scales(subject, times(subject))
    _relative(subject, {"alpha": alpha, "sigma": sigma})
