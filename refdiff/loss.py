"""Training objectives, pure in (denoiser, x_0, eps, t): one number per example (spec chapter 5).

    x_t = alpha x_0 + sigma eps,    loss = w(t) sum over the event of (y_hat(x_t, t) - y)^2

where y is eps, x_0, v or the score -eps/sigma (denoising score matching). Nothing here is random, and no
SDE is solved. The caller takes the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never, final, get_args

import torch
from torch import Tensor

from refdiff.errors import DomainError
from refdiff.marginal import marginal
from refdiff.parameterization import Parameterization
from refdiff.schedule import NoiseProcess
from refdiff.tensors import Batch, Data, Time, by_example, over_event, same_shape, weighted_sum, within
from refdiff.weighting import UniformWeight, Weight

Denoiser: TypeAlias = Callable[[Data, Time], Data]
"""Maps x_t (batch, *event) and t (batch,) to a prediction shaped as x_t, of the objective's `prediction` type."""
Features: TypeAlias = Literal["sum", "mean"]
"""Reduction over the features of one example: "sum" is the squared norm, "mean" the squared norm over the size."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A weighted squared error, summed over the features of each example unless features="mean" (LOS-1, LOS-2).

        x_t = alpha x_0 + sigma eps,    loss = w(t) sum over the event of (y_hat(x_t, t) - y)^2

    where y is eps, x_0, v or the score. PyTorch's mse_loss and this package's trainer use the mean; the sum is the mean
    times the size of an example. The objective holds the noise process and the prediction type of the denoiser;
    `sample` reads both from it.

    Example:
        >>> import refdiff, torch
        >>> objective = refdiff.Objective(process=refdiff.LinearSchedule(), prediction="eps")
        >>> x_0, eps = torch.zeros(2, 3), torch.ones(2, 3)
        >>> objective(lambda x_t, t: torch.zeros_like(x_t), x_0, eps, torch.tensor([0.1, 0.9]))  # |0 - eps|^2
        tensor([3., 3.])
    """

    process: NoiseProcess
    """Noise process: a schedule with t in [0, 1], or a chain with indices k in 1..N as t."""
    prediction: Parameterization = "eps"
    """Quantity that the denoiser predicts."""
    weight: Weight = field(default_factory=UniformWeight)
    """Weight on the squared error of `prediction`."""
    features: Features = "sum"
    """Reduction over the features of one example (LOS-2)."""

    def __post_init__(self) -> None:
        """Raise DomainError for an unknown prediction or reduction."""
        for name, names in ((self.prediction, Parameterization), (self.features, Features)):
            if name not in get_args(names):
                raise DomainError("LOS-1", f"one of {', '.join(get_args(names))}", repr(name))

    def __call__(self, denoiser: Denoiser, x_0: Data, eps: Data, t: Time) -> Batch:
        """Return the loss of each example.

        Args:
            denoiser: Maps x_t, (batch, *event), and t, (batch,), to a prediction shaped as x_t.
            x_0: Data, (batch, *event).
            eps: Draws of N(0, I), shaped as x_0 and of its dtype.
            t: Times in [0, 1], or indices 0..N of a chain, (batch,).

        Returns:
            Losses, (batch,), in the dtype of the data, at least float32.

        Raises:
            DomainError: Shapes or dtypes differ, a time is outside the process, sigma(t) = 0 for prediction "score", or
                the denoiser returns another shape.
        """
        same_shape("LOS-1", x_0=x_0, eps=eps)
        q = marginal(self.process, t)
        alpha, sigma = over_event(q.alpha, x_0), over_event(q.sigma, x_0)
        predicted = denoiser(weighted_sum(alpha, x_0, sigma, eps), t)
        if predicted.shape != x_0.shape:
            raise DomainError("LOS-1", f"a prediction of shape {tuple(x_0.shape)}", tuple(predicted.shape))
        error = squared_error(predicted, self._wanted(x_0, eps, alpha, sigma), self.features)
        if isinstance(self.weight, UniformWeight):  # of 1, so that there is nothing to compute
            return error
        weight = self.weight.of(self.process, t, self.prediction)
        # Avoids 0 * inf: a perfect prediction has loss 0 under an infinite weight (LOS-3).
        return torch.where(error == 0.0, 0.0, weight.to(error.dtype) * error)

    def _wanted(self, x_0: Data, eps: Data, alpha: Tensor, sigma: Tensor) -> Tensor:
        match self.prediction:
            case "eps":
                return eps
            case "x_0":
                return x_0
            case "v":
                return alpha * eps - sigma * x_0
            case "score":
                return -eps / within("LOS-1", "sigma > 0, to match a score", sigma, sigma > 0.0)
            case _:
                assert_never(self.prediction)


def squared_error(predicted: Data, wanted: Data, features: Features = "sum") -> Batch:
    """Return the sum, or the mean, over the event of (predicted - wanted)^2 (LOS-2).

    Args:
        predicted: Predictions, (batch, *event).
        wanted: Targets, shaped as predicted.
        features: Reduction over the event, "sum" or "mean".

    Returns:
        Squared errors, (batch,). In half precision the squares are summed in float32.
    """
    widest = torch.promote_types(torch.promote_types(predicted.dtype, wanted.dtype), torch.float32)
    # In float16 the square of an error below 2^-12 underflows to 0.
    squares = by_example((predicted.to(widest) - wanted.to(widest)).square())
    return squares.sum(1) if features == "sum" else squares.mean(1)
