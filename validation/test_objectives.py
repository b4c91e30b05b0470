"""Chapter 5: does a target's loss obey LOS-1 to LOS-10."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from refdiff.conformance.check import check
from refdiff.conformance.guard import NotClaimed
from refdiff.conformance.interface import Chain, Cosine, Linear, Parameterization, Times, Weighting
from refdiff.conformance.subject import Subject

from .certify import JUDGE_U
from .conversions import converted
from .grids import drawn_data, drawn_times, times
from .losses import Batch, Kind, Known, Losses, asked, losses, reduced, wanted, weighed
from .oracles.certified import Floats
from .readings import scales
from .serving import served

PREDICTIONS: tuple[Parameterization, ...] = ("eps", "x_0", "v", "score")
KEYS = st.integers(0, 2**16)
EQUAL: tuple[tuple[Kind, Kind], ...] = (
    (("eps", "inverse_snr"), ("x_0", "uniform")),
    (("v", "inverse_snr"), ("x_0", "uniform")),
    (("eps", "min_snr"), ("x_0", "min_snr")),
    (("v", "min_snr"), ("x_0", "min_snr")),
    (("score", "min_snr"), ("eps", "min_snr")),
    (("score", "likelihood"), ("eps", "likelihood")),
)
"""Pairs of prediction and weight that are one loss (LOS-5)."""


def _drawn(subject: Subject, t: Times, event: tuple[int, ...], key: int) -> Batch:
    predicted, x_0, eps = (drawn_data(subject, t, event, key + i) for i in range(3))
    return Batch(predicted, x_0, eps, t)


def _batches(subject: Subject, domain: npt.NDArray[np.bool_], most: int = 24) -> list[npt.NDArray[np.intp]]:
    """Return all rows of the domain, or some one by one: the mean of a batch shows its largest losses only."""
    rows = np.flatnonzero(domain)
    if subject.built.reduction == "none":
        return [rows] if len(rows) else []
    return list(rows[:most, None])


def _compare(subject: Subject, kind: Kind, t: Times, event: tuple[int, ...] = (3,)) -> None:
    """Hold the losses of arbitrary predictions against the formula."""
    batch = _drawn(subject, t, event, 1)
    found = losses(kind, batch, Known.of(subject, t, kind[1]), subject.format)
    for rows in _batches(subject, found.domain):
        _judge(subject, kind, batch.rows(rows), found.rows(rows))


def _judge(subject: Subject, kind: Kind, batch: Batch, found: Losses) -> None:
    value, bound = reduced(subject, found, batch.size)
    got, _ = asked(subject, kind, batch)
    subject.expect(f"{kind[1]} {kind[0]} loss", got, value, bound, at={"t": batch.t})


def _weights(subject: Subject, weight: Weighting) -> None:
    t = times(subject, count=24)
    served(subject, PREDICTIONS, lambda prediction: _compare(subject, (prediction, weight), t))


@check("LOS-1", "loss")
def test_loss(subject: Subject) -> None:
    """LOS-1: the loss is w(t) sum (y_hat - y)^2, of what is predicted."""
    _weights(subject, "uniform")


@check("LOS-1", "loss")
def test_denoiser_is_given_the_marginal(subject: Subject) -> None:
    """LOS-1: the denoiser sees x_t = alpha x_0 + sigma eps."""

    def body(t: Times, key: int) -> None:
        batch, q = _drawn(subject, t, (2,), key), scales(subject, t).shaped(2)
        x_0, eps = batch.x_0.astype(np.float64), batch.eps.astype(np.float64)
        size = q.alpha * np.abs(x_0) + q.sigma * np.abs(eps)
        bound = np.abs(x_0) * q.d_alpha + np.abs(eps) * q.d_sigma + (4.0 * subject.format.u + JUDGE_U) * size
        _, denoiser = asked(subject, ("eps", "uniform"), batch)
        want, got = q.alpha * x_0 + q.sigma * eps, denoiser.asked[0][0]
        subject.expect("x_t given to the denoiser", got, want, bound + subject.format.smallest, at={"t": t})

    subject.law(body, t=drawn_times(subject), key=KEYS)


@check("LOS-2", "loss")
def test_reduction(subject: Subject) -> None:
    """LOS-2: a weight multiplies before any mean is taken; sums and means are what the claim says."""

    def one(weight: Weighting) -> None:
        def body(t: Times, key: int, event: tuple[int, ...]) -> None:
            batch = _drawn(subject, t, event, key)
            found = losses(("x_0", weight), batch, Known.of(subject, t, weight), subject.format)
            if found.domain.all():
                _judge(subject, ("x_0", weight), batch, found)

        shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
        subject.law(body, t=drawn_times(subject, least=2, most=4), key=KEYS, event=shapes)

    weights: tuple[Weighting, ...] = ("uniform", "min_snr")
    served(subject, weights, one)


@check("LOS-3", "loss")
def test_perfect_prediction_costs_nothing(subject: Subject) -> None:
    """LOS-3: the truth has loss 0 under every weight; exactly 0 for x_0."""
    t = times(subject, count=16)

    def one(kind: Kind) -> None:
        batch, known = _drawn(subject, t, (2,), 1), Known.of(subject, t, kind[1])
        truth = wanted(kind[0], batch, known.at, subject.format)
        batch = replace(batch, predicted=subject.format.rounded(np.where(truth.domain[:, None], truth.value, 0.0)))
        found = losses(kind, batch, known, subject.format)
        for rows in _batches(subject, found.domain, most=6):
            few, part = batch.rows(rows), found.rows(rows)
            value, bound = reduced(subject, part, few.size)
            limit = {"x_0": 0.0, "eps": _by_way_of_x_0(subject, kind, few)}.get(kind[0], value + bound)
            got, _ = asked(subject, kind, few)
            subject.expect(f"{kind[1]} {kind[0]} loss of the truth", got, 0.0, limit, at={"t": few.t})

    weights: tuple[Weighting, ...] = ("uniform", "inverse_snr", "min_snr")
    served(subject, tuple((p, w) for p in PREDICTIONS for w in weights), one)


def _by_way_of_x_0(subject: Subject, kind: Kind, batch: Batch) -> Floats | float:
    """Return what the loss of the true eps may be if it is made from x_0_hat: w sum (16u (|eps| + |x_0|/sigma))^2."""
    known = Known.of(subject, batch.t, kind[1])
    sigma = known.at.shaped(batch.x_0.ndim).sigma
    with np.errstate(all="ignore"):
        size = np.abs(batch.eps.astype(np.float64)) + np.abs(batch.x_0.astype(np.float64)) / sigma
        weight = weighed(kind, known, subject.format)[0]
        loss = weight * ((16.0 * subject.format.u * size) ** 2).reshape(len(batch.t), -1).sum(1)
    # Where sigma is 0, or the weight infinite, x_0_hat tells nothing of eps: exactly 0 then.
    loss = np.where(np.isfinite(loss), loss, 0.0)
    return loss if subject.built.reduction == "none" else float(loss.sum())


@check("LOS-4", "loss")
def test_each_example_has_its_loss(subject: Subject) -> None:
    """LOS-4: permuting the batch permutes the losses, or leaves their mean."""

    def body(t: Times, key: int) -> None:
        kind: Kind = ("eps", "uniform")
        batch = _drawn(subject, t, (2,), key)
        found = losses(kind, batch, Known.of(subject, t, "uniform"), subject.format)
        order = np.random.default_rng(key).permutation(len(t))
        want = np.asarray(asked(subject, kind, batch)[0], dtype=np.float64)
        got, _ = asked(subject, kind, batch.rows(order))
        _, bound = reduced(subject, found.rows(order), batch.size)
        want = want[order] if want.ndim else want
        subject.expect("eps loss of the permuted batch", got, want, 2.0 * bound, at={"t": t[order]})

    subject.law(body, t=drawn_times(subject, least=2), key=KEYS)


@check("LOS-5", "loss")
def test_one_error_has_four_faces(subject: Subject) -> None:
    """LOS-5: losses of one prediction, converted, agree when their weights are converted too."""
    t = times(subject, count=16)

    def one(pair: tuple[Kind, Kind]) -> None:
        batch, known = _drawn(subject, t, (2,), 1), Known.of(subject, t, pair[0][1])
        q = known.at.shaped(2)
        x_t = q.alpha * batch.x_0.astype(np.float64) + q.sigma * batch.eps.astype(np.float64)
        there = converted((pair[1][0], pair[0][0]), batch.predicted, x_t, known.at, subject.format)
        with np.errstate(all="ignore"):
            other = subject.format.rounded(np.where(there.domain, there.want, 0.0))
        faces = (replace(batch, predicted=other), batch)
        found = [losses(kind, face, known, subject.format) for kind, face in zip(pair, faces, strict=True)]
        domain = found[0].domain & found[1].domain & (there.domain & np.isfinite(other)).all(axis=1)
        for rows in _batches(subject, domain, most=12):
            parts = [(face.rows(rows), part.rows(rows)) for face, part in zip(faces, found, strict=True)]
            _agree(subject, pair, parts)

    served(subject, EQUAL, one)


def _agree(subject: Subject, pair: tuple[Kind, Kind], parts: list[tuple[Batch, Losses]]) -> None:
    (one, other), (first, second) = (
        [asked(subject, kind, batch)[0].astype(np.float64) for kind, (batch, _) in zip(pair, parts, strict=True)],
        [reduced(subject, found, batch.size) for batch, found in parts],
    )
    # The converted prediction is rounded to the format: the two losses differ by as much as their exact values do.
    bound = first[1] + second[1] + np.abs(first[0] - second[0])
    name = " against ".join(f"{weight} {prediction} loss" for prediction, weight in pair)
    subject.expect(name, one, other, bound, at={"t": parts[0][0].t})


@check("LOS-6", "loss", on=(Chain,))
def test_simple_loss_at_every_index(subject: Subject) -> None:
    """LOS-6: the simple loss of DDPM has the weight 1 at every k, the first and the last included."""
    _compare(subject, ("eps", "uniform"), times(subject), event=(1,))


@check("LOS-7", "loss")
def test_inverse_snr(subject: Subject) -> None:
    """LOS-7: inverse_snr is 1/SNR on eps, 1 on x_0."""
    _weights(subject, "inverse_snr")


@check("LOS-8", "loss")
def test_min_snr(subject: Subject) -> None:
    """LOS-8: min_snr is min(SNR, 5) on x_0, over SNR on eps, over SNR + 1 on v."""
    _weights(subject, "min_snr")


@check("LOS-9", "loss", on=(Linear, Cosine))
def test_weights_at_the_ends(subject: Subject) -> None:
    """LOS-9: where SNR is 0 or infinite, a weight with a limit has that limit."""
    if subject.inner:
        raise NotClaimed("the ends of time are not served")
    t = subject.format.rounded(np.array([0.0, 1.0]))
    weights: tuple[Weighting, ...] = ("uniform", "inverse_snr", "min_snr")
    predictions: tuple[Parameterization, ...] = ("eps", "x_0", "v")
    served(subject, tuple((p, w) for p in predictions for w in weights), lambda kind: _compare(subject, kind, t))


@check("LOS-10", "loss", on=(Linear, Cosine))
def test_likelihood(subject: Subject) -> None:
    """LOS-10: likelihood is beta on the score, beta/sigma^2 on eps."""
    _weights(subject, "likelihood")
