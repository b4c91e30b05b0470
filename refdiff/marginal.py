"""Gaussian distributions of the forward process in closed form (spec chapter 2). No solver is needed.

    q(x_t | x_0)      = N(alpha_t x_0, sigma_t^2 I)                               MAR-1, MAR-2
    q(x_t | x_s)      = N(alpha_t|s x_s, sigma_t|s^2 I),   s <= t                 MAR-6
    q(x_s | x_t, x_0) = N(on_x_0 x_0 + on_x_t x_t, variance I),   s < t           MAR-7

Coefficients are float64 and rounded once, to the dtype of the data. Nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import final

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.numerics import expm1, with_slopes
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Batch, Data, Time, Times, Values, by_example, over_event, same_shape, weighted_sum, within


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marginal:
    """N(alpha x, sigma^2 I), the distribution of a later state given an earlier state x."""

    alpha: Values
    """Coefficient of the earlier state, float64."""
    sigma: Values
    """Standard deviation of the noise added since the earlier state, float64."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """N(on_x_0 x_0 + on_x_t x_t, variance I), the distribution of x_s given x_0 and x_t (MAR-7)."""

    on_x_0: Values
    """Coefficient of x_0 in the mean, float64."""
    on_x_t: Values
    """Coefficient of x_t in the mean, float64."""
    variance: Values
    """Variance of each component, float64; 0 at s = 0."""


def marginal(process: NoiseProcess, t: Times) -> Marginal:
    """Return q(x_t | x_0) at times of any shape (MAR-1, MAR-2). Raises DomainError outside the process."""
    exact = _widened(t)
    return Marginal(alpha=process.alpha(exact), sigma=process.sigma(exact))


def transition(process: NoiseProcess, *, t: Times, s: Times) -> Marginal:
    """Return q(x_t | x_s) at times s <= t of one shape (MAR-6). Raises DomainError if alpha(s) = 0."""
    earlier, later = _widened(s), _widened(t)
    added = -expm1(process.log_decay(t=later, s=earlier))
    # The derivative of plain sqrt turns a gradient of 0 (eps = 0) into NaN at s = t.
    sigma = with_slopes(torch.sqrt, (lambda added: 0.5 / torch.sqrt(added),), added)
    # alpha as a ratio: exp(log_decay / 2) has no derivative of its own where cosine's alpha reaches 0.
    return Marginal(alpha=process.alpha(later) / process.alpha(earlier), sigma=sigma)


def posterior(process: NoiseProcess, *, t: Times, s: Times) -> Posterior:
    """Return q(x_s | x_t, x_0) at times s < t of one shape (MAR-7). Raises DomainError otherwise."""
    earlier, later = _widened(s), _widened(t)
    start = torch.zeros_like(earlier)
    variance_s = -expm1(process.log_decay(t=earlier, s=start))
    variance_t = -expm1(process.log_decay(t=later, s=start))
    # Every coefficient divides by variance_t. It carries the NaN, since integer indices cannot.
    variance_t = within("MAR-7", "s < t", variance_t, later > earlier, got=later)
    added = -expm1(process.log_decay(t=later, s=earlier))
    alpha_s, alpha_t = process.alpha(earlier), process.alpha(later)
    return Posterior(
        on_x_0=alpha_s * (added / variance_t),
        on_x_t=alpha_t / alpha_s * (variance_s / variance_t),
        variance=added * (variance_s / variance_t),
    )


def mean(process: NoiseProcess, x_0: Data, t: Time) -> Data:
    """Return alpha_t x_0, the mean of q(x_t | x_0) (MAR-1). x_0: (batch, *event); t: (batch,)."""
    return over_event(marginal(process, t).alpha, x_0) * x_0


def std(process: NoiseProcess, t: Times) -> Values:
    """Return sigma_t, the standard deviation of each component of q(x_t | x_0), any shape (MAR-2)."""
    return process.sigma(t)


def perturb(process: NoiseProcess, x_0: Data, eps: Data, t: Time) -> Data:
    """Return x_t = alpha_t x_0 + sigma_t eps for a given noise draw (MAR-4).

    x_0, eps: (batch, *event), one dtype; t: (batch,). Raises DomainError on a mismatch, or a t
    outside the process.
    """
    same_shape("MAR-4", x_0=x_0, eps=eps)
    q = marginal(process, t)
    return weighted_sum(over_event(q.alpha, x_0), x_0, over_event(q.sigma, x_0), eps)


def posterior_mean(process: NoiseProcess, x_t: Data, x_0: Data, *, t: Time, s: Time) -> Data:
    """Return the mean of q(x_s | x_t, x_0) (MAR-7). x_t, x_0: (batch, *event); s < t: (batch,)."""
    same_shape("MAR-7", x_t=x_t, x_0=x_0)
    q = posterior(process, t=t, s=s)
    return weighted_sum(over_event(q.on_x_0, x_0), x_0, over_event(q.on_x_t, x_t), x_t)


def log_density(process: NoiseProcess, x_t: Data, x_0: Data, t: Time) -> Batch:
    """Return log q(x_t | x_0), natural, summed over the event (MAR-9).

    x_t, x_0: (batch, *event), one dtype; t: (batch,) with sigma_t > 0. Returns (batch,).
    Raises DomainError where sigma_t = 0: there the distribution has no density.
    """
    sigma, standard = _standardized(process, x_t, x_0, t)
    size = x_0[0].numel() if len(x_0) else 0
    squares = by_example(standard.square()).sum(1)
    return -0.5 * squares - (size * (torch.log(sigma) + 0.5 * log(2.0 * pi))).to(x_0.dtype)


def conditional_score(process: NoiseProcess, x_t: Data, x_0: Data, t: Time) -> Data:
    """Return the gradient of log q(x_t | x_0) in x_t: -(x_t - alpha x_0)/sigma^2 (MAR-9).

    x_t, x_0: (batch, *event), one dtype; t: (batch,) with sigma_t > 0, else DomainError.
    """
    sigma, standard = _standardized(process, x_t, x_0, t)
    # Divided twice: 1/sigma^2 overflows float32 below t = 1e-38, where the score need not.
    return -standard / over_event(sigma, x_0)


def _standardized(process: NoiseProcess, x_t: Data, x_0: Data, t: Time) -> tuple[Tensor, Tensor]:
    same_shape("MAR-9", x_t=x_t, x_0=x_0)
    q = marginal(process, t)
    # The division is in the dtype of the data, where sigma may round to 0.
    sigma = within("MAR-9", "sigma > 0 in the dtype of the data", q.sigma, q.sigma.to(x_0.dtype) > 0.0)
    return sigma, (x_t - over_event(q.alpha, x_0) * x_0) / over_event(sigma, x_0)


def _widened(t: Tensor) -> Tensor:
    if t.is_complex() or t.dtype == torch.bool:
        raise DomainError("NOT-2", "t of a float dtype, or an integer index", t.dtype)
    return t.double() if t.is_floating_point() else t
