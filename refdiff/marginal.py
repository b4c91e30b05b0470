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

from refdiff.derived import RateSchedule
from refdiff.errors import DomainError
from refdiff.numerics import expm1, with_slopes
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Batch, Data, Time, Times, Values, by_example, over_event, same_shape, weighted_sum, within


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marginal:
    """N(alpha x, sigma^2 I), the distribution of a later state given an earlier state x.

    Example:
        >>> import refdiff, torch
        >>> q = refdiff.transition(refdiff.LinearSchedule(), t=torch.tensor([0.5]), s=torch.tensor([0.5]))
        >>> isinstance(q, refdiff.Marginal), q.alpha.item(), q.sigma.item()
        (True, 1.0, 0.0)
        >>> q.mean(torch.ones(1, 2))
        tensor([[1., 1.]])
    """

    alpha: Values
    """Coefficient of the earlier state, float64."""
    sigma: Values
    """Standard deviation of the noise added since the earlier state, float64."""

    def mean(self, x: Data) -> Data:
        """Return alpha x, the mean of the later state.

        Args:
            x: Earlier states, (batch, *event).

        Returns:
            Means, (batch, *event), in the dtype of x.
        """
        return over_event(self.alpha, x) * x

    def sample(self, x: Data, noise: Data) -> Data:
        """Return alpha x + sigma noise, a draw of the later state.

        Args:
            x: Earlier states, (batch, *event).
            noise: Draws of N(0, I), shaped as x and of its dtype.

        Returns:
            Later states, (batch, *event).

        Raises:
            DomainError: Shapes or dtypes differ (MAR-4).
        """
        same_shape("MAR-4", x=x, noise=noise)
        return _drawn(self, x, noise)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """N(on_x_0 x_0 + on_x_t x_t, variance I), the distribution of x_s given x_0 and x_t, s < t (MAR-7).

    Example:
        >>> import refdiff, torch
        >>> q = refdiff.posterior(refdiff.LinearSchedule(), t=torch.tensor([0.5]), s=torch.tensor([0.0]))
        >>> isinstance(q, refdiff.Posterior), q.on_x_0.item(), q.on_x_t.item(), q.variance.item()  # x_s is x_0
        (True, 1.0, 0.0, 0.0)
    """

    on_x_0: Values
    """Coefficient of x_0 in the mean, float64."""
    on_x_t: Values
    """Coefficient of x_t in the mean, float64."""
    variance: Values
    """Variance of each component, float64; 0 at s = 0."""

    @property
    def sigma(self) -> Values:
        """Standard deviation of each component, float64."""
        return torch.sqrt(self.variance)

    def mean(self, *, x_0: Data, x_t: Data) -> Data:
        """Return on_x_0 x_0 + on_x_t x_t, the mean of x_s.

        Args:
            x_0: Data, (batch, *event).
            x_t: Later states, shaped as x_0 and of its dtype.

        Returns:
            Means, (batch, *event).

        Raises:
            DomainError: Shapes or dtypes differ (MAR-7).
        """
        same_shape("MAR-7", x_t=x_t, x_0=x_0)
        return weighted_sum(over_event(self.on_x_0, x_0), x_0, over_event(self.on_x_t, x_t), x_t)

    def sample(self, noise: Data, *, x_0: Data, x_t: Data) -> Data:
        """Return the mean plus sigma noise, a draw of x_s.

        Args:
            noise: Draws of N(0, I), (batch, *event).
            x_0: Data, shaped as noise and of its dtype.
            x_t: Later states, shaped as noise and of its dtype.

        Returns:
            Earlier states, (batch, *event).

        Raises:
            DomainError: Shapes or dtypes differ (MAR-7).
        """
        same_shape("MAR-7", noise=noise, x_0=x_0)
        return self.mean(x_0=x_0, x_t=x_t) + over_event(self.sigma, noise) * noise


def marginal(process: NoiseProcess, t: Times) -> Marginal:
    """Return q(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I) (MAR-1, MAR-2).

    Args:
        process: Schedule or chain.
        t: Times in [0, 1], or indices 0..N of a chain, any shape.

    Returns:
        Coefficients, float64, shaped as t.

    Raises:
        DomainError: A time is outside the process.
    """
    exact = _widened(t)
    alpha, sigma = (
        process.scales(exact) if isinstance(process, RateSchedule) else (process.alpha(exact), process.sigma(exact))
    )
    return Marginal(alpha=alpha, sigma=sigma)


def transition(process: NoiseProcess, *, t: Times, s: Times) -> Marginal:
    """Return q(x_t | x_s) = N(alpha_t/alpha_s x_s, (1 - alpha_bar_t/alpha_bar_s) I) (MAR-6).

    Args:
        process: Schedule or chain.
        t: Later times, any shape.
        s: Earlier times, s <= t, shaped as t, with alpha(s) > 0.

    Returns:
        Coefficients, float64, shaped as t.

    Raises:
        DomainError: A time is outside the process, s > t, alpha(s) = 0, or shapes differ.

    Example:
        >>> import refdiff, torch
        >>> t, s = torch.tensor([0.5]), torch.tensor([0.0])
        >>> q = refdiff.transition(refdiff.LinearSchedule(), t=t, s=s)
        >>> bool(q.sigma == refdiff.LinearSchedule().sigma(t.double()))  # from 0 it is q(x_t | x_0)
        True
    """
    earlier, later = _widened(s), _widened(t)
    added = -expm1(process.log_decay(t=later, s=earlier))
    # The derivative of plain sqrt turns a gradient of 0 (eps = 0) into NaN at s = t.
    sigma = with_slopes(torch.sqrt, (lambda added: 0.5 / torch.sqrt(added),), added)
    # alpha as a ratio: exp(log_decay / 2) has no derivative of its own where cosine's alpha reaches 0.
    return Marginal(alpha=process.alpha(later) / process.alpha(earlier), sigma=sigma)


def posterior(process: NoiseProcess, *, t: Times, s: Times) -> Posterior:
    """Return q(x_s | x_t, x_0), the distribution of an earlier state given a later one and the data (MAR-7).

        on_x_0 = alpha_s sigma_t|s^2/sigma_t^2,    on_x_t = alpha_t/alpha_s sigma_s^2/sigma_t^2
        variance = sigma_t|s^2 sigma_s^2/sigma_t^2,    sigma_t|s^2 = 1 - alpha_bar_t/alpha_bar_s

    Args:
        process: Schedule or chain.
        t: Later times, any shape.
        s: Earlier times, s < t, shaped as t.

    Returns:
        Coefficients, float64, shaped as t.

    Raises:
        DomainError: A time is outside the process, s >= t, or shapes differ.

    Example:
        >>> import refdiff, torch
        >>> chain = refdiff.DiscreteChain(betas=(0.5, 0.5))
        >>> q = refdiff.posterior(chain, t=torch.tensor([2]), s=torch.tensor([1]))
        >>> round(q.variance.item(), 6)
        0.333333
    """
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


def perturb(process: NoiseProcess, x_0: Data, eps: Data, t: Time) -> Data:
    """Return x_t = alpha_t x_0 + sigma_t eps, a draw of q(x_t | x_0) for given noise (MAR-4).

    Args:
        process: Schedule or chain.
        x_0: Data, (batch, *event).
        eps: Draws of N(0, I), shaped as x_0 and of its dtype.
        t: Times in [0, 1], or indices 0..N of a chain, (batch,).

    Returns:
        Noised data, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, or a time is outside the process.

    Example:
        >>> import refdiff, torch
        >>> x_0, eps = torch.ones(2, 3), torch.full((2, 3), 5.0)
        >>> refdiff.perturb(refdiff.CosineSchedule(), x_0, eps, torch.tensor([0.0, 1.0]))
        tensor([[1., 1., 1.],
                [5., 5., 5.]])
    """
    same_shape("MAR-4", x_0=x_0, eps=eps)
    return _drawn(marginal(process, t), x_0, eps)


def posterior_mean(process: NoiseProcess, x_t: Data, x_0: Data, *, t: Time, s: Time) -> Data:
    """Return on_x_0 x_0 + on_x_t x_t, the mean of q(x_s | x_t, x_0) (MAR-7).

    Args:
        process: Schedule or chain.
        x_t: Noised data, (batch, *event).
        x_0: Data, shaped as x_t and of its dtype.
        t: Times of x_t, (batch,).
        s: Earlier times, s < t, (batch,).

    Returns:
        Means, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, s >= t, or a time is outside the process.

    Example:
        >>> import refdiff, torch
        >>> x_t, x_0 = torch.zeros(1, 2), torch.ones(1, 2)
        >>> refdiff.posterior_mean(refdiff.LinearSchedule(), x_t, x_0, t=torch.tensor([0.5]), s=torch.tensor([0.0]))
        tensor([[1., 1.]])
    """
    same_shape("MAR-7", x_t=x_t, x_0=x_0)
    return posterior(process, t=t, s=s).mean(x_0=x_0, x_t=x_t)


def log_density(process: NoiseProcess, x_t: Data, x_0: Data, t: Time) -> Batch:
    """Return log q(x_t | x_0), natural, summed over the event (MAR-9).

        log q = -1/2 sum (x_t - alpha x_0)^2/sigma^2 - D (log sigma + 1/2 log 2 pi),    D numbers in an event

    Args:
        process: Schedule or chain.
        x_t: Noised data, (batch, *event).
        x_0: Data, shaped as x_t and of its dtype.
        t: Times with sigma(t) > 0, (batch,).

    Returns:
        Log densities, (batch,).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside the process, or sigma(t) = 0: no density exists there.

    Example:
        >>> import refdiff, torch
        >>> x = torch.zeros(1, 2)
        >>> refdiff.log_density(refdiff.CosineSchedule(), x, x, torch.tensor([1.0]))  # -log(2 pi)
        tensor([-1.8379])
    """
    sigma, standard = _standardized(process, x_t, x_0, t)
    size = x_0[0].numel() if len(x_0) else 0
    squares = by_example(standard.square()).sum(1)
    return -0.5 * squares - (size * (torch.log(sigma) + 0.5 * log(2.0 * pi))).to(x_0.dtype)


def conditional_score(process: NoiseProcess, x_t: Data, x_0: Data, t: Time) -> Data:
    """Return the gradient of log q(x_t | x_0) in x_t, -(x_t - alpha x_0)/sigma^2 (MAR-9).

    Args:
        process: Schedule or chain.
        x_t: Noised data, (batch, *event).
        x_0: Data, shaped as x_t and of its dtype.
        t: Times with sigma(t) > 0, (batch,).

    Returns:
        Scores, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside the process, or sigma(t) = 0.

    Example:
        >>> import refdiff, torch
        >>> x_t, x_0 = torch.ones(1, 2), torch.zeros(1, 2)
        >>> refdiff.conditional_score(refdiff.CosineSchedule(), x_t, x_0, torch.tensor([1.0]))  # q is N(0, I)
        tensor([[-1., -1.]])
    """
    sigma, standard = _standardized(process, x_t, x_0, t)
    # Divided twice: 1/sigma^2 overflows float32 below t = 1e-38, where the score need not.
    return -standard / over_event(sigma, x_0)


def _drawn(q: Marginal, x: Data, noise: Data) -> Data:
    return weighted_sum(over_event(q.alpha, x), x, over_event(q.sigma, x), noise)


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
