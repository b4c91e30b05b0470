"""The forward SDE, its reverse SDE, and the probability flow with the same marginals (spec chapter 3).

    forward    dx = -1/2 beta x dt + sqrt(beta) dW
    reverse    dx = [-1/2 beta x - beta score] dt + sqrt(beta) dW', in time that runs from 1 to 0
    flow       dx/dt = -1/2 beta x - 1/2 beta score

The score is the gradient of log p_t(x), p_t the marginal density of the noised data; that of q(x_t | x_0) is
`marginal.conditional_score`. Training uses none of this, since q(x_t | x_0) is known in closed form (chapter 2).
"""

from __future__ import annotations

import torch

from refdiff.schedule import Schedule
from refdiff.tensors import Batch, Data, Time, Times, Values, over_event, same_shape, within


def drift(schedule: Schedule, x: Data, t: Time) -> Data:
    """Return -1/2 beta(t) x, the drift of the forward SDE, per unit of time (SDE-1).

    Args:
        schedule: Schedule in continuous time.
        x: States, (batch, *event).
        t: Times with beta(t) finite, (batch,).

    Returns:
        Drifts, (batch, *event).

    Raises:
        DomainError: A time is outside [0, 1], or beta(t) is infinite.

    Example:
        >>> import refdiff, torch
        >>> refdiff.drift(refdiff.LinearSchedule(beta_min=0.0), torch.ones(1, 2), torch.tensor([1.0]))
        tensor([[-10., -10.]])
    """
    return -0.5 * over_event(_rate(schedule, t, "SDE-1"), x) * x


def diffusion_coefficient(schedule: Schedule, t: Times) -> Values:
    """Return g(t) = sqrt(beta(t)), the coefficient of dW in the forward SDE (SDE-2).

    Args:
        schedule: Schedule in continuous time.
        t: Times in [0, 1], any shape.

    Returns:
        Coefficients, shaped as t and of its dtype; +inf where beta is.

    Raises:
        DomainError: A time is outside [0, 1].

    Example:
        >>> import refdiff, torch
        >>> refdiff.diffusion_coefficient(refdiff.LinearSchedule(beta_min=4.0), torch.tensor([0.0]))
        tensor([2.])
    """
    return torch.sqrt(schedule.beta(t.double())).to(t.dtype)


def reverse_drift(schedule: Schedule, x: Data, score: Data, t: Time) -> Data:
    """Return -1/2 beta x - beta score, the drift of the reverse SDE in forward time (SDE-6).

    A step from t to s < t adds this times s - t, which is negative, and noise of variance beta (t - s).

    Args:
        schedule: Schedule in continuous time.
        x: States, (batch, *event).
        score: Gradient of log p_t at x, shaped as x and of its dtype.
        t: Times with beta(t) finite, (batch,).

    Returns:
        Drifts, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside [0, 1], or beta(t) is infinite.

    Example:
        >>> import refdiff, torch
        >>> x = torch.ones(1, 2)
        >>> refdiff.reverse_drift(refdiff.LinearSchedule(), x, -x, torch.tensor([1.0]))  # the score of N(0, I) is -x
        tensor([[10., 10.]])
    """
    same_shape("SDE-6", x=x, score=score)
    return -over_event(_rate(schedule, t, "SDE-6"), x) * (0.5 * x + score)


def probability_flow(schedule: Schedule, x: Data, score: Data, t: Time) -> Data:
    """Return dx/dt = -1/2 beta (x + score), the ODE with the marginals of the SDE (SDE-7).

    Valid in both directions of time.

    Args:
        schedule: Schedule in continuous time.
        x: States, (batch, *event).
        score: Gradient of log p_t at x, shaped as x and of its dtype.
        t: Times with beta(t) finite, (batch,).

    Returns:
        Velocities, (batch, *event).

    Raises:
        DomainError: Shapes or dtypes differ, a time is outside [0, 1], or beta(t) is infinite.

    Example:
        >>> import refdiff, torch
        >>> x = torch.ones(1, 2)
        >>> refdiff.probability_flow(refdiff.LinearSchedule(), x, -x, torch.tensor([1.0]))  # N(0, I) is stationary
        tensor([[-0., -0.]])
    """
    same_shape("SDE-7", x=x, score=score)
    return -0.5 * over_event(_rate(schedule, t, "SDE-7"), x) * (x + score)


def _rate(schedule: Schedule, t: Time, clause: str) -> Batch:
    beta = schedule.beta(t.double())
    return within(clause, "t with a finite beta", beta, torch.isfinite(beta), got=t.double())
