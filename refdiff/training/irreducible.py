"""Irreducible loss on a finite set of examples, from the exact posterior mean of x_0 (TRN-13).

    x_0_hat(x_t, t) = sum_i p_i x_i,    p_i proportional to exp(-|x_t - alpha x_i|^2 / 2 sigma^2)

With labels, x_i are the examples of the label's class, or all of them for the null label. No denoiser has a smaller
mean loss on these examples. The mean over x_0, t and eps is a Monte Carlo estimate with a standard error. A network
that reaches it at small t has memorised its examples; one that generalises lies between it and the loss on held-out
examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import final

import torch
from torch import Generator, Tensor, nn

from refdiff.loss import Objective
from refdiff.marginal import marginal
from refdiff.parameterization import convert
from refdiff.tensors import Data, Time
from refdiff.times import TimeSampler
from refdiff.training.data import Examples
from refdiff.training.labels import Network, conditioned, drop
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
    labels: Tensor | None = None
    """(n,), int64, if labels are used."""
    classes: int = 0
    """The number of classes."""

    def __call__(self, x_t: Data, t: Time, label: Tensor | None = None) -> Data:
        """Return the prediction, (batch, *event), float64."""
        q, known = marginal(self.objective.process, t), self.examples.flatten(1)
        near = log_posterior(x_t.flatten(1), known, q.alpha, q.sigma)
        if label is not None and self.labels is not None:
            others = (label[:, None] != self.labels) & (label[:, None] != self.classes)
            near = near.masked_fill(others, -torch.inf)
        posterior = torch.softmax(near, dim=1)
        x_0_hat = (posterior @ known).reshape(x_t.shape)
        return convert(self.objective.process, x_0_hat, x_t, t, source="x_0", to=self.objective.prediction)


def irreducible_loss(
    objective: Objective,
    examples: Examples,
    times: TimeSampler,
    buckets: int,
    generator: Generator,
    *,
    dropout: float = 0.0,
) -> BucketLosses | None:
    """Return the irreducible loss in equal parts of time, estimated with PAIRS draws each; None if too costly.

    With too many examples to search all pairs, pairs are drawn without knowing which are near. Then the standard error
    is too small in buckets of small t, where few pairs of near examples decide the loss.

    dropout: with labels, the probability of the null label in place of a label. The loss is then the mean over the
    classes and the null label, with PAIRS draws for each of them.
    """
    loss, variance = torch.zeros(2, buckets, dtype=torch.float64)
    for share, part in _parts(examples, dropout):
        n, size = len(part), prod(part.event)
        if 3.0 * buckets * PAIRS * n * size > WORK:
            return None
        pairs = Pairs.of(objective, times, part, buckets, search=n**2 * (size + 8.0 * buckets) <= SEARCH)
        found = torch.tensor([pairs.draw(bucket, PAIRS, generator) for bucket in range(buckets)], dtype=torch.float64)
        loss += share * found[:, 0]
        variance += (share * found[:, 1]) ** 2
    return BucketLosses(loss.tolist(), variance.sqrt().tolist())


def _parts(examples: Examples, dropout: float) -> Iterator[tuple[float, Examples]]:
    """Yield the examples that a denoiser cannot tell apart but by x_t, and how often it is asked for them."""
    label = examples.label(slice(None))
    if label is None or dropout > 0.0:
        yield 1.0 if label is None else dropout, replace(examples, labels=None)
    if label is not None and dropout < 1.0:
        for own in torch.unique(label):
            rows = examples.rows[(label == own).numpy()]
            yield (1.0 - dropout) * len(rows) / len(examples), replace(examples, rows=rows, labels=None)


def mean_losses(
    objective: Objective,
    denoiser: Network,
    examples: Examples,
    times: TimeSampler,
    buckets: int,
    generator: Generator,
    *,
    dtype: torch.dtype | None = None,
    dropout: float = 0.0,
) -> BucketLosses:
    """Return the mean loss of a denoiser in equal parts of time, with DRAWS draws of x_0, t and eps each.

    dtype: of the data, by default that of the denoiser's parameters; the loss is computed on their device.
    dropout: probability of the null label in place of a label, if the examples have labels.
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
        label = examples.label(rows.numpy())
        if label is not None:
            label = drop(label, examples.classes, dropout, generator).to(x_0.device)
        with torch.no_grad():
            drawn = objective(conditioned(denoiser, label), x_0, eps, t).double()
        means.loss.append(float(drawn.mean()))
        means.error.append(float(drawn.std()) / DRAWS**0.5)
    return means
