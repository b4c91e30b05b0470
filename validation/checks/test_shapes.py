"""Chapter 0: does a target treat each example by itself, in every capability (NOT-2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import get_args

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import (
    Array,
    Cosine,
    Linear,
    Own,
    Rule,
    Times,
    Unsupported,
)
from refdiff.conformance.step import Step

from ..expected.conversions import BY_ALPHA, BY_SIGMA, TERMS, Pair
from ..expected.losses import Batch, Kind
from .grids import drawn_data, events_of, middle
from .inferred import scales
from .losses import call, claimed, known_scales, losses, reduced
from .narrowing import conversions, predictions
from .serving import first_step, served

BATCH = 5
EVENTS = ((), (3,), (BATCH,), (2, 1, 2), (1, 3, 2, 2))
"""No event, one of the batch's size, and others of any rank."""
DIVIDE = BY_ALPHA | BY_SIGMA
"""Conversions that divide by a scale."""
TYPICAL: tuple[Pair, ...] = (("eps", "x_0"), ("x_0", "eps"), ("v", "x_0"), ("eps", "score"))
"""Those to judge by, unless the target serves none of them."""


def _times(case: Case) -> tuple[Times, Times]:
    """Return times from the middle of the process, in no order, and an earlier one for each."""
    share = np.array([0.5, 0.3125, 0.6875, 0.4375, 0.5625])
    t = middle(case, share)
    return t, t - 1 if case.steps else middle(case, share / 2.0)


def _tolerance(case: Case, t: Times) -> float:
    """Return what one number may differ by from itself, computed in other company, for inputs of unit scale.

    The same formula on the same input: 64 roundings, enlarged by the divisors alpha and sigma, squared for
    a score or a posterior.
    """
    if isinstance(case.process, Own) and "perturb" not in case.capabilities:
        return 2.0**12 * case.format.u
    at = scales(case, t)
    # A scale below its own uncertainty is as good as that: what divides by it is not asked for.
    at = replace(at, alpha=np.maximum(at.alpha, at.d_alpha), sigma=np.maximum(at.sigma, at.d_sigma))
    return float(64.0 * case.format.u / np.min(at.alpha * at.sigma) ** 2)


@check("NOT-2", "schedule")
def test_times_by_themselves(case: Case) -> None:
    """NOT-2: a quantity at t is that at t, whatever other times stand beside it, in whatever order."""
    t, _ = _times(case)
    together = case.built.coefficients(t)
    for i in range(len(t)):
        alone = case.built.coefficients(t[i : i + 1])
        for name, values in together.items():
            want = float(alone[name][0])
            bound = _tolerance(case, t) * max(1.0, abs(want))
            case.expect(f"{name}, alone", values[i : i + 1], Expected(want, bound), at={"t": t[i : i + 1]})


@check("NOT-2", "perturb")
def test_perturb_example_by_example(case: Case) -> None:
    """NOT-2: an example is noised as it would be alone, and its event is a list of numbers, whatever its shape."""
    _by_example(case, {"x_t": lambda x, y, t, s: case.built.perturb(x, y, t)})


@check("NOT-2", "convert")
def test_convert_example_by_example(case: Case) -> None:
    """NOT-2: the same of conversions, those that divide by a scale that is not known from 0 left out."""
    t, _ = _times(case)
    known = _known(case, t)

    def call(pair: Pair) -> Callable[[Array, Array, Times, Times], Array]:
        return lambda x, y, t, s: case.built.convert(x, y, t, *pair)

    def judge(pairs: Sequence[Pair], events: tuple[tuple[int, ...], ...] = EVENTS) -> None:
        known_pairs = [pair for pair in pairs if pair not in DIVIDE or known]
        _by_example(case, {f"{to} from {source}": call((source, to)) for source, to in known_pairs}, events)

    claimed_pairs = conversions(case, tuple(TERMS))
    typical = [pair for pair in TYPICAL if pair in claimed_pairs]
    others = [pair for pair in claimed_pairs if pair not in TYPICAL]
    if not typical:
        judge(others)
        return
    try:
        judge(typical)
    except Unsupported as refusal:
        case.refusals.append(str(refusal))
        judge(others)
        return
    # What is wrong in one pair alone is seen in an event of a high rank. Pairs that are refused are listed by PAR.
    listed = len(case.refusals)
    with suppress(Unsupported):
        judge(others, EVENTS[-1:])
    del case.refusals[listed:]


def _known(case: Case, t: Times) -> bool:
    """Say whether alpha and sigma are known from 0 at all of these times, by an eighth."""
    if isinstance(case.process, Own) and "perturb" not in case.capabilities:
        return True
    at = scales(case, t)
    return bool(np.all((8.0 * at.d_alpha <= at.alpha) & (8.0 * at.d_sigma <= at.sigma)))


@check("NOT-2", "posterior")
def test_posterior_example_by_example(case: Case) -> None:
    """NOT-2: the same of the posterior's mean and variance."""
    _by_example(
        case,
        {
            "posterior mean": lambda x, y, t, s: case.built.posterior(x, y, t, s)[0],
            "posterior variance": lambda x, y, t, s: case.built.posterior(x, y, t, s)[1],
        },
    )


@check("NOT-2", "step")
def test_step_example_by_example(case: Case) -> None:
    """NOT-2: the same of steps, by each rule."""
    t, _ = _times(case)
    if not _known(case, t):
        raise NotClaimed("a step divides by a scale that is not known from 0")

    def call(asked: Step) -> Callable[[Array, Array, Times, Times], Array]:
        return lambda x, y, t, s: case.built.step(x, y, t, s, x, asked)

    # A chain has no rate, which em and ode need.
    kinds: tuple[Rule, ...] = ("ddpm", "ddim") if case.steps else get_args(Rule)
    claimed = [kind for kind in kinds if any(step.kind == kind for step in case.claim.steps)]
    if not claimed:
        raise NotClaimed("the claim lists no step that a chain has")
    _by_example(case, {kind: call(first_step(case, kind)) for kind in claimed}, grows=True)


@check("NOT-2", "sde", on=(Linear, Cosine, Own))
def test_drift_example_by_example(case: Case) -> None:
    """NOT-2: the same of the drift."""
    _by_example(case, {"drift": lambda x, y, t, s: case.built.drift(x, t)}, grows=True)


@check("NOT-2", "loss")
def test_loss_example_by_example(case: Case) -> None:
    """NOT-2: an example has the loss, and the weight, that it would have alone, whatever the shape of its event.

    A weight goes wrong along the event where that has the size of the batch: the other events need no weight.
    """
    t, _ = _times(case)
    weights = claimed(case, "uniform", "inverse_snr", "min_snr")

    def one(kind: Kind) -> None:
        known = known_scales(case, t, kind[1])
        for event in events_of(case, EVENTS if kind[1] == weights[0] else ((BATCH,),)):
            predicted, x_0, eps = (drawn_data(case, t, event, key) for key in (1, 2, 3))
            batch = Batch(predicted, x_0, eps, t)
            found = losses(case, kind, batch, known)
            if not found.domain.all():
                continue
            rows = [batch.rows(np.array([i])) for i in range(BATCH)]
            alone = np.array([call(case, kind, row)[0] for row in rows], dtype=np.float64).reshape(BATCH)
            got, _ = call(case, kind, batch)
            tolerance = 2.0 * reduced(case, found, batch.size).tolerance
            want = alone if case.built.reduction in ("none", "example_mean") else alone.mean()
            what = f"{kind[1]} {kind[0]} loss, event of shape {event}, against the examples alone"
            # Both sides come from the target: each has the error of the bound at most.
            case.expect(what, got, Expected(want, tolerance), at={"t": t})

    served(case, tuple((p, w) for p in predictions(case) for w in weights), one)


def _by_example(
    case: Case,
    calls: Mapping[str, Callable[[Array, Array, Times, Times], Array]],
    events: tuple[tuple[int, ...], ...] = EVENTS,
    *,
    grows: bool = False,
) -> None:
    """Compare calls on a batch with calls on each example; grows: a result may be larger than the inputs, by a rate."""
    t, s = _times(case)

    def one(name: str) -> None:
        for event in events_of(case, events):
            x, y = (drawn_data(case, t, event, key) for key in (1, 2))
            together = calls[name](x, y, t, s).reshape(BATCH, -1)
            for i in range(BATCH):
                row = slice(i, i + 1)
                alone = (x[row], y[row])
                if case.claim.events is None:
                    alone = (x[row].reshape(1, -1), y[row].reshape(1, -1))
                want = calls[name](*alone, t[row], s[row]).reshape(1, -1).astype(np.float64)
                size = max(1.0, *(float(np.abs(values).max()) for values in (x[i], y[i], *([want] if grows else []))))
                bound = _tolerance(case, t) * size
                what = f"{name}, event of shape {event}, against the example alone"
                case.expect(what, together[i : i + 1], Expected(want, bound), at={"t": t[i : i + 1]})

    served(case, tuple(calls), one)
