"""How near samples are to examples they were not trained on, and to those they were."""

from __future__ import annotations

import warnings
from typing import Any, final

import torch
from torch import Tensor, nn

from refdiff.errors import ConfigError, DomainError
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
            raise ConfigError("TRN-13 wants torchmetrics: pip install 'refdiff[train]', got none") from None
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
