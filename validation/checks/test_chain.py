"""Chapter 7: does a target's discrete chain obey DIS-1 and DIS-2, at every index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Times
from refdiff.conformance.subject import Subject

from ..expected.tiers import exact, should
from ..oracles.certified import Floats, Quantity
from .grids import times
from .inferred import inferred, uncertainty, unit_scales


def _parts(subject: Subject) -> list[Times]:
    """Return every index but the last, and the last: a table read one step late runs out there, and only there."""
    drawn = times(subject)
    k = drawn[np.argsort(drawn)]
    return [part for part in (k[:-1], k[-1:]) if len(part)]


@check("DIS-1", "schedule", on=(Chain,))
def test_product(subject: Subject) -> None:
    """DIS-1: alpha_bar_k is the product of 1 - beta_i over i = 1..k."""
    for k in _parts(subject):
        alpha_bar = exact(subject.process, "alpha_bar", k)
        for one in inferred(subject, k, ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")):
            subject.expect(f"alpha_bar by {one.name}", one.alpha_bar, one.expected(alpha_bar), at={"k": k})


@check("DIS-1", "perturb", on=(Chain,))
def test_product_of_perturb(subject: Subject) -> None:
    """DIS-1: the same, as `perturb` has alpha and sigma."""
    for k in _parts(subject):
        alpha, sigma = unit_scales(subject, k)
        want = exact(subject.process, "alpha_bar", k)
        expected = Expected(want.value, uncertainty(subject, k), residual=want.residual)
        squared = expected.widened(more=4.0 * subject.format.u * want.value)
        subject.expect("alpha^2", alpha**2, squared, at={"k": k})
        subject.expect("1 - sigma^2", 1.0 - sigma**2, expected, at={"k": k})


def _relative(subject: Subject, found: Mapping[Quantity, Array | Floats]) -> None:
    k = times(subject)
    for name, got in found.items():
        subject.expect(name, got, should(subject.process, name, k, subject.format), at={"k": k})


@check("DIS-2", "schedule", on=(Chain,))
def test_relative_accuracy(subject: Subject) -> None:
    """DIS-2: alpha_bar_k, alpha_k and sigma_k are accurate relative to themselves."""
    found = subject.built.coefficients(times(subject))
    names: tuple[Quantity, ...] = ("alpha_bar", "alpha", "sigma")
    if not set(names) & set(found):
        raise NotClaimed("coefficients has none of alpha_bar, alpha and sigma")
    _relative(subject, {name: found[name] for name in names if name in found})


@check("DIS-2", "perturb", on=(Chain,))
def test_relative_accuracy_of_perturb(subject: Subject) -> None:
    """DIS-2: alpha_k and sigma_k are accurate relative to themselves, as `perturb` has them."""
    alpha, sigma = unit_scales(subject, times(subject))
    _relative(subject, {"alpha": alpha, "sigma": sigma})
