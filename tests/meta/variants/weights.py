"""Weights snr, snr_plus_one and min-SNR of any gamma, constant factors, and means over the event."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

from refdiff.conformance.interface import MinSNR, Process, Unsupported
from tests.meta.variants.base import over
from tests.meta.variants.libraries import NUMPY, NUMPY64, TORCH, TORCH64, Library
from tests.meta.variants.losses import target
from tests.meta.variants.variant import COSINE, DDPM, LINEAR, SHORT, Claimed, Family, Methods

FAMILY = Family("weights")
NEW = ("snr", "snr_plus_one")
Weigh = Callable[..., Any]
"""(xp, alpha, sigma, prediction, weight) -> factor on the square of the prediction's error."""


def weighing(
    *libraries: Library,
    on: Claimed | tuple[Claimed, ...] = (LINEAR, COSINE),
    only: str = "",
    family: Family = FAMILY,
    **claimed: Any,
) -> Callable[[Weigh], Weigh]:
    """Add a weight as a variant of each library; only: the prediction served.

    claimed: fields of the claim, and `breaks`.
    """

    def add(weigh: Weigh) -> Weigh:
        for library in libraries:
            family.add(
                _losing(library, weigh, only, claimed.get("reduction", "sums")),
                "loss",
                on=on,
                name=f"{weigh.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(weigh.__doc__ or "").strip(),
                dtype=library.dtype,
                **claimed,
            )
        return weigh

    return add


def _losing(library: Library, weigh: Weigh, only: str, reduction: str) -> Callable[[Process], Methods]:
    xp = library.xp

    def make(p: Process) -> Methods:
        def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: Any) -> Any:
            if only and prediction != only:
                raise Unsupported(f"no {prediction}")
            x, e = library.into(x_0), library.into(eps)
            a, s = over(xp, p, library.into(t), x)
            y = library.into(denoiser(library.out(a * x + s * e), t))
            squares = weigh(xp, a, s, prediction, weight) * (y - target(a, s, prediction, x, e)) ** 2
            rows = (squares + xp.zeros_like(x)).reshape(len(t), -1)
            means = {"sums": rows.sum(1), "example_mean": rows.mean(1), "all_mean": rows.mean()}
            return library.out(means[reduction])

        return {"loss": loss}

    return make


@weighing(NUMPY, NUMPY64, TORCH, on=(LINEAR, COSINE, SHORT), weights=NEW)
def of_scales(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """The last two columns of the table, by squares of alpha and sigma."""
    one = xp.ones_like(a)
    if weight == "snr":
        return {"eps": one, "x_0": (a / s) ** 2, "v": a * a, "score": s * s}[prediction]
    return {"eps": 1.0 / (a * a), "x_0": 1.0 / (s * s), "v": one, "score": (s / a) ** 2}[prediction]


@weighing(NUMPY, TORCH64, on=(LINEAR, DDPM), weights=NEW, t_min=1e-3, reduction="example_mean")
def of_ratios(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """ddpm-pytorch's: snr on x_0, over snr for eps, over snr + 1 for v, and a mean over each example."""
    snr = (a / s) ** 2
    base = snr if weight == "snr" else snr + 1.0
    return {"eps": base / snr, "x_0": base, "v": base / (snr + 1.0), "score": base / snr * s * s}[prediction]


@weighing(TORCH, on=(LINEAR, SHORT), weights=(MinSNR,), t_min=1e-3)
def of_any_gamma(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """min(snr, gamma), over snr for eps, over snr + 1 for v, as diffusers' examples have it."""
    snr = (a / s) ** 2
    least = xp.where(snr < weight.gamma, snr, weight.gamma * xp.ones_like(snr))
    return {"eps": least / snr, "x_0": least, "v": least / (snr + 1.0), "score": least / snr * s * s}[prediction]


@weighing(NUMPY64, weights=("min_snr", MinSNR(gamma=0.75)), t_min=1e-3, t_max=0.99)
def of_two_gammas(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """min_snr by name, and of gamma = 3/4."""
    return of_any_gamma(xp, a, s, prediction, MinSNR(gamma=5.0) if weight == "min_snr" else weight)


@weighing(NUMPY, on=(LINEAR, SHORT), weights=("uniform",), loss_factor=0.5)
def half_a_sum(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """Half of a sum of squares, and no adapter that doubles it."""
    return 0.5 * xp.ones_like(a)


@weighing(NUMPY, only="v", weights=("uniform",), loss_factor=pi**2 / 4.0, reduction="all_mean")
def of_the_velocity(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """torchcfm's, of the trigonometric path: the square of pi/2 v, a mean over all."""
    return (0.5 * pi) ** 2 * xp.ones_like(a)


@weighing(TORCH, weights=("uniform",), reduction="example_mean", loss_factor=1000.0)
def a_thousand_means(xp: Any, a: Any, s: Any, prediction: str, weight: Any) -> Any:
    """A mean over each example, times a thousand."""
    return 1000.0 * xp.ones_like(a)
