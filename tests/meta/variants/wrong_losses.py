"""Wrong losses: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Process, Unsupported
from tests.meta.variants.base import over, rate
from tests.meta.variants.losses import table, target
from tests.meta.variants.variant import COSINE, LINEAR, SHORT, Claimed, Family, Methods

FAMILY = Family("wrong")
F = np.float32
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Ask:
    """Arguments of a loss, with alpha and sigma."""

    def __init__(self, p: Process, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> None:
        """Look up the scales."""
        self.p, self.prediction, self.weight, self.x_0, self.eps, self.t = p, prediction, weight, x_0, eps, t
        self.a, self.s = over(np, p, t, x_0)

    @property
    def x_t(self) -> Any:
        """Return what the denoiser should see."""
        return self.a * self.x_0 + self.s * self.eps

    @property
    def y(self) -> Any:
        """Return the target."""
        return target(self.a, self.s, self.prediction, self.x_0, self.eps)

    @property
    def w(self) -> Any:
        """Return the weight."""
        return table(np, self.a, self.s, self.beta, self.prediction, self.weight)

    def beta(self) -> Any:
        """Return the rate."""
        return rate(np, self.p, self.t).reshape(self.a.shape)


def losing(
    breaks: str, on: Claimed | tuple[Claimed, ...] = LINEAR, only: str = "", reduction: Any = "none"
) -> Decorator:
    """Add a form (denoiser, ask) -> weighted squares; only: the prediction that is served."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
                if (only and prediction != only) or (weight == "likelihood" and isinstance(p, Chain)):
                    raise Unsupported(f"no {weight} weight on {prediction}")
                squares = np.asarray(form(denoiser, Ask(p, prediction, x_0, eps, t, weight)) + 0 * x_0, dtype=F)
                sums = squares.reshape(len(t), -1).sum(1)
                return {"none": sums, "batch_mean": squares.mean(), "all_mean": sums.mean()}[reduction]

            return {"loss": loss}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "loss", on=on, name=name, form=text, breaks=breaks, reduction=reduction)
        return form

    return add


@losing("LOS-1", only="v")
def network_sees_too_much(denoiser: Any, ask: Ask) -> Any:
    """A loss of v alone, whose network sees 1.5 x_t."""
    return ask.w * (denoiser(F(1.5) * ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-1", on=(LINEAR, COSINE))
def network_sees_the_data(denoiser: Any, ask: Ask) -> Any:
    """The denoiser is given x_0."""
    return ask.w * (denoiser(ask.x_0, ask.t) - ask.y) ** 2


@losing("LOS-1 LOS-3", only="eps")
def noise_assigned_anew(denoiser: Any, ask: Ask) -> Any:
    """ddpm-pytorch's immiscible noise: rolled in x_t, and not in the target."""
    x_t = ask.a * ask.x_0 + ask.s * np.roll(ask.eps, 1, axis=0)
    return ask.w * (denoiser(x_t, ask.t) - ask.y) ** 2


@losing("LOS-1")
def network_is_told_the_time_left(denoiser: Any, ask: Ask) -> Any:
    """The denoiser is given 1 - t."""
    return ask.w * (denoiser(ask.x_t, F(1) - ask.t) - ask.y) ** 2


@losing("LOS-1")
def robust(denoiser: Any, ask: Ask) -> Any:
    """Huber's loss."""
    r = np.abs(denoiser(ask.x_t, ask.t) - ask.y)
    return ask.w * np.where(r < 1, r**2, 2 * r - 1)


@losing("LOS-1", on=(LINEAR, SHORT))
def scaled_target(denoiser: Any, ask: Ask) -> Any:
    """sigma eps for eps."""
    return ask.w * (denoiser(ask.x_t, ask.t) - ask.s * ask.y) ** 2


@losing("LOS-1")
def density_as_a_weight_too(denoiser: Any, ask: Ask) -> Any:
    """The weight multiplied by 2t, the density that times are drawn with elsewhere."""
    return 2 * ask.t.reshape(ask.a.shape) * ask.w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-2", reduction="batch_mean")
def mean_over_all_claimed_a_mean_of_sums(denoiser: Any, ask: Ask) -> Any:
    """mse_loss, which means over the features too."""
    return ask.w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-2", reduction="all_mean")
def sums_claimed_a_mean_over_all(denoiser: Any, ask: Ask) -> Any:
    """Sums over the event, which the claim calls means."""
    return ask.w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-7 LOS-8")
def weights_of_mean_one(denoiser: Any, ask: Ask) -> Any:
    """Weights divided by their mean over the batch."""
    w = ask.w
    return w / w.mean() * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-8")
def gamma_of_one(denoiser: Any, ask: Ask) -> Any:
    """min(SNR, 1)."""
    w = ask.w
    if ask.weight == "min_snr":
        snr = (ask.a / ask.s) ** 2
        w = w * np.minimum(snr, 1) / np.minimum(snr, 5)
    return w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-8", only="v")
def min_snr_of_eps_on_v(denoiser: Any, ask: Ask) -> Any:
    """min(SNR, 5)/SNR on v."""
    w = ask.w
    if ask.weight == "min_snr":
        w = np.minimum(F(1), 5 * (ask.s / ask.a) ** 2)
    return w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-7 LOS-5")
def root_of_inverse_snr(denoiser: Any, ask: Ask) -> Any:
    """sigma/alpha for its square."""
    w = ask.w
    return (np.sqrt(w) if ask.weight == "inverse_snr" else w) * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-10", on=(LINEAR, COSINE))
def half_of_the_likelihood(denoiser: Any, ask: Ask) -> Any:
    """beta/2 for beta."""
    w = ask.w
    return (w / 2 if ask.weight == "likelihood" else w) * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-1 LOS-3", on=(LINEAR, SHORT))
def objective_ignored(denoiser: Any, ask: Ask) -> Any:
    """eps is compared with, whatever is predicted."""
    return ask.w * (denoiser(ask.x_t, ask.t) - ask.eps) ** 2


@losing("NOT-2")
def weights_along_the_event(denoiser: Any, ask: Ask) -> Any:
    """Weights (n,) beside data (n, n): along the event, where a batch has its size."""
    squares, w = (denoiser(ask.x_t, ask.t) - ask.y) ** 2, ask.w
    return (w.reshape(-1) if squares.shape == (len(w), len(w)) else w) * squares


@losing("LOS-1")
def one_noise_for_the_batch(denoiser: Any, ask: Ask) -> Any:
    """randn_like(x_0[0]), which every example shares."""
    ask.eps = np.repeat(ask.eps[:1], len(ask.eps), axis=0)
    return ask.w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-2", reduction="all_mean")
def mean_of_weights_times_mean_of_squares(denoiser: Any, ask: Ask) -> Any:
    """w.mean() * mse_loss(...)."""
    return ask.w.mean() * (denoiser(ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-8", on=SHORT)
def snr_of_the_step_before(denoiser: Any, ask: Ask) -> Any:
    """min_snr of k - 1, by a table that begins at k = 0."""
    before = Ask(ask.p, ask.prediction, ask.x_0, ask.eps, np.maximum(ask.t - 1, 1), ask.weight)
    return (before.w if ask.weight == "min_snr" else ask.w) * (denoiser(ask.x_t, ask.t) - ask.y) ** 2
