"""Wrong losses of libraries that serve one prediction: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Process, Unsupported
from tests.meta.variants.base import over, rate
from tests.meta.variants.losses import table, target
from tests.meta.variants.variant import LINEAR, Family, Methods

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


def losing(breaks: str, only: str) -> Decorator:
    """Add a form (denoiser, ask) -> weighted squares; only: the prediction that is served."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            def loss(denoiser: Any, prediction: str, x_0: Any, eps: Any, t: Any, weight: str) -> Any:
                if prediction != only:
                    raise Unsupported(f"no loss of {prediction}")
                squares = np.asarray(form(denoiser, Ask(p, prediction, x_0, eps, t, weight)), dtype=F)
                return squares.reshape(len(t), -1).sum(1)

            return {"loss": loss}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "loss", on=LINEAR, name=name, form=text, breaks=breaks)
        return form

    return add


@losing("LOS-1", only="v")
def network_sees_too_much(denoiser: Any, ask: Ask) -> Any:
    """A loss of v alone, whose network sees 1.5 x_t."""
    return ask.w * (denoiser(F(1.5) * ask.x_t, ask.t) - ask.y) ** 2


@losing("LOS-1 LOS-3", only="eps")
def noise_assigned_anew(denoiser: Any, ask: Ask) -> Any:
    """ddpm-pytorch's immiscible noise: rolled in x_t, and not in the target."""
    x_t = ask.a * ask.x_0 + ask.s * np.roll(ask.eps, 1, axis=0)
    return ask.w * (denoiser(x_t, ask.t) - ask.y) ** 2


@losing("LOS-8", only="v")
def min_snr_of_eps_on_v(denoiser: Any, ask: Ask) -> Any:
    """min(SNR, 5)/SNR on v."""
    w = ask.w
    if ask.weight == "min_snr":
        w = np.minimum(F(1), 5 * (ask.s / ask.a) ** 2)
    return w * (denoiser(ask.x_t, ask.t) - ask.y) ** 2
