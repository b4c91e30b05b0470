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
    """Return -1/2 beta(t) x, per unit of time (SDE-1). x: (batch, *event); t: (batch,) with beta(t) finite."""
    return -0.5 * over_event(_rate(schedule, t, "SDE-1"), x) * x


def diffusion_coefficient(schedule: Schedule, t: Times) -> Values:
    """Return sqrt(beta(t)), the coefficient of dW, any shape (SDE-2); +inf where beta is."""
    return torch.sqrt(schedule.beta(t.double())).to(t.dtype)


def reverse_drift(schedule: Schedule, x: Data, score: Data, t: Time) -> Data:
    """Return -1/2 beta x - beta score, the drift of the reverse SDE in forward time (SDE-6).

    x, score: (batch, *event), one dtype; t: (batch,) with beta(t) finite. A step from t to s < t adds this times
    s - t, which is negative, and noise of variance beta (t - s).
    """
    same_shape("SDE-6", x=x, score=score)
    return -over_event(_rate(schedule, t, "SDE-6"), x) * (0.5 * x + score)


def probability_flow(schedule: Schedule, x: Data, score: Data, t: Time) -> Data:
    """Return dx/dt = -1/2 beta (x + score), the probability flow (SDE-7).

    x, score: (batch, *event), one dtype; t: (batch,) with beta(t) finite. Valid in both directions of time.
    """
    same_shape("SDE-7", x=x, score=score)
    return -0.5 * over_event(_rate(schedule, t, "SDE-7"), x) * (x + score)


def _rate(schedule: Schedule, t: Time, clause: str) -> Batch:
    beta = schedule.beta(t.double())
    return within(clause, "t with a finite beta", beta, torch.isfinite(beta), got=t.double())
