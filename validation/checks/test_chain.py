"""Chapter 7: does a target's discrete chain obey DIS-1 and DIS-2, at every index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Array, Chain, Times

from ..expected.tiers import exact, should
from ..oracles.certified import Floats, Quantity
from .grids import times
from .inferred import inferred, uncertainty, unit_scales


def _parts(case: Case) -> list[Times]:
    """Return every index but the last, and the last: a table read one step late runs out there, and only there."""
    drawn = times(case)
    k = drawn[np.argsort(drawn)]
    return [part for part in (k[:-1], k[-1:]) if len(part)]


@check("DIS-1", "schedule", on=(Chain,))
def test_product(case: Case) -> None:
    """DIS-1: alpha_bar_k is the product of 1 - beta_i over i = 1..k."""
    for k in _parts(case):
        alpha_bar = exact(case.process, "alpha_bar", k)
        for one in inferred(case, k, ("alpha_bar", "log_alpha_bar", "alpha", "sigma", "log_snr")):
            case.expect(f"alpha_bar by {one.name}", one.alpha_bar, one.expected(alpha_bar), at={"k": k})


@check("DIS-1", "perturb", on=(Chain,))
def test_product_of_perturb(case: Case) -> None:
    """DIS-1: the same, as `perturb` has alpha and sigma."""
    for k in _parts(case):
        alpha, sigma = unit_scales(case, k)
        want = exact(case.process, "alpha_bar", k)
        expected = Expected(want.value, uncertainty(case, k), residual=want.residual)
        squared = expected.widened(more=4.0 * case.format.u * want.value)
        case.expect("alpha^2", alpha**2, squared, at={"k": k})
        case.expect("1 - sigma^2", 1.0 - sigma**2, expected, at={"k": k})


def _relative(case: Case, found: Mapping[Quantity, Array | Floats]) -> None:
    k = times(case)
    for name, got in found.items():
        case.expect(name, got, should(case.process, name, k, case.format), at={"k": k})


@check("DIS-2", "schedule", on=(Chain,))
def test_relative_accuracy(case: Case) -> None:
    """DIS-2: alpha_bar_k, alpha_k and sigma_k are accurate relative to themselves."""
    found = case.built.coefficients(times(case))
    names: tuple[Quantity, ...] = ("alpha_bar", "alpha", "sigma")
    if not set(names) & set(found):
        raise NotClaimed("coefficients has none of alpha_bar, alpha and sigma")
    _relative(case, {name: found[name] for name in names if name in found})


@check("DIS-2", "perturb", on=(Chain,))
def test_relative_accuracy_of_perturb(case: Case) -> None:
    """DIS-2: alpha_k and sigma_k are accurate relative to themselves, as `perturb` has them."""
    alpha, sigma = unit_scales(case, times(case))
    _relative(case, {"alpha": alpha, "sigma": sigma})
