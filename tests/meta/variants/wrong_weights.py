"""Wrong weights, factors and means: each with the clauses that it breaks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from refdiff.conformance.interface import MinSNR, Process
from tests.meta.variants.base import over
from tests.meta.variants.libraries import NUMPY
from tests.meta.variants.losses import target
from tests.meta.variants.variant import LINEAR, SHORT, Family, Methods
from tests.meta.variants.weights import NEW, of_any_gamma, of_scales, weighing

FAMILY = Family("wrong weights")
wrong = partial(weighing, NUMPY, family=FAMILY)
INSIDE: dict[str, Any] = {"t_min": 1e-3, "t_max": 0.99}


@wrong(on=(LINEAR, SHORT), weights=NEW, breaks="LOS-16 LOS-17 LOS-5")
def stated_on_eps(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """SNR, or SNR + 1, on whatever is predicted: the right weights on x_0 alone."""
    return (a / s) ** 2 + (0.0 if weight == "snr" else 1.0)


@wrong(on=LINEAR, weights=NEW, only="v", breaks="LOS-16 LOS-17", **INSIDE)
def of_eps_on_v(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """The weight of eps on v."""
    return of_scales(xp, a, s, "eps", weight)


@wrong(on=LINEAR, weights=("snr_plus_one",), only="eps", breaks="LOS-17")
def one_forgotten(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """SNR for SNR + 1."""
    return of_scales(xp, a, s, prediction, "snr")


@wrong(on=(LINEAR, SHORT), weights=(MinSNR,), breaks="LOS-8", **INSIDE)
def gamma_ignored(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """min(SNR, 5), whatever gamma is."""
    return of_any_gamma(xp, a, s, prediction, MinSNR(gamma=5.0))


@wrong(on=LINEAR, weights=(MinSNR,), breaks="LOS-8", **INSIDE)
def max_for_min(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """max(SNR, gamma)."""
    snr = (a / s) ** 2
    return of_any_gamma(xp, a, s, prediction, weight) / np.minimum(snr, weight.gamma) * np.maximum(snr, weight.gamma)


@wrong(on=LINEAR, weights=(MinSNR,), only="v", breaks="LOS-8", **INSIDE)
def gamma_of_snr_plus_one(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """min(SNR + 1, gamma)/(SNR + 1) on v, which a library once had."""
    snr = (a / s) ** 2
    return np.minimum(snr + 1, np.float32(weight.gamma)) / (snr + 1)


@wrong(on=(LINEAR, SHORT), weights=("uniform",), loss_factor=0.5, breaks="LOS-1")
def factor_declared_and_absent(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Claims half a sum, and returns the sum."""
    return xp.ones_like(a)


@wrong(on=LINEAR, weights=("uniform",), breaks="LOS-1")
def factor_not_declared(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Returns half a sum, and does not say so."""
    return 0.5 * xp.ones_like(a)


@wrong(on=LINEAR, weights=("uniform",), loss_factor=0.5, breaks="LOS-1")
def factor_squared(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Half of the residual, squared: a quarter."""
    return 0.25 * xp.ones_like(a)


def _plain(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    return xp.ones_like(a)


@wrong(on=LINEAR, weights=("uniform",), reduction="example_mean", told="sums", breaks="LOS-2")
def sums_claimed_means(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Sums over each example, which the claim calls means."""
    return _plain(xp, a, s, prediction, weight)


@wrong(on=LINEAR, weights=("uniform",), told="example_mean", breaks="LOS-2")
def means_claimed_sums(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Means over each example, which the claim calls sums."""
    return _plain(xp, a, s, prediction, weight)


@FAMILY.of("loss", reduction="example_mean", breaks="LOS-1 LOS-2 LOS-4")
def mean_of_means_for_each(p: Process) -> Methods:
    """Each example is given the mean of the whole batch."""

    def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: Any) -> Any:
        a, s = over(np, p, t, x_0)
        squares = (denoiser(a * x_0 + s * eps, t) - target(a, s, prediction, x_0, eps)) ** 2
        return np.full(len(t), squares.mean(), np.float32)

    return {"loss": loss}
