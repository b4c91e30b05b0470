"""Irreducible loss of a bucket of time, by importance sampling over pairs of examples (TRN-13).

Let N_k(x) be the density of N(alpha x_k, sigma^2 I), n the number of examples, and c(t) the factor by which the squared
error of x_0 is multiplied in the loss. The least loss at time t is the mean of the posterior variance of x_0:

    c E[sum_i p_i |x_i - m|^2] = (c/2n) sum_ij |x_i - x_j|^2 integral of N_i N_j / sum_k N_k,    p_i = N_i/sum_k N_k

At small t the integrand lies between near examples, where draws of x_t almost never fall. With

    N_i N_j / sum_k N_k = exp(-delta_ij^2/8) M_ij h,    delta_ij = alpha |x_i - x_j|/sigma,
    M_ij the density of N(alpha (x_i + x_j)/2, sigma^2 I),    h = sqrt(N_i N_j)/sum_k N_k in (0, 1/2],

the pairs are drawn in two ways, and each draw is divided by the density of the mixture of both:

    A    t where the integrand is large; i, j about in proportion to |x_i - x_j|^2 exp(-delta_ij^2/8); x_t from M_ij
    B    t and i uniform, x_t from N_i, j in proportion to p_j
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Generator, Tensor

from refdiff.loss import Objective
from refdiff.marginal import marginal
from refdiff.parameterization import convert
from refdiff.positions import Importance, Stratified, cell_of
from refdiff.tensors import Time
from refdiff.times import TimeSampler
from refdiff.training.data import Examples

PART_A = 0.75
"""Fraction of the draws of way A."""
CELLS = 32
"""Number of equal parts of a bucket in which the density of times of way A is constant."""
DEFENSIVE = 0.1
"""Fraction of way A whose times are uniform, which bounds the weights if the density is wrong."""
BINS = 256
"""Number of bins of the logarithm of the squared distance, for the density of times."""
ENTRIES = 4_000_000
"""Largest number of entries of a matrix (draws, examples)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The pairs of a finite set of examples, with their importance in each bucket of time."""

    objective: Objective
    times: TimeSampler
    known: Tensor
    """Examples, (n, features), float64."""
    snr: Tensor
    """Signal-to-noise ratio in the middle of each cell of time, (buckets, CELLS)."""
    rows: Tensor
    """Share of each example in the pairs of a bucket, at the least SNR of its cells, (buckets, n)."""
    cells: Tensor
    """Share of each cell of time in its bucket, (buckets, CELLS)."""

    @staticmethod
    def of(objective: Objective, times: TimeSampler, examples: Examples, buckets: int, *, search: bool) -> Pairs:
        """Return the pairs of examples; search: whether all pairs are gone through, or all examples count alike."""
        known = examples.take(slice(None)).double().flatten(1)
        middles = (torch.arange(buckets * CELLS, dtype=torch.float64) + 0.5) / (buckets * CELLS)
        t = times.at(middles)
        snr = _snr(objective, t).reshape(buckets, CELLS)
        rows, weights = torch.ones(buckets, len(known), dtype=torch.float64), torch.ones(buckets, CELLS)
        if search:
            rows, counts, squares = _searched(known, snr.min(1).values)
            near = (counts * squares * torch.exp(-squares * snr[..., None] / 8.0)).sum(2)
            weights = near * _factor(objective, t, prod(examples.event)).reshape(buckets, CELLS)
        return Pairs(objective, times, known, snr, _shares(rows), _shares(weights))

    def draw(self, bucket: int, count: int, generator: Generator) -> tuple[float, float]:
        """Return the irreducible loss in a bucket, and its standard error, from `count` draws."""
        a = round(PART_A * count)
        density = (1.0 - DEFENSIVE) * self.cells[bucket] + DEFENSIVE / CELLS
        inside = _two_ways(a, count - a, Importance(density, base=Stratified()), generator)
        first = _two_ways(a, count - a, Stratified(), generator)
        levels = torch.rand(2, count, generator=generator, dtype=torch.float64)
        parts = []
        for part in torch.split(torch.arange(count), max(1, ENTRIES // len(self.known))):
            eps = torch.randn(len(part), self.known.shape[1], generator=generator, dtype=torch.float64)
            parts.append(self._terms(bucket, part < a, inside[part], first[part], levels[:, part], eps))
        drawn = torch.cat(parts)
        variance = sum(len(way) * float(way.var()) for way in (drawn[:a], drawn[a:]))
        return float(drawn.mean()), variance**0.5 / count

    def _terms(self, bucket: int, is_a: Tensor, inside: Tensor, first: Tensor, levels: Tensor, eps: Tensor) -> Tensor:
        """Return one term per draw, whose mean is the irreducible loss."""
        n, size = self.known.shape
        t = self.times.at(((bucket + inside) / len(self.rows)).clamp(max=1.0 - 2.0**-53))
        q, snr = marginal(self.objective.process, t), _snr(self.objective, t)
        ends = self.rows[bucket].cumsum(0)
        i = torch.where(is_a, torch.searchsorted(ends, first * ends[-1], right=True), (first * n).long()).clamp(
            max=n - 1
        )
        square = _squares(self.known[i], self.known)
        log_pair = square.log() - square * (snr[:, None] / 8.0)
        log_row = torch.logsumexp(log_pair, dim=1)
        j = _picked((log_pair - log_row[:, None]).exp().nan_to_num(), levels[0])
        middle = torch.where(is_a[:, None], 0.5 * (self.known[i] + self.known[j]), self.known[i])
        x_t = q.alpha[:, None] * middle + q.sigma[:, None] * eps
        log_p = torch.log_softmax(log_posterior(x_t, self.known, q.alpha, q.sigma), dim=1)
        j = torch.where(is_a, j, _picked(log_p.exp(), levels[1]))
        chosen, draws = self.known[i] - self.known[j], torch.arange(len(i))
        between, h = chosen.square().sum(1), (0.5 * (log_p[draws, i] + log_p[draws, j])).exp()
        at = self.cells[bucket][cell_of(inside, CELLS)]
        density = CELLS * ((1.0 - DEFENSIVE) * at + DEFENSIVE / CELLS)
        # Both densities are divided by that of (x_t, j) in way B without h/n, which cancels.
        mixture = PART_A * density * self.rows[bucket][i] * between * (-log_row).exp() + (1.0 - PART_A) * h / n
        terms = _factor(self.objective, t, size) * between * h / (2.0 * n * mixture)
        return torch.where((between * h > 0.0) & torch.isfinite(log_row), terms, 0.0)


def log_posterior(x_t: Tensor, known: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the log probability of each example given x_t, up to a constant: (draws, examples)."""
    # |x_t|^2 is the same for all examples and cancels.
    near = alpha[:, None] * (x_t @ known.T) - 0.5 * alpha[:, None] ** 2 * known.square().sum(1)
    return near / sigma[:, None] ** 2


def _searched(known: Tensor, least: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, over all pairs, the sum of each row in each bucket, and a histogram of the squared distances."""
    rows = torch.zeros(len(least), len(known), dtype=torch.float64)
    largest = 4.0 * float(known.square().sum(1).max())
    top = torch.tensor(max(largest, 1e-300), dtype=torch.float64).log()
    edges = top - torch.linspace(14.0, 0.0, BINS + 1, dtype=torch.float64)
    counts, done = torch.zeros(BINS, dtype=torch.float64), 0
    for part in torch.split(known, max(1, ENTRIES // len(known))):
        square = _squares(part, known).float()
        for bucket, snr in enumerate(least.tolist()):
            rows[bucket, done : done + len(part)] = (square * torch.exp(square * (-snr / 8.0))).sum(1).double()
        logs = square[square > 0.0].log().double().clamp(float(edges[0]), float(edges[-1]))
        counts += torch.histc(logs, BINS, float(edges[0]), float(edges[-1]))
        done += len(part)
    return rows, counts, (0.5 * (edges[1:] + edges[:-1])).exp()


def _squares(some: Tensor, known: Tensor) -> Tensor:
    """Return the squared distances of rows, (some, known); 0 for copies, whose rounding errors are removed."""
    norms = known.square().sum(1)
    square = some.square().sum(1)[:, None] + norms - 2.0 * some @ known.T
    return torch.where(square > 1e-12 * norms.max(), square, 0.0)


def _shares(weights: Tensor) -> Tensor:
    """Return each row divided by its sum; uniform where the sum is 0 or not finite."""
    total = weights.sum(1, keepdim=True)
    fits = (total > 0.0) & torch.isfinite(total)
    return torch.where(fits, weights / total, 1.0 / weights.shape[1]).double()


def _two_ways(a: int, b: int, way_a: Importance | Stratified, generator: Generator) -> Tensor:
    """Return a positions of way A, then b uniform ones, each set in strata."""
    return torch.cat([way_a(a, generator=generator)[0], Stratified()(b, generator=generator)[0]])


def _picked(masses: Tensor, level: Tensor) -> Tensor:
    """Return one index per row, drawn in proportion to its masses."""
    ends = masses.cumsum(1)
    found = torch.searchsorted(ends, level[:, None] * ends[:, -1:], right=True)[:, 0]
    return found.clamp(max=masses.shape[1] - 1)


def _snr(objective: Objective, t: Time) -> Tensor:
    q = marginal(objective.process, t)
    return (q.alpha / q.sigma) ** 2


def _factor(objective: Objective, t: Time, size: int) -> Tensor:
    """Return c(t) = w(t) (d target/d x_0)^2 at fixed x_t, divided by the size of an example for a mean."""
    one = torch.ones(len(t), 1, dtype=torch.float64)
    slope = convert(objective.process, one, 0.0 * one, t, source="x_0", to=objective.prediction)[:, 0]
    weight = objective.weight.of(objective.process, t, objective.prediction).double()
    return weight * slope**2 / (size if objective.features == "mean" else 1)
