"""How near samples are to examples they were not trained on, and to those they were."""

from __future__ import annotations

import warnings
from typing import Any, final

import torch
from torch import Tensor, nn

from refdiff.errors import ConfigError
from refdiff.tensors import Data


@final
class RawNumbers(nn.Module):
    """The features that need no download: the numbers of an example themselves."""

    def __init__(self, event: tuple[int, ...]) -> None:
        """Take the shape of one example."""
        super().__init__()
        self.num_features = torch.Size(event).numel()

    def forward(self, x: Data) -> Tensor:
        """Return (batch, features), float64."""
        return x.flatten(1).double()


def frechet(samples: Data, examples: Data, features: nn.Module | None = None) -> float:
    """Return the Frechet distance |m - m'|^2 + tr(C + C' - 2 sqrt(C C')) of features (Heusel et al. 2017).

    samples, examples: (n, *event) in [-1, 1], two each at least; features: a module with `num_features`, by default
    the numbers themselves. For one number of samples only are distances comparable: fewer make it larger.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of what its import finds
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance  # here: only this function needs it
        except ModuleNotFoundError:
            raise ConfigError("TRN-13 wants torchmetrics: pip install 'refdiff[train]', got none") from None
    metric: Any = FrechetInceptionDistance(feature=features or RawNumbers(tuple(examples.shape[1:])))
    metric.set_dtype(torch.float64)
    metric.update(examples, real=True)
    metric.update(samples, real=False)
    return float(metric.compute())


def nearest(samples: Data, examples: Data) -> Tensor:
    """Return the Euclidean distance from each sample to the example nearest to it, (n,): 0 is a copy."""
    parts = torch.split(samples.flatten(1), 256)
    return torch.cat([torch.cdist(part, examples.flatten(1)).min(1).values for part in parts])
