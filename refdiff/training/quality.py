"""Sample quality by the Frechet distance of features to held-out examples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import prod
from statistics import fmean, stdev
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from refdiff.errors import ConfigError, DomainError
from refdiff.tensors import Data

LARGEST = 1024
"""Largest number of features of an image: 32 x 32 in grey."""
SUBSETS = 16
"""Random subsets whose distances the baseline averages: one alone is off by some 10 % on the digits."""


@final
class RawPixels(nn.Module):
    """Features without a trained network: the pixels of an image, averaged over squares if there are too many.

    For d features the covariance has d^2 entries, and its eigenvalues take O(d^3) operations.
    """

    def __init__(self, event: tuple[int, ...]) -> None:
        """Set the shape of one example."""
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
    """Return the shape of an image after pooling over squares; other shapes are unchanged."""
    return (event[0], event[1] // side, event[2] // side) if side > 1 else event


def frechet(samples: Data, examples: Data, features: nn.Module | None = None) -> float:
    """Return the Frechet distance |m - m'|^2 + tr(C + C' - 2 sqrt(C C')) of features (Heusel et al. 2017).

    samples, examples: (n, *event) in [-1, 1], at least two each; features: a module with `num_features`, by default
    `RawPixels`. Compare distances only at the same number of samples: fewer samples give a larger distance.
    """
    if min(len(samples), len(examples)) < 2 or samples.shape[1:] != examples.shape[1:]:
        got = f"{tuple(samples.shape)} and {tuple(examples.shape)}"
        raise DomainError("TRN-13", "at least two samples and two examples of one shape", got)
    if not bool(samples.isfinite().all() and examples.isfinite().all()):
        raise DomainError("TRN-13", "finite samples and examples", "NaN or infinity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns on import
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance  # lazy import: only needed here
        except ModuleNotFoundError:
            raise ConfigError("expected torchmetrics: pip install 'refdiff[train]', got none (TRN-13)") from None
    if features is not None:
        # Here, as `set_dtype` below would make their weights float64, which no float32 input fits.
        with torch.no_grad():
            samples, examples = features(samples), features(examples)
    # Only rank 0 evaluates: synchronising the metric would wait for processes that do not compute it.
    metric: Any = FrechetInceptionDistance(feature=RawPixels(tuple(examples.shape[1:])), sync_on_compute=False)
    metric.set_dtype(torch.float64)
    metric.update(examples, real=True)
    metric.update(samples, real=False)
    return float(metric.compute())


@final
@dataclass(frozen=True, slots=True)
class Baseline:
    """Frechet distance of training examples, what samples of a perfect model would have."""

    mean: float
    deviation: float
    """Standard deviation over subsets: two sets of perfect samples differ by as much."""


def baseline(
    examples: Data, held_out: Data, count: int, *, drawn: torch.Generator, features: nn.Module | None = None
) -> Baseline:
    """Return the Frechet distance to the held-out examples of `count` training examples, over random subsets.

    With at most `count` examples every subset is all of them, and the deviation 0.
    """
    subsets = [examples[torch.randperm(len(examples), generator=drawn)[:count]] for _ in range(SUBSETS)]
    found = [frechet(subset, held_out, features) for subset in (subsets if len(examples) > count else subsets[:1])]
    return Baseline(fmean(found), stdev(found) if len(found) > 1 else 0.0)
