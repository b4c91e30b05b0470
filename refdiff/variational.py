"""The terms of the variational bound on -log p(x_0), in nats, summed over the event (spec chapter 5).

    -log p(x_0) <= KL(q(x_N | x_0) | N(0, I))                                      `prior_term`, LOS-13
                   + sum over k = 2..N of KL(q(x_{k-1} | x_k, x_0) | p(x_{k-1} | x_k))   `step_term`, LOS-14
                   - log p(x_0 | x_{k=1})                                         `decoder_term`, LOS-15

averaged over q. Steps may be strided, and the process continuous: s < t replaces k - 1 and k.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.marginal import marginal, posterior
from refdiff.numerics import log1mexp
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Batch, Data, Time, by_example, over_event, same_shape, within

ReverseVariance: TypeAlias = Literal["small", "large"]
"""Variance of p(x_s | x_t): "small" is the posterior's, "large" the transition's, 1 - alpha_bar_t/alpha_bar_s."""


def prior_term(process: NoiseProcess, x_0: Data, t: Time) -> Batch:
    """Return KL(q(x_t | x_0) | N(0, I)) = 1/2 sum(alpha^2 x_0^2 - alpha^2 - log sigma^2), in nats (LOS-13).

    Args:
        process: Schedule or chain.
        x_0: Data, (batch, *event).
        t: The last time, with sigma(t) > 0, (batch,).

    Returns:
        Divergences, (batch,).

    Raises:
        DomainError: A time is outside the process, or sigma(t) = 0.
    """
    q = marginal(process, t)
    sigma = within("LOS-13", "sigma > 0", q.sigma, q.sigma > 0.0)
    squares = _summed((over_event(q.alpha, x_0) * x_0).square())
    # -log(1 - alpha^2) - alpha^2 cancels to alpha^4/2; the loss in float64 is small relative to alpha^2 x_0^2.
    rest = -(q.alpha**2) - 2.0 * torch.log(sigma)
    return 0.5 * (squares + (_size(x_0) * rest).to(squares.dtype))


def step_term(
    process: NoiseProcess, x_0: Data, x_0_hat: Data, *, t: Time, s: Time, variance: ReverseVariance = "small"
) -> Batch:
    """Return KL(q(x_s | x_t, x_0) | p(x_s | x_t)), in nats (LOS-14).

    p has the posterior's mean with x_0_hat in place of x_0, and the given variance. With "small" the term is
    (SNR_s - SNR_t)/2 |x_0_hat - x_0|^2.

    Args:
        process: Schedule or chain.
        x_0: Data, (batch, *event).
        x_0_hat: Prediction of x_0 at (x_t, t), shaped as x_0 and of its dtype.
        t: Later times, (batch,).
        s: Earlier times, 0 < s < t, (batch,).
        variance: Variance of p: "small" is the posterior's, "large" the transition's.

    Returns:
        Divergences, (batch,).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside its range, or the name of the variance is unknown.
    """
    if variance not in get_args(ReverseVariance):
        raise DomainError("LOS-14", f"one of {', '.join(get_args(ReverseVariance))}", repr(variance))
    same_shape("LOS-14", x_0=x_0, x_0_hat=x_0_hat)
    q = posterior(process, t=t, s=s)
    small = within("LOS-14", "s > 0, where the posterior has a density", q.variance, q.variance > 0.0, got=s)
    squares = _summed((x_0_hat - x_0).square())
    if variance == "small":
        return 0.5 * (q.on_x_0**2 / small).to(squares.dtype) * squares
    # The posterior's variance is the transition's times sigma_s^2/sigma_t^2, a ratio whose log is accurate.
    shrink = (marginal(process, s).sigma / marginal(process, t).sigma) ** 2
    spread = 0.5 * (shrink - 1.0 - torch.log(shrink))
    return 0.5 * (q.on_x_0**2 * shrink / small).to(squares.dtype) * squares + (_size(x_0) * spread).to(squares.dtype)


def decoder_term(x_0: Data, mean: Data, std: Batch, *, levels: int = 256) -> Batch:
    """Return -log p(x_0 | x_{k=1}) for data on equal levels in [-1, 1], in nats (LOS-15).

    A level has the mass of N(mean, std^2) within half a step of it; the outermost have the tails.

    Args:
        x_0: Data in [-1, 1], (batch, *event).
        mean: Mean of x_0 given x_{k=1}, shaped as x_0 and of its dtype.
        std: Standard deviation, above 0, (batch,).
        levels: Number of levels, at least 2.

    Returns:
        Negative log-likelihoods, (batch,).

    Raises:
        DomainError: Shapes or dtypes differ, or a value is outside its range.
    """
    same_shape("LOS-15", x_0=x_0, mean=mean)
    if levels < 2:
        raise DomainError("LOS-15", "levels >= 2", levels)
    std = over_event(within("LOS-15", "std > 0", std, std > 0.0).double(), x_0.double())
    half = 1.0 / (levels - 1)
    x = within("LOS-15", "x_0 in [-1, 1]", x_0, x_0.abs() <= 1.0).double()
    low = torch.where(x_0 < half - 1.0, -torch.inf, (x - half - mean.double()) / std)
    high = torch.where(x_0 > 1.0 - half, torch.inf, (x + half - mean.double()) / std)
    # The mass of [low, high] equals that of [-high, -low]; the side where both tails are small is accurate.
    flip = low > 0.0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_high = torch.special.log_ndtr(high)
    return -_summed(log_high + log1mexp(torch.special.log_ndtr(low) - log_high)).to(x_0.dtype)


def _summed(values: Tensor) -> Tensor:
    return by_example(values).sum(1)


def _size(x_0: Data) -> int:
    return x_0[0].numel() if len(x_0) else 0
