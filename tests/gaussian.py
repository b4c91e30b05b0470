"""Gaussian data, whose optimal denoiser and probability flow are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch

from refdiff import Objective, convert
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.schedule import NoiseProcess, Schedule

SPREAD, MEAN = 0.25, 0.5
"""Variance and mean of Gaussian data."""


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def of(process: NoiseProcess, prediction: Parameterization = "eps") -> Objective:
    """Return what a denoiser was trained for."""
    return Objective(process=process, prediction=prediction)


def best(process: NoiseProcess, to: Parameterization = "eps") -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the exact denoiser of Gaussian data."""

    def denoiser(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        q = marginal(process, t)
        gain = q.sigma / (q.alpha**2 * SPREAD + q.sigma**2)
        eps = gain[:, None] * (x - (q.alpha * MEAN)[:, None])
        return convert(process, eps.to(x.dtype), x, t, source="eps", to=to)

    return denoiser


def moved(process: Schedule, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """Return the exact flow of Gaussian data: standardised x is kept."""
    first, last = (marginal(process, torch.tensor(t, dtype=torch.float64)) for t in (start, end))
    ratio = torch.sqrt((last.alpha**2 * SPREAD + last.sigma**2) / (first.alpha**2 * SPREAD + first.sigma**2))
    return last.alpha * MEAN + ratio * (x - first.alpha * MEAN)
