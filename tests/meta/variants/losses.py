"""The loss w(t) sum (y_hat - y)^2: by way of each prediction, with weights put together in every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from refdiff.conformance.interface import Chain, Process, Unsupported
from tests.meta.variants.base import over, rate
from tests.meta.variants.libraries import NUMPY, NUMPY64, TORCH, TORCH64, Library
from tests.meta.variants.variant import COSINE, DDPM, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("losses")
BOTH = (LINEAR, COSINE)
Squares = Callable[..., Any]
"""(xp, scales, beta, prediction, weight, predicted, x_0, eps, x_t) -> weighted squares, shaped as the data."""


def target(a: Any, s: Any, prediction: str, x_0: Any, eps: Any) -> Any:
    """Return what is to be predicted."""
    if prediction == "score":
        return -eps / s
    return {"eps": lambda: eps, "x_0": lambda: x_0, "v": lambda: a * eps - s * x_0}[prediction]()


def table(xp: Any, a: Any, s: Any, beta: Any, prediction: str, weight: str) -> Any:
    """Return the weight, as products of squares of alpha and sigma that divide only where the weight is infinite."""
    a2, s2 = a * a, s * s
    on_x_0 = {
        "inverse_snr": lambda: xp.ones_like(a),
        "likelihood": lambda: beta() * a2 / s2 / s2,
    }
    if weight == "uniform":
        return xp.ones_like(a)
    if weight == "min_snr":
        smaller = xp.where(a2 < 5.0 * s2, a2, 5.0 * s2)
        return {
            "eps": lambda: xp.where(a2 < 5.0 * s2, xp.ones_like(a), 5.0 * s2 / a2),
            "x_0": lambda: xp.where(a2 < 5.0 * s2, a2 / s2, 5.0 * xp.ones_like(a)),
            "v": lambda: smaller,
            "score": lambda: s2 * xp.where(a2 < 5.0 * s2, xp.ones_like(a), 5.0 * s2 / a2),
        }[prediction]()
    if weight == "inverse_snr":
        return {"eps": lambda: s2 / a2, "x_0": on_x_0[weight], "v": lambda: s2, "score": lambda: s2 / a2 * s2}[
            prediction
        ]()
    return {
        "eps": lambda: beta() / s2,
        "x_0": on_x_0[weight],
        "v": lambda: beta() * a2 / s2,
        "score": lambda: beta() * xp.ones_like(a),
    }[prediction]()


def _summed(squares: Any, reduction: str) -> Any:
    n = len(squares)
    sums = squares.reshape(n, -1).sum(1)
    return {"squares": squares, "none": sums, "batch_mean": sums.mean(), "all_mean": squares.mean()}[reduction]


def costing(
    *libraries: Library,
    on: Claimed | tuple[Claimed, ...] = BOTH,
    reduces: str = "none",
    serves: Callable[[str, str], bool] = lambda prediction, weight: True,
    **options: Any,
) -> Callable[[Squares], Squares]:
    """Add a form of the weighted squares as a variant of each library; `serves` says which pairs are served."""

    def add(form: Squares) -> Squares:
        for library in libraries:
            FAMILY.add(
                lossy(library, form, reduces, serves),
                "loss",
                on=on,
                name=f"{form.__name__.replace('_', ' ')}, {reduces}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed,
                reduction="none" if reduces == "squares" else reduces,
                **options,
            )
        return form

    return add


def lossy(library: Library, form: Squares, reduces: str, serves: Callable[[str, str], bool]) -> Any:
    """Return what makes `loss` of a form, in a library that runs eagerly."""
    xp = library.xp

    def make(p: Process) -> Methods:
        def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
            if not serves(prediction, weight) or (weight == "likelihood" and isinstance(p, Chain)):
                raise Unsupported(f"no {weight} weight on {prediction}")
            x, e, at = library.into(x_0), library.into(eps), library.into(t)
            a, s = over(xp, p, at, x)
            x_t = a * x + s * e
            predicted = library.into(denoiser(library.out(x_t), t))

            def beta() -> Any:
                return rate(xp, p, at).reshape(a.shape)

            squares = form(xp, (a, s), beta, prediction, weight, predicted, x, e, x_t)
            return library.out(_summed(squares + xp.zeros_like(x), reduces))

        return {"loss": loss}

    return make


@costing(NUMPY, NUMPY64, TORCH, TORCH64, on=(LINEAR, COSINE, SHORT))
def of_what_is_predicted(
    xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any
) -> Any:
    """The weight of the table times the square of y_hat - y."""
    a, s = q
    return table(xp, a, s, beta, prediction, weight) * (y - target(a, s, prediction, x, e)) ** 2


costing(NUMPY, TORCH, reduces="batch_mean")(of_what_is_predicted)
costing(NUMPY, TORCH, reduces="all_mean")(of_what_is_predicted)
costing(NUMPY, TORCH, reduces="squares")(of_what_is_predicted)


@costing(NUMPY, TORCH, on=BOTH)
def root_of_the_weight_inside(
    xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any
) -> Any:
    """The square of sqrt(w) (y_hat - y)."""
    a, s = q
    return (xp.sqrt(table(xp, a, s, beta, prediction, weight)) * (y - target(a, s, prediction, x, e))) ** 2


@costing(NUMPY, TORCH, on=BOTH)
def half_of_it_doubled(
    xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any
) -> Any:
    """A library that has w/2 times the square: the adapter doubles it."""
    a, s = q
    return 2.0 * (0.5 * table(xp, a, s, beta, prediction, weight) * (target(a, s, prediction, x, e) - y) ** 2)


@costing(NUMPY, on=BOTH)
def square_multiplied_out(
    xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any
) -> Any:
    """|r| |r| for r^2, and the weight from the left of one and the right of the other."""
    a, s = q
    r = xp.abs(y - target(a, s, prediction, x, e))
    return (table(xp, a, s, beta, prediction, weight) * r) * r


@costing(TORCH, on=BOTH)
def by_mse_loss(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """torch's mse_loss without reduction, times the weight, as diffusers' examples have it."""
    a, s = q
    squares = torch.nn.functional.mse_loss(y, target(a, s, prediction, x, e), reduction="none")
    return squares * table(xp, a, s, beta, prediction, weight)


def _no_likelihood(prediction: str, weight: str) -> bool:
    return weight != "likelihood" and prediction != "score"


@costing(NUMPY, TORCH, on=BOTH, serves=_no_likelihood, t_min=1e-3, t_max=0.999)
def weights_by_snr(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """diffusers' examples: snr = (alpha/sigma)^2, min(snr, 5)/snr, over snr + 1 for v, inside (0, 1)."""
    a, s = q
    snr = (a / s) ** 2
    factor = {"eps": 1.0 / snr, "x_0": xp.ones_like(snr), "v": 1.0 / (snr + 1.0)}[prediction]
    base = xp.where(snr < 5.0, snr, 5.0 * xp.ones_like(snr)) if weight == "min_snr" else xp.ones_like(snr)
    w = xp.ones_like(snr) if weight == "uniform" else base * factor
    return w * (y - target(a, s, prediction, x, e)) ** 2


def _some(prediction: str, weight: str) -> bool:
    return weight in ("uniform", "min_snr", "inverse_snr")


def _to_x_0(a: Any, s: Any, prediction: str, y: Any, x_t: Any) -> Any:
    return {
        "eps": lambda: (x_t - s * y) / a,
        "x_0": lambda: y,
        "v": lambda: a * x_t - s * y,
        "score": lambda: (x_t + s * s * y) / a,
    }[prediction]()


@costing(NUMPY, TORCH, NUMPY64, on=LINEAR, serves=_some, t_min=1e-3)
def by_way_of_x_0(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """EDM's: every prediction becomes x_0_hat, compared with x_0, and the weight becomes that of x_0."""
    a, s = q
    snr = a * a / (s * s)
    on_x_0 = (
        table(xp, a, s, beta, prediction, weight)
        * {
            "eps": lambda: snr,
            "x_0": lambda: xp.ones_like(a),
            "v": lambda: 1.0 / (s * s),
            "score": lambda: snr / (s * s),
        }[prediction]()
    )
    return on_x_0 * (_to_x_0(a, s, prediction, y, x_t) - x) ** 2


@costing(NUMPY, TORCH, on=LINEAR, serves=_some, t_min=1e-3)
def by_way_of_eps(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """Every prediction becomes eps_hat, compared with eps; the weight is converted too."""
    a, s = q
    a2, s2 = a * a, s * s
    hat = {
        "eps": lambda: y,
        "x_0": lambda: (x_t - a * y) / s,
        "v": lambda: s * x_t + a * y,
        "score": lambda: -s * y,
    }[prediction]()
    factor = {
        "eps": lambda: xp.ones_like(a),
        "x_0": lambda: s2 / a2,
        "v": lambda: 1.0 / a2,
        "score": lambda: 1.0 / s2,
    }[prediction]()
    return table(xp, a, s, beta, prediction, weight) * factor * (hat - e) ** 2


@costing(NUMPY, on=LINEAR, serves=_some, t_min=1e-3)
def by_way_of_v(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """Every prediction becomes v_hat, compared with v; the weight is converted too."""
    a, s = q
    hat = {
        "eps": lambda: (y - s * x_t) / a,
        "x_0": lambda: (a * x_t - y) / s,
        "v": lambda: y,
        "score": lambda: -s * (y + x_t) / a,
    }[prediction]()
    factor = {
        "eps": lambda: a * a,
        "x_0": lambda: s * s,
        "v": lambda: xp.ones_like(a),
        "score": lambda: (a / s) ** 2,
    }[prediction]()
    return table(xp, a, s, beta, prediction, weight) * factor * (hat - (a * e - s * x)) ** 2


@costing(NUMPY, on=LINEAR, serves=_some, t_min=1e-3)
def by_way_of_the_score(
    xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any
) -> Any:
    """score-SDE's: |sigma score_hat + eps|^2, the score from any prediction."""
    a, s = q
    score = {
        "eps": lambda: -y / s,
        "x_0": lambda: (a * y - x_t) / (s * s),
        "v": lambda: -x_t - a / s * y,
        "score": lambda: y,
    }[prediction]()
    factor = {
        "eps": lambda: xp.ones_like(a),
        "x_0": lambda: (s / a) ** 2,
        "v": lambda: 1.0 / (a * a),
        "score": lambda: 1.0 / (s * s),
    }[prediction]()
    return table(xp, a, s, beta, prediction, weight) * factor * (score * s + e) ** 2


@costing(NUMPY, TORCH, on=(LINEAR, COSINE, DDPM), serves=lambda p, w: p == "v")
def v_only(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """A library that predicts v, and nothing else."""
    return of_what_is_predicted(xp, q, beta, prediction, weight, y, x, e, x_t)


@costing(NUMPY, on=(LINEAR, SHORT), serves=lambda p, w: (p, w) == ("eps", "uniform"))
def simple_loss_only(xp: Any, q: Any, beta: Any, prediction: str, weight: str, y: Any, x: Any, e: Any, x_t: Any) -> Any:
    """DDPM's simple loss, and nothing else."""
    return (e - y) ** 2


@FAMILY.of("loss", "perturb", on=OWN, t_min=0.01)
def of_a_process_of_its_own(p: Process) -> Methods:
    """The table, for alpha_bar = sech^2(2t), beside its noising."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    return {**lossy(NUMPY, of_what_is_predicted, "none", _some)(p), "perturb": perturb}


def _network_fed(scale: float) -> Callable[[Process], Methods]:
    """Return a loss whose network is fed scale * t, and an adapter that divides before it asks the denoiser."""

    def make(p: Process) -> Methods:
        factor = np.float32(scale)

        def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
            a, s = over(np, p, t, x_0)

            def network(x: Any, steps: Any) -> Any:
                return denoiser(x, (steps / factor).astype(np.float32))

            r = network(a * x_0 + s * eps, t * factor) - target(a, s, prediction, x_0, eps)
            w = table(np, a, s, lambda: rate(np, p, t).reshape(a.shape), prediction, weight)
            return (w * r**2 + 0 * x_0).reshape(len(t), -1).sum(1).astype(np.float32)

        return {"loss": loss}

    return make


for _scale in (999.0, 1000.0):
    FAMILY.add(
        _network_fed(_scale),
        "loss",
        on=BOTH,
        name=f"network fed {_scale:.0f} t",
        form=f"The network is fed {_scale:.0f} t; the adapter divides by {_scale:.0f}, which is not exact in float32.",
    )


@FAMILY.of("loss", on=BOTH, events=((3, 4, 4), (1, 2, 2)))
def images_only(p: Process) -> Methods:
    """Images alone: rank 4, and scales that are shaped for it."""

    def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
        b, c, h, w = x_0.shape
        if (c, h, w) not in ((3, 4, 4), (1, 2, 2)):
            raise ValueError(f"got {x_0.shape}")
        a, s = over(np, p, t, x_0)
        r = denoiser(a * x_0 + s * eps, t) - target(a, s, prediction, x_0, eps)
        weights = table(np, a, s, lambda: rate(np, p, t)[:, None, None, None], prediction, weight)
        return (weights * r * r).reshape(b, c * h * w).sum(1).astype(np.float32)

    return {"loss": loss}


@FAMILY.of("loss", on=(LINEAR, SHORT))
def one_example_after_another(p: Process) -> Methods:
    """The denoiser is asked once, for the batch; the losses are made in a loop."""

    def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
        if weight == "likelihood":
            raise Unsupported("no likelihood weight")
        a, s = over(np, p, t, x_0)
        predicted = denoiser(a * x_0 + s * eps, t)
        rows = [
            (
                table(np, a[i], s[i], None, prediction, weight)
                * (predicted[i] - target(a[i], s[i], prediction, x_0[i], eps[i])) ** 2
            ).sum()
            for i in range(len(t))
        ]
        return np.array(rows, dtype=np.float32)

    return {"loss": loss}
