"""How a check calls a target's loss, and what it expects of the call (chapter 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import ContractViolation, NotClaimed
from refdiff.conformance.interface import Array, Cosine, Denoiser, Linear, MinSNR, Own, Times, Weight
from refdiff.conformance.reproducer import Predicts

from ..expected import losses as expected
from ..expected.losses import Batch, Kind, Known
from ..expected.tiers import delta, exact
from ..oracles.certified import Floats, Quantity
from .inferred import scales

BY_LEVEL: tuple[Quantity, Quantity] = ("beta", "alpha_bar")
"""Quantities that determine the decay of alpha_bar."""


def known_scales(case: Case, t: Times, weight: Weight) -> Known:
    """Return the scales at the times t. Raises NotClaimed where the likelihood weight needs an unknown rate."""
    if weight != "likelihood":
        return Known(scales(case, t), np.zeros(len(t)), np.zeros(len(t)))
    if not isinstance(case.process, (Linear, Cosine)):
        raise NotClaimed("the likelihood weight is judged where the rate is known")
    beta = exact(case.process, "beta", t).value
    return Known(scales(case, t), beta, delta(case.process, "beta", t, case.format))


def losses(case: Case, kind: Kind, batch: Batch, known: Known) -> Expected:
    """Return the losses that are expected of each example, (n,), the factor of the claim included."""
    return expected.losses(kind, batch, known, case.format, case.claim.loss_factor)


def gammas(case: Case) -> tuple[MinSNR, ...]:
    """Return the min-SNR weights of the claim that have a gamma; of the type 1, 5 and one drawn by the seed."""
    listed = case.claim.weights
    drawn = round(float(np.random.default_rng([case.seed, 5]).uniform(0.25, 20.0)), 2)
    typed = (MinSNR(gamma=drawn), MinSNR(gamma=1.0), MinSNR(gamma=5.0)) if MinSNR in listed else ()
    return tuple(dict.fromkeys((*(weight for weight in listed if isinstance(weight, MinSNR)), *typed)))


def listed(case: Case, *weights: Weight) -> tuple[Weight, ...]:
    """Return those of the weights that the claim lists. Raises NotClaimed if it lists none."""
    if found := tuple(weight for weight in weights if weight in case.claim.weights):
        return found
    raise NotClaimed(f"the claim lists no weight {' and no '.join(map(str, weights))}")


def claimed(case: Case, *weights: Weight) -> tuple[Weight, ...]:
    """Return the same, and after them the claim's first min-SNR with a gamma."""
    parametric = gammas(case)[:1]
    try:
        return (*listed(case, *weights), *parametric)
    except NotClaimed:
        if not parametric:
            raise
        return parametric


def call(case: Case, kind: Kind, batch: Batch) -> tuple[Array, Predicts]:
    """Call the target's loss with a denoiser that returns a given prediction."""
    denoiser = Predicts(batch.predicted)
    return call_with(case, kind, batch, denoiser, denoiser.asked), denoiser


def call_with(case: Case, kind: Kind, batch: Batch, denoiser: Denoiser, calls: Sequence[tuple[Array, Any]]) -> Array:
    """Call the target's loss with a denoiser, which must be called once, with an x_t and a t for each example."""
    got = case.built.loss(denoiser, kind[0], batch.x_0, batch.eps, batch.t, kind[1])
    if len(calls) != 1 or calls[0][0].shape != batch.x_0.shape:
        shapes = ", ".join(str(x.shape) for x, _ in calls) or "no call"
        raise ContractViolation(
            "CON-2", f"expected loss to call the denoiser once, x_t {batch.x_0.shape}, got {shapes}"
        )
    if np.shape(calls[0][1]) != batch.t.shape:
        shape = np.shape(calls[0][1])
        raise ContractViolation(
            "CON-2", f"expected loss to call the denoiser with t of shape {batch.t.shape}, got {shape}"
        )
    return got


def reduced(case: Case, found: Expected, size: int) -> Expected:
    """Return the losses of a batch with the reduction that the target claims; size: of one example."""
    if case.built.reduction == "none":
        return found
    if case.built.reduction == "example_mean":
        return expected.each(found, size, case.format)
    share = 1.0 / (len(found.value) * (size if case.built.reduction == "all_mean" else 1))
    return expected.mean(found, share, case.format)


def time_tolerance(case: Case, t: Times) -> Floats:
    """Return the tolerance of the time passed to the denoiser (LOS-1).

    A network may take time in its own units, a t + b, or as a noise level, which an adapter converts back. Two
    roundings each way give 4u (t + b/a), with b/a at most 1/128; from a noise level, t is as accurate as alpha_bar.
    """
    if case.steps:
        return np.zeros(len(t))
    wide, u = t.astype(np.float64), case.format.u
    by_scaling = 4.0 * u * (wide + 2.0**-7)
    if isinstance(case.process, Own):
        return by_scaling
    beta, alpha_bar = (exact(case.process, name, t).value for name in BY_LEVEL)
    by_level = delta(case.process, "alpha_bar", t, case.format) / (beta * alpha_bar)
    return np.asarray(by_scaling + np.where(np.isfinite(by_level), by_level, 1.0))
