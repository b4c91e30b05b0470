"""A plain float32 trainer for data of one feature, and the optima of wrong objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from refdiff.conformance.interface import Array, Chain, Claim, Cosine, Denoiser, Linear, Process, Times
from tests.meta.targets.trainer import F, alpha_bar_of
from validation.expected.denoiser import DATA, best
from validation.oracles.mixture import Mixture

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


def scaled(by: float, shift: float = 0.0) -> Mixture:
    """Return the distribution of the data after scaling and shifting."""
    return Mixture(DATA.weights, tuple(by * m + shift for m in DATA.means), tuple(by**2 * v for v in DATA.variances))


def affine(alpha: float, variance: float) -> Callable[[Any], Any]:
    """Return the best affine denoiser, which is the optimum of a network without a hidden layer."""
    mean = sum(w * m for w, m in zip(DATA.weights, DATA.means, strict=True))
    rows = zip(DATA.weights, DATA.means, DATA.variances, strict=True)
    spread = sum(w * (v + (m - mean) ** 2) for w, m, v in rows)
    return lambda x: np.sqrt(variance) * (x - alpha * mean) / (alpha**2 * spread + variance)


WRONG: dict[str, Callable[[float, float], Callable[[Any], Any]]] = {
    "variance for deviation": lambda a, v: lambda x: -v * DATA.noised(a, v * v).score(x),
    "noised twice": lambda a, v: lambda x: -np.sqrt(v) * DATA.noised(a * a, a * a * v + v).score(x),
    "noised twice by one eps": lambda a, v: (
        lambda x: -np.sqrt(v) * (1 + a) * DATA.noised(a * a, v * (1 + a) ** 2).score(x)
    ),
    "sign of eps": lambda a, v: lambda x: -best(DATA, a, v)(x),
    "alpha_bar for alpha": lambda a, v: best(DATA, a * a, v),
    "root of alpha": lambda a, v: best(DATA, np.sqrt(a), 1 - a),
    "score for eps": lambda a, v: lambda x: -DATA.noised(a, v).score(x),
    "data doubled": lambda a, v: best(scaled(2.0), a, v),
    "data to [0, 1]": lambda a, v: best(scaled(0.25, 0.5), a, v),
    "time unseen": lambda a, v: best(DATA, 0.3, 0.91),
    "no hidden layer": affine,
    "untrained": lambda a, v: lambda x: 0.0 * x,
    "NaN": lambda a, v: lambda x: np.full_like(x, np.nan),
}
"""The optimal denoiser of each wrong objective."""


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
