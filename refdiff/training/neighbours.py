"""Sample quality by nearest neighbours: precision, recall, density, coverage, and copies of examples (TRN-13).

With B_k(x; S) the closed ball around x in S whose radius is the distance to its k-th nearest other element of S:

    precision = share of samples in the ball of an example           (Kynkaanniemi et al. 2019)
    recall    = share of examples in the ball of a sample
    density   = mean over samples of (number of balls of examples that contain it)/k      (Naeem et al. 2020)
    coverage  = share of examples whose ball contains a sample

Samples of few modes have a low recall and coverage; samples off the data have a low precision and density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from refdiff.tensors import Data

K = 5
"""Number of neighbours that set the radius of a ball."""
LARGEST = 2000
"""Largest number of rows that are compared; more are cut."""
CANDIDATES = 8
"""Number of nearest examples by matrix products that are compared exactly."""
BLOCK = 256
"""Number of rows whose distances are held in memory at once."""


@final
@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """Four shares of two sets of features."""

    precision: float
    """Share of samples in the ball of an example."""
    recall: float
    """Share of examples in the ball of a sample."""
    density: float
    """Mean number of balls of examples around a sample, divided by k; may exceed 1."""
    coverage: float
    """Share of examples whose ball contains a sample."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Distances of samples to the nearest training example, (n,)."""

    distance: Tensor
    """Euclidean; 0 for a copy."""
    largest: Tensor
    """Largest difference of one number, the least among the nearest examples."""


def neighbourhoods(samples: Tensor, examples: Tensor, k: int = K) -> Neighbourhoods:
    """Return precision, recall, density and coverage.

    Args:
        samples: features, (n, features), n >= 2; at most the first LARGEST are used.
        examples: features, (m, features), m >= 2; likewise.
        k: number of neighbours, at most n - 1 and m - 1; larger values are reduced to that.
    """
    made, known = samples[:LARGEST].double(), examples[:LARGEST].double()
    k = min(k, len(made) - 1, len(known) - 1)
    around_known, around_made = _radii(known, k), _radii(made, k)
    in_ball, holds, covered = [], [], torch.zeros(len(known), dtype=torch.bool)
    reached = torch.zeros(len(known), dtype=torch.bool)
    for first in range(0, len(made), BLOCK):
        part = slice(first, first + BLOCK)
        away = _distances(made[part], known)
        inside = away <= around_known
        in_ball.append(inside.any(1))
        holds.append(inside.sum(1))
        covered |= inside.any(0)
        reached |= (away <= around_made[part, None]).any(0)
    return Neighbourhoods(
        precision=_share(torch.cat(in_ball)),
        recall=_share(reached),
        density=float(torch.cat(holds).double().mean()) / k,
        coverage=_share(covered),
    )


def nearest(samples: Data, examples: Data) -> Nearest:
    """Return the distance of each sample to its nearest example."""
    known, found = examples.flatten(1), []
    for part in torch.split(samples.flatten(1), BLOCK):
        # cdist by matrix products gives 1e-3 for a copy; its few nearest candidates are then compared exactly.
        near = torch.cdist(part, known).topk(min(CANDIDATES, len(known)), largest=False).indices
        apart = [part - known[column] for column in near.T]
        found.append(
            torch.stack([
                torch.stack([x.norm(dim=1) for x in apart]).min(0).values,
                torch.stack([x.abs().amax(1) for x in apart]).min(0).values,
            ])
        )  # fmt: skip
    distance, largest = torch.cat(found, dim=1)
    return Nearest(distance, largest)


def level(examples: Data) -> float:
    """Return the least distance of two different values of the examples: one grey level of images of bytes."""
    values = torch.unique(examples.double())
    gaps = values.diff()
    # Float32 rounds equal levels to values up to 2^-23 apart, and data of such gaps has no levels.
    gaps = gaps[gaps > 1e-6]
    return float(gaps.min()) if len(gaps) else 0.0


def duplicates(found: Nearest, step: float) -> float:
    """Return the share of samples whose every number is within half a level of one example.

    Rounded to levels such a sample is the example, to the bit.
    """
    return _share(found.largest <= 0.5 * step)


def near_copies(found: Nearest, held_out: Nearest) -> float:
    """Return the share of samples nearer to a training example than 99% of the held-out examples are."""
    return _share(found.distance < torch.quantile(held_out.distance.double(), 0.01))


def _radii(x: Tensor, k: int) -> Tensor:
    """Return the distance of each row to its k-th nearest other row."""
    found = []
    for first in range(0, len(x), BLOCK):
        away = _distances(x[first : first + BLOCK], x)
        rows = torch.arange(len(away))
        away[rows, first + rows] = torch.inf
        found.append(away.kthvalue(k, dim=1).values)
    return torch.cat(found)


def _distances(some: Tensor, other: Tensor) -> Tensor:
    # Without matrix products, whose rounding would put a copy outside a ball of radius 0.
    return torch.cdist(some, other, compute_mode="donot_use_mm_for_euclid_dist")


def _share(is_so: Tensor) -> float:
    return float(is_so.double().mean())
