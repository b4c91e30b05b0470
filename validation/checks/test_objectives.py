"""Chapter 5: does a target's loss obey LOS-1 to LOS-10, LOS-16 and LOS-17."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from refdiff.conformance.case import Case
from refdiff.conformance.check import check
from refdiff.conformance.comparison import Expected
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Cosine, Linear, Times, Weight
from refdiff.conformance.predictions import predicts

from ..expected.conversions import converted
from ..expected.losses import Batch, Kind, Solves, truth, weight
from ..expected.marginal import noised
from ..expected.tiers import column
from .grids import drawn_data, drawn_events, drawn_times, event_of, middle, serves, times
from .inferred import scales
from .losses import call, call_with, claimed, gammas, known_scales, listed, losses, reduced, time_tolerance
from .narrowing import asked, predictions
from .serving import served

LIMITED: tuple[Weight, ...] = ("uniform", "inverse_snr", "min_snr", "snr", "snr_plus_one")
"""Weights that are judged of every process, the ends included."""
WEIGHTS: tuple[Weight, ...] = (*LIMITED, "likelihood")
KEYS = st.integers(0, 2**16)
EQUAL: tuple[tuple[Kind, Kind], ...] = (
    (("eps", "inverse_snr"), ("x_0", "uniform")),
    (("v", "inverse_snr"), ("x_0", "uniform")),
    (("eps", "min_snr"), ("x_0", "min_snr")),
    (("v", "min_snr"), ("x_0", "min_snr")),
    (("score", "min_snr"), ("eps", "min_snr")),
    (("score", "likelihood"), ("eps", "likelihood")),
    (("eps", "uniform"), ("x_0", "snr")),
    (("v", "snr"), ("eps", "snr")),
    (("v", "uniform"), ("x_0", "snr_plus_one")),
    (("eps", "snr_plus_one"), ("x_0", "snr_plus_one")),
)
"""Pairs of prediction and weight that are one loss (LOS-5)."""


def _drawn(case: Case, t: Times, event: tuple[int, ...], key: int) -> Batch:
    predicted, x_0, eps = (drawn_data(case, t, event, key + i) for i in range(3))
    return Batch(predicted, x_0, eps, t)


def _batches(case: Case, domain: npt.NDArray[np.bool_], most: int = 24) -> list[npt.NDArray[np.intp]]:
    """Return all rows of the domain, or some one by one: the mean of a batch shows its largest losses only."""
    rows = np.flatnonzero(domain)
    if case.built.reduction in ("none", "example_mean"):
        return [rows] if len(rows) else []
    return list(rows[:most, None])


def _compare(case: Case, kind: Kind, t: Times, event: tuple[int, ...]) -> None:
    """Hold the losses of arbitrary predictions against the formula."""
    batch = _drawn(case, t, event, 1)
    found = losses(case, kind, batch, known_scales(case, t, kind[1]))
    for rows in _batches(case, found.domain):
        _judge(case, kind, batch.rows(rows), found.rows(rows))


def _judge(case: Case, kind: Kind, batch: Batch, found: Expected) -> None:
    got, _ = call(case, kind, batch)
    case.expect(f"{kind[1]} {kind[0]} loss", got, reduced(case, found, batch.size), at={"t": batch.t})


def _weights(case: Case, *weights: Weight) -> None:
    """Judge the losses of each prediction with these weights."""
    event = event_of(case, (3,))

    def one(kind: Kind) -> None:
        _compare(case, kind, times(case, count=24, event=event), event)

    kinds = tuple((prediction, weight) for weight in weights for prediction in predictions(case))
    served(case, kinds, one, again=True)


def _kinds(case: Case, weights: tuple[Weight, ...], *, each: bool) -> list[Kind]:
    """Return the predictions and weights that the target serves; each: the first weight only, of each prediction.

    Raises Unsupported if there are none.
    """
    t, event = middle(case, (0.5,)), event_of(case, (2,))
    found: dict[Kind, None] = {}

    def ask(kind: Kind) -> None:
        if not (each and any(prediction == kind[0] for prediction, _ in found)):
            known_scales(case, t, kind[1])
            call(case, kind, _drawn(case, t, event, 1))
            found[kind] = None

    served(case, tuple((prediction, weight) for prediction in predictions(case) for weight in weights), ask)
    return list(found)


@check("LOS-1", "loss")
def test_loss(case: Case) -> None:
    """LOS-1: the loss is w(t) sum (y_hat - y)^2, of what is predicted."""
    _weights(case, claimed(case, *WEIGHTS)[0])


@check("LOS-1", "loss")
def test_denoiser_is_given_the_marginal(case: Case) -> None:
    """LOS-1: the denoiser sees x_t = alpha x_0 + sigma eps and its t, whatever it predicts."""
    event = event_of(case, (2,))
    kinds = _kinds(case, claimed(case, *WEIGHTS), each=True)

    def body(t: Times, key: int) -> None:
        whole = _drawn(case, t, event, key)
        for kind in kinds:
            # A score, and a weight, may divide by a scale: the loss exists where that is known from 0.
            domain = losses(case, kind, whole, known_scales(case, t, kind[1])).domain
            if domain.any():
                given_the_marginal(kind, whole.rows(np.flatnonzero(domain)))

    def given_the_marginal(kind: Kind, batch: Batch) -> None:
        t, at = batch.t, scales(case, batch.t)
        _, denoiser = call(case, kind, batch)
        (x_t, given), name = denoiser.asked[0], f"given to the denoiser of {kind[0]}"
        case.expect(f"x_t {name}", x_t, noised(batch.x_0, batch.eps, at, case.format), at={"t": t})
        case.expect(f"t {name}", given, Expected(t, time_tolerance(case, t)), at={"t": t})

    case.law(body, t=drawn_times(case), key=KEYS)


@check("LOS-2", "loss")
def test_reduction(case: Case) -> None:
    """LOS-2: a weight multiplies before any mean is taken; sums and means are what the claim says."""
    kinds = _kinds(case, claimed(case, "uniform", "min_snr"), each=False)

    def body(t: Times, key: int, event: tuple[int, ...], kind: Kind) -> None:
        batch = _drawn(case, t, event, key)
        found = losses(case, kind, batch, known_scales(case, t, kind[1]))
        if found.domain.all():
            _judge(case, kind, batch, found)

    shapes = drawn_events(case, st.lists(st.integers(1, 3), max_size=3).map(tuple))
    strategies = {"t": drawn_times(case, least=2, most=4), "key": KEYS, "event": shapes}
    case.law(body, **strategies, kind=st.sampled_from(kinds))


@check("LOS-3", "loss")
def test_perfect_prediction_costs_nothing(case: Case) -> None:
    """LOS-3: the truth has loss 0 under every weight, within what a loss by way of another prediction may lose."""
    event = event_of(case, (2,))

    def one(kind: Kind) -> None:
        t = times(case, count=16, event=event)
        batch, known = _drawn(case, t, event, 1), known_scales(case, t, kind[1])
        right = truth(kind[0], batch, known.at, case.format)
        shown = np.where(column(right.domain, batch.x_0.ndim), right.value, 0.0)
        batch = replace(batch, predicted=case.format.rounded(shown))
        found = losses(case, kind, batch, known)
        for rows in _batches(case, found.domain, most=6):
            few, part = batch.rows(rows), found.rows(rows)
            of_rounded = reduced(case, part, few.size)
            got, _ = call(case, kind, few)
            expected = Expected(0.0, of_rounded.value + of_rounded.tolerance)
            case.expect(f"{kind[1]} {kind[0]} loss of the truth", got, expected, at={"t": few.t})

    served(case, tuple((p, w) for p in predictions(case) for w in claimed(case, *LIMITED)), one, again=True)


@check("LOS-3", "loss")
def test_truth_of_what_is_given_costs_nothing(case: Case) -> None:
    """LOS-3: a denoiser that computes the noise from the x_t it is given, and so the truth, has loss 0."""
    event = event_of(case, (2,))

    def one(kind: Kind) -> None:
        t = times(case, count=16, event=event)
        batch, known = _drawn(case, t, event, 1), known_scales(case, t, kind[1])
        size = np.abs(batch.x_0.astype(np.float64)) + np.abs(batch.eps.astype(np.float64))
        solves = Solves(kind[0], batch.x_0, known.at, case.format)
        exact = replace(batch, predicted=case.format.rounded(solves.exact(batch.eps.astype(np.float64))))
        found = losses(case, kind, exact, known)
        squares = (solves.tolerance(size) ** 2).reshape(len(t), -1).sum(1)
        lost = 2.0 * case.claim.loss_factor * weight(kind, known, case.format).value * squares
        domain = found.domain & np.isfinite(lost) & (8.0 * known.at.d_sigma <= known.at.sigma)
        found = Expected(found.value, 2.0 * (found.value + found.tolerance) + lost, domain)
        for rows in _batches(case, domain, most=6):
            few = batch.rows(rows)
            denoiser = Solves(kind[0], few.x_0, known.at.rows(rows), case.format)
            got = call_with(case, kind, few, denoiser, denoiser.calls)
            expected = Expected(0.0, reduced(case, found.rows(rows), few.size).tolerance)
            name = f"{kind[1]} {kind[0]} loss of the truth of the x_t given"
            case.expect(name, got, expected, at={"t": few.t})

    predicted = predictions(case, "eps", "v", "score")
    served(case, tuple((p, w) for p in predicted for w in claimed(case, *LIMITED)), one, again=True)


@check("LOS-4", "loss")
def test_each_example_has_its_loss(case: Case) -> None:
    """LOS-4: permuting the batch permutes the losses, or leaves their mean."""
    event = event_of(case, (2,))
    kinds = _kinds(case, claimed(case, *LIMITED), each=True)

    def body(t: Times, key: int, kind: Kind) -> None:
        batch = _drawn(case, t, event, key)
        found = losses(case, kind, batch, known_scales(case, t, kind[1]))
        if not found.domain.all():
            return
        order = np.random.default_rng(key).permutation(len(t))
        before, _ = call(case, kind, batch)
        got, _ = call(case, kind, batch.rows(order))
        tolerance = 2.0 * reduced(case, found.rows(order), batch.size).tolerance
        expected = Expected(before[order] if before.ndim else before, tolerance)
        case.expect(f"{kind[1]} {kind[0]} loss of the permuted batch", got, expected, at={"t": t[order]})

    case.law(body, t=drawn_times(case, least=2), key=KEYS, kind=st.sampled_from(kinds))


@check("LOS-5", "loss")
def test_losses_of_converted_predictions_agree(case: Case) -> None:
    """LOS-5: losses of one prediction, converted, agree when their weights are converted too."""
    event = event_of(case, (2,))

    def one(pair: tuple[Kind, Kind]) -> None:
        t = times(case, count=16, event=event)
        batch, known = _drawn(case, t, event, 1), known_scales(case, t, pair[0][1])
        q = known.at.shaped(batch.x_0.ndim)
        x_t = q.alpha * batch.x_0.astype(np.float64) + q.sigma * batch.eps.astype(np.float64)
        there = converted((pair[1][0], pair[0][0]), batch.predicted, x_t, known.at, case.format)
        other = case.format.rounded(np.where(there.domain, there.value, 0.0))
        faces = (replace(batch, predicted=other), batch)
        found = [losses(case, kind, face, known) for kind, face in zip(pair, faces, strict=True)]
        inside = (there.domain & np.isfinite(other)).reshape(len(t), -1).all(axis=1)
        domain = found[0].domain & found[1].domain & inside
        for rows in _batches(case, domain, most=12):
            parts = [(face.rows(rows), part.rows(rows)) for face, part in zip(faces, found, strict=True)]
            _agree(case, pair, parts)

    served(case, _equal(case), one, again=True)


def _equal(case: Case) -> tuple[tuple[Kind, Kind], ...]:
    """Return the pairs of predictions and weights that the claim lists. Raises NotClaimed if there are none."""
    weights = {weight for pair in EQUAL for _, weight in pair}
    has = claimed(case, *(w for w in (*WEIGHTS,) if w in weights))
    parametric: tuple[tuple[Kind, Kind], ...] = tuple(
        ((prediction, w), ("x_0", w)) for w in gammas(case)[:1] for prediction in ("eps", "v")
    )
    if found := (*(pair for pair in EQUAL if all(w in has for _, w in pair)), *parametric):
        return asked(case, found, lambda claim, pair: all(predicts(claim, prediction) for prediction, _ in pair))
    raise NotClaimed("the claim lists no two weights that give one loss")


def _agree(case: Case, pair: tuple[Kind, Kind], parts: list[tuple[Batch, Expected]]) -> None:
    (one, other), (first, second) = (
        [call(case, kind, batch)[0].astype(np.float64) for kind, (batch, _) in zip(pair, parts, strict=True)],
        [reduced(case, found, batch.size) for batch, found in parts],
    )
    # The converted prediction is rounded to the format: the two losses differ by as much as their exact values do.
    tolerance = first.tolerance + second.tolerance + np.abs(first.value - second.value)
    name = " against ".join(f"{weight} {prediction} loss" for prediction, weight in pair)
    case.expect(name, one, Expected(other, tolerance), at={"t": parts[0][0].t})


@check("LOS-6", "loss", on=(Chain,))
def test_simple_loss_at_every_index(case: Case) -> None:
    """LOS-6: the simple loss of DDPM has the weight 1 at every k, the first and the last included."""
    listed(case, "uniform")
    predictions(case, "eps")
    event = event_of(case, (1,))
    _compare(case, ("eps", "uniform"), times(case, event=event), event)


@check("LOS-7", "loss")
def test_inverse_snr(case: Case) -> None:
    """LOS-7: inverse_snr is 1/SNR on eps, 1 on x_0."""
    _weights(case, *listed(case, "inverse_snr"))


@check("LOS-8", "loss")
def test_min_snr(case: Case) -> None:
    """LOS-8: min_snr is min(SNR, gamma) on x_0, over SNR on eps, over SNR + 1 on v, for each gamma that is claimed."""
    parametric = gammas(case)
    named = listed(case, "min_snr") if not parametric or "min_snr" in case.claim.weights else ()
    _weights(case, *named, *parametric)


@check("LOS-9", "loss", on=(Linear, Cosine))
def test_weights_at_the_ends(case: Case) -> None:
    """LOS-9: where SNR is 0 or infinite, a weight with a limit has that limit."""
    ends = [t for t in (0.0, 1.0) if serves(case, t)]
    if not ends:
        raise NotClaimed("the ends of time are not claimed, or not served")
    t, event = case.format.rounded(np.array(ends)), event_of(case, (3,))
    predicted = predictions(case, "eps", "x_0", "v")
    kinds = tuple((p, w) for p in predicted for w in claimed(case, *LIMITED))
    served(case, kinds, lambda kind: _compare(case, kind, t, event))


@check("LOS-16", "loss")
def test_snr(case: Case) -> None:
    """LOS-16: snr is SNR on x_0, 1 on eps, alpha^2 on v."""
    _weights(case, *listed(case, "snr"))


@check("LOS-17", "loss")
def test_snr_plus_one(case: Case) -> None:
    """LOS-17: snr_plus_one is SNR + 1 on x_0, 1/alpha^2 on eps, 1 on v."""
    _weights(case, *listed(case, "snr_plus_one"))


@check("LOS-10", "loss", on=(Linear, Cosine))
def test_likelihood(case: Case) -> None:
    """LOS-10: likelihood is beta on the score, beta/sigma^2 on eps."""
    _weights(case, *listed(case, "likelihood"))
