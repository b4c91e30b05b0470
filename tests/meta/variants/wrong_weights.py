"""Wrong weights of libraries that serve one prediction: each with the clauses that it breaks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from refdiff.conformance.interface import MinSNR
from tests.meta.variants.libraries import NUMPY
from tests.meta.variants.variant import LINEAR, Family
from tests.meta.variants.weights import NEW, of_scales, weighing

FAMILY = Family("wrong weights")
wrong = partial(weighing, NUMPY, family=FAMILY)
INSIDE: dict[str, Any] = {"t_min": 1e-3, "t_max": 0.99}


@wrong(on=LINEAR, weights=NEW, only="v", breaks="LOS-16 LOS-17", **INSIDE)
def of_eps_on_v(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """The weight of eps on v."""
    return of_scales(xp, a, s, "eps", weight)


@wrong(on=LINEAR, weights=("snr_plus_one",), only="eps", breaks="LOS-17")
def one_forgotten(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """SNR for SNR + 1."""
    return of_scales(xp, a, s, prediction, "snr")


@wrong(on=LINEAR, weights=(MinSNR,), only="v", breaks="LOS-8", **INSIDE)
def gamma_of_snr_plus_one(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """min(SNR + 1, gamma)/(SNR + 1) on v, which a library once had."""
    snr = (a / s) ** 2
    return np.minimum(snr + 1, np.float32(weight.gamma)) / (snr + 1)
