"""Tolerances of a target's posterior, from the known scales or from those of the target (MAR-7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from refdiff.conformance.case import Case
from refdiff.conformance.interface import Chain, Own, Times

from ..expected.posteriors import Tolerances, tolerances_of
from ..expected.tiers import delta, divides, of_variance
from ..oracles.certified import Floats
from .inferred import uncertainty


def tolerances(
    case: Case,
    s: Times,
    t: Times,
    alphas: tuple[Floats, Floats],
    variances: tuple[Floats, Floats],
    of: Callable[[Case, Times], Floats] = uncertainty,
    *,
    zero_too: bool = False,
) -> Tolerances:
    """Return MAR-7's tolerances for scales alpha and sigma^2 at s and at t, known or read from the target.

    of: tolerance of alpha_bar; zero_too: whether to keep the index of a chain at which alpha_t is exactly 0.
    """
    uncertain = (of(case, s), of(case, t))
    found = tolerances_of(s < t, alphas, variances, uncertain, case.format)
    # By way of eps the mean is divided by alpha_t: where a right alpha_t may come out as 0, that is 0/0.
    known = not isinstance(case.process, Own)
    d_alpha = delta(case.process, "alpha", t, case.format) if known else of_variance(alphas[1], uncertain[1])
    inside = divides(alphas[1], d_alpha)
    if zero_too and isinstance(case.process, Chain):
        inside = inside | (alphas[1] == 0.0)
    return replace(found, domain=found.domain & inside)
