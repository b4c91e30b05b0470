"""How near samples are to examples they were not trained on, and to those they were."""

from __future__ import annotations

import warnings
from math import prod
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from refdiff.errors import ConfigError, DomainError
from refdiff.tensors import Data

LARGEST = 1024
"""Features of an image, at most: 32 x 32 in grey."""


@final
class RawNumbers(nn.Module):
    """The features that need no download: the numbers of an example; of a large image, means over squares.

    A covariance has the square of their number of entries, and its spectrum takes the cube of operations.
    """

    def __init__(self, event: tuple[int, ...]) -> None:
        """Take the shape of one example."""
        super().__init__()
        self.side = 1
        if len(event) == 3:
            while prod(_pooled(event, self.side)) > LARGEST and min(event[1:]) >= 2 * self.side:
                self.side *= 2
        self.num_features = prod(_pooled(event, self.side))

    def forward(self, x: Data) -> Tensor:
        """Return (batch, features), float64."""
        return (functional.avg_pool2d(x, self.side) if self.side > 1 else x).flatten(1).double()


def _pooled(event: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Return the shape of an image of which squares became means; of anything else, its own."""
    return (event[0], event[1] // side, event[2] // side) if side > 1 else event


def frechet(samples: Data, examples: Data, features: nn.Module | None = None) -> float:
    """Return the Frechet distance |m - m'|^2 + tr(C + C' - 2 sqrt(C C')) of features (Heusel et al. 2017).

    samples, examples: (n, *event) in [-1, 1], two each at least; features: a module with `num_features`, by default
    `RawNumbers`. For one number of samples only are distances comparable: fewer make it larger.
    """
    if min(len(samples), len(examples)) < 2 or samples.shape[1:] != examples.shape[1:]:
        got = f"{tuple(samples.shape)} and {tuple(examples.shape)}"
        raise DomainError("TRN-13", "two samples and two examples of one shape at least", got)
    if not bool(samples.isfinite().all() and examples.isfinite().all()):
        raise DomainError("TRN-13", "finite samples and examples", "NaN or infinity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of what its import finds
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance  # here: only this function needs it
        except ModuleNotFoundError:
            raise ConfigError("expected torchmetrics: pip install 'refdiff[train]', got none (TRN-13)") from None
    metric: Any = FrechetInceptionDistance(feature=features or RawNumbers(tuple(examples.shape[1:])))
    metric.set_dtype(torch.float64)
    metric.update(examples, real=True)
    metric.update(samples, real=False)
    return float(metric.compute())


def nearest(samples: Data, examples: Data) -> Tensor:
    """Return the Euclidean distance from each sample to the example nearest to it, (n,): 0 is a copy."""
    known, found = examples.flatten(1), []
    for part in torch.split(samples.flatten(1), 256):
        # cdist multiplies matrices: of a copy it says 1e-3, of the few nearest it is right that they are near.
        near = torch.cdist(part, known).topk(min(8, len(known)), largest=False).indices
        found.append(torch.stack([(part - known[column]).norm(dim=1) for column in near.T]).min(0).values)
    return torch.cat(found)
