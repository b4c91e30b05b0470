"""A small network trained on x_t from the closed form or from a solver, and evaluated by quadrature (TRN-7)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from refdiff.training.distributed import one_thread

from ..oracles.mixture import Floats, Mixture
from ..oracles.simulation import Rate, grid
from ..oracles.solver import TIMES, Place, Scales

EXAMPLES = 2**18
BATCH = 1024
ITERATIONS = 1500


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Independent training examples, each field of shape (n,), and the cost of computing x_t."""

    x: Floats
    t: Floats
    target: Floats
    """(x_t - alpha x_0)/sigma."""
    draws: int
    """Number of random numbers drawn for the noise."""
    seconds: float
    """Wall time to compute x_t from x_0."""


def examples(data: Mixture, rate: Rate, scales: Scales, steps: int, n: int, seed: int) -> Examples:
    """Return n examples, equally many at each of TIMES.

    steps: number of Euler-Maruyama steps over [0, 1] that compute x_t; 0 for the closed form.
    """
    rng, x, t, target, draws, spent = np.random.default_rng(seed), [], [], [], 0, 0.0
    for time_ in TIMES.tolist():
        x_0 = data.draw(n // len(TIMES), rng)
        alpha, variance = scales(time_)
        started = time.perf_counter()
        if steps:
            whole = grid(0.0, 1.0, steps)[: round(time_ * steps) + 1]
            x_t = walked(rate, whole, x_0, rng)
        else:
            x_t = alpha * x_0 + np.sqrt(variance) * rng.standard_normal(len(x_0))
        spent += time.perf_counter() - started
        draws += len(x_0) * (round(time_ * steps) if steps else 1)
        x.append(x_t)
        t.append(np.full(len(x_0), time_))
        target.append((x_t - alpha * x_0) / np.sqrt(variance))
    return Examples(np.concatenate(x), np.concatenate(t), np.concatenate(target), draws, spent)


def walked(rate: Rate, times: Floats, x_0: Floats, rng: np.random.Generator) -> Floats:
    """Return the end points of Euler-Maruyama paths of the forward SDE."""
    x, h = x_0, times[1] - times[0]
    for beta in np.asarray(rate(times[:-1])).tolist():
        x = (1.0 - 0.5 * beta * h) * x + np.sqrt(beta * h) * rng.standard_normal(len(x))
    return x


def train(made: Examples, seed: int, iterations: int = ITERATIONS) -> Callable[[Floats, float], Floats]:
    """Train a network of two layers of 64 units on the squared error, and return its prediction, a function of x and t.

    x: (n,); t: one time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = nn.Linear(2, 64)
        net = nn.Sequential(first, nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
        with torch.no_grad():
            # torch's initial weights are below 0.7, too small for modes of width 0.2. The factor halves the excess.
            first.weight.mul_(3.0)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.from_numpy(np.column_stack([made.x, made.t])).float()
    targets = torch.from_numpy(made.target).float()[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    with one_thread():
        for _ in range(iterations):
            chosen = torch.randint(len(targets), (BATCH,), generator=generator)
            optimizer.zero_grad()
            (net(inputs[chosen]) - targets[chosen]).square().mean().backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def predict(x: Floats, t: float) -> Floats:
        found: Tensor = net(torch.from_numpy(np.column_stack([x, np.full_like(x, t)])).float())
        return np.asarray(found[:, 0].double().numpy())

    return predict


def excess(predict: Callable[[Floats, float], Floats], at: list[Place]) -> float:
    """Return the excess loss, E (prediction - best prediction)^2, averaged over TIMES."""
    return float(np.mean([(p.weight * (predict(p.x, p.t) - p.target) ** 2).sum() for p in at]))
