"""Irreducible loss on a finite set of examples, from the exact posterior mean of x_0 (TRN-13).

    x_0_hat(x_t, t) = sum_i p_i x_i,    p_i proportional to exp(-|x_t - alpha x_i|^2 / 2 sigma^2)

No denoiser has a smaller mean loss on these examples. The mean over x_0, t and eps is a Monte Carlo estimate with a
standard error. A network that reaches it at small t has memorised its examples; one that generalises lies between it
and the loss on held-out examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Generator, Tensor, nn

from refdiff.loss import Denoiser, Objective
from refdiff.marginal import marginal
from refdiff.parameterization import convert
from refdiff.tensors import Data, Time
from refdiff.times import TimeSampler
from refdiff.training.data import Examples
from refdiff.training.pairs import Pairs, log_posterior

DRAWS = 256
"""Number of draws of x_0, t and eps for the mean loss of a denoiser in each bucket, an equal part of time."""
PAIRS = 1024
"""Number of draws for the irreducible loss in each bucket: on digits its standard error is 1% to 5%."""
WORK = 4e11
"""Largest number of multiplications for which the irreducible loss is computed."""
SEARCH = 4e10
"""Largest number of multiplications for which all pairs are searched: 20,000 examples of 64 numbers."""


@final
@dataclass(frozen=True, slots=True)
class BucketLosses:
    """Mean loss in each bucket of time."""

    loss: list[float]
    error: list[float]
    """Standard errors, from the variance of the draws; stratified times make the true error smaller."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The optimal denoiser for the uniform distribution over a finite set of examples."""

    objective: Objective
    examples: Tensor
    """(n, *event), float64."""

    def __call__(self, x_t: Data, t: Time) -> Data:
        """Return the prediction, (batch, *event), float64."""
        q, known = marginal(self.objective.process, t), self.examples.flatten(1)
        posterior = torch.softmax(log_posterior(x_t.flatten(1), known, q.alpha, q.sigma), dim=1)
        x_0_hat = (posterior @ known).reshape(x_t.shape)
        return convert(self.objective.process, x_0_hat, x_t, t, source="x_0", to=self.objective.prediction)


def irreducible_loss(
    objective: Objective, examples: Examples, times: TimeSampler, buckets: int, generator: Generator
) -> BucketLosses | None:
    """Return the irreducible loss in equal parts of time, estimated with PAIRS draws each; None if too costly.

    With too many examples to search all pairs, pairs are drawn without knowing which are near. Then the standard error
    is too small in buckets of small t, where few pairs of near examples decide the loss.
    """
    n, size = len(examples), prod(examples.event)
    if 3.0 * buckets * PAIRS * n * size > WORK:
        return None
    pairs = Pairs.of(objective, times, examples, buckets, search=n**2 * (size + 8.0 * buckets) <= SEARCH)
    found = [pairs.draw(bucket, PAIRS, generator) for bucket in range(buckets)]
    return BucketLosses([loss for loss, _ in found], [error for _, error in found])


def mean_losses(
    objective: Objective,
    denoiser: Denoiser,
    examples: Examples,
    times: TimeSampler,
    buckets: int,
    generator: Generator,
    *,
    dtype: torch.dtype | None = None,
) -> BucketLosses:
    """Return the mean loss of a denoiser in equal parts of time, with DRAWS draws of x_0, t and eps each.

    dtype: of the data, by default that of the denoiser's parameters; the loss is computed on their device.
    """
    like = next(denoiser.parameters()) if isinstance(denoiser, nn.Module) else torch.zeros(0)
    means = BucketLosses([], [])
    for bucket in range(buckets):
        rows = torch.randint(len(examples), (DRAWS,), generator=generator)
        inside = (torch.arange(DRAWS, dtype=torch.float64) + torch.rand(DRAWS, generator=generator)) / DRAWS
        t = times.at((bucket + inside) / buckets)
        eps = torch.randn(DRAWS, *examples.event, generator=generator, dtype=torch.float64)
        x_0, eps = (x.to(like.device, dtype or like.dtype) for x in (examples.take(rows.numpy()), eps))
        t = t.to(x_0.device, x_0.dtype) if t.is_floating_point() else t.to(x_0.device)
        with torch.no_grad():
            drawn = objective(denoiser, x_0, eps, t).double()
        means.loss.append(float(drawn.mean()))
        means.error.append(float(drawn.std()) / DRAWS**0.5)
    return means
