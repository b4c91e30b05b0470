"""A plain float32 trainer for data of one feature, and denoisers without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from refdiff.conformance.interface import Array, Chain, Claim, Cosine, Denoiser, Linear, Process, Times
from tests.meta.targets.trainer import F, alpha_bar_of

LINEAR, COSINE = Linear(beta_min=0.1, beta_max=20.0), Cosine(s=0.008)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)
STEPS = 2500
Learner = Callable[[Process, Array, int, float], Denoiser]


def mlp(process: Process, data: Array, seed: int, seconds: float) -> Denoiser:
    """Train a small network on the eps loss, with x_t from the closed form and uniform t."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    chain = isinstance(process, Chain)
    rng, optimizer = np.random.default_rng(seed), torch.optim.Adam(net.parameters())

    def predicted(x_t: Array, t: Times) -> Any:
        share = t.astype(F) / F(len(process.betas)) if isinstance(process, Chain) else t
        return net(torch.from_numpy(np.concatenate([x_t, share[:, None]], axis=1).astype(F)))

    # Counted, some 3 s of them: on a busy machine the same network comes out.
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 + np.cos(np.pi * step / STEPS))
        x_0, eps = data[rng.integers(len(data), size=512)], rng.standard_normal((512, 1)).astype(F)
        t = rng.integers(1, 1001, size=512) if chain else rng.random(512, dtype=F)
        bar = alpha_bar_of(process, t)[:, None]
        x_t = np.sqrt(bar) * x_0 + np.sqrt(F(1) - bar) * eps
        optimizer.zero_grad()
        (predicted(x_t, t) - torch.from_numpy(eps)).square().mean().backward()
        optimizer.step()

    def denoiser(x_t: Array, t: Times) -> Array:
        with torch.no_grad():
            return np.asarray(predicted(x_t, t).numpy())

    return denoiser


def optimal(predict: Callable[[float, float], Callable[[Any], Any]]) -> Learner:
    """Return a `fit` that returns the denoiser predict(alpha, sigma^2) without training."""

    def fit(process: Process, data: Array, seed: int, seconds: float) -> Denoiser:
        def denoiser(x_t: Array, t: Times) -> Array:
            found = np.empty_like(x_t)
            for when in np.unique(t):
                rows = t == when
                bar = float(alpha_bar_of(process, np.array([when]))[0])
                found[rows, 0] = predict(np.sqrt(bar), 1.0 - bar)(x_t[rows, 0].astype(np.float64))
            return found

        return denoiser

    return fit


@dataclass(frozen=True)
class Fitted:
    """A target with `fit`."""

    learner: Learner = mlp
    processes: tuple[Process | type[Process], ...] = (LINEAR,)

    @property
    def claim(self) -> Claim:
        """Claim `fit` alone."""
        return Claim(
            name="fitted", version="1", dtype="float32", processes=self.processes, capabilities=frozenset({"fit"})
        )

    def build(self, process: Process) -> Any:
        """Return an object with `fit`."""
        learner = self.learner
        fit = staticmethod(lambda data, seed, seconds: learner(process, data, seed, seconds))
        return type("Built", (), {"fit": fit})()
