"""Training objectives, pure in (denoiser, x_0, eps, t): one number per example (spec chapter 5).

    x_t = alpha x_0 + sigma eps,    loss = w(t) sum over the event of (y_hat(x_t, t) - y)^2

where y is eps, x_0, v or the score -eps/sigma (denoising score matching). Nothing here is random, and no
SDE is solved. The mean over a batch is the caller's line.
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
from refdiff.weighting import Uniform, Weight

Denoiser: TypeAlias = Callable[[Data, Time], Data]
"""Maps x_t (batch, *event) and t (batch,) to a prediction shaped as x_t; what of, the objective says."""
Features: TypeAlias = Literal["sum", "mean"]
"""Over the numbers of one example: the sum is the squared norm of the formulas, the mean is that over its size."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A weighted squared error, summed over the features of each example unless features="mean" (LOS-1, LOS-2).

    PyTorch's mse_loss and this package's trainer take the mean: the sum is that times the size of an example.
    The objective names the process and what the denoiser predicts, and `sample` takes both from it.
    """

    process: NoiseProcess
    """A schedule, or a chain, whose t is k in 1..N."""
    prediction: Parameterization = "eps"
    """What the denoiser predicts."""
    weight: Weight = field(default_factory=Uniform)
    """Multiplies the squared error of `prediction`."""
    features: Features = "sum"
    """How the numbers of one example become one (LOS-2): their sum, as in the formulas, or their mean."""

    def __post_init__(self) -> None:
        """Refuse names that are none of the four predictions, none of the two reductions."""
        for name, names in ((self.prediction, Parameterization), (self.features, Features)):
            if name not in get_args(names):
                raise DomainError("LOS-1", f"one of {', '.join(get_args(names))}", repr(name))

    def __call__(self, denoiser: Denoiser, x_0: Data, eps: Data, t: Time) -> Batch:
        """Return the loss of each example, in the dtype of the data, float32 at least.

        x_0, eps: (batch, *event), one dtype; t: (batch,). Raises DomainError on a mismatch, where the process has
        no such t, where prediction is the score and sigma(t) = 0, and where the denoiser returns another shape.
        """
        same_shape("LOS-1", x_0=x_0, eps=eps)
        q = marginal(self.process, t)
        alpha, sigma = over_event(q.alpha, x_0), over_event(q.sigma, x_0)
        predicted = denoiser(weighted_sum(alpha, x_0, sigma, eps), t)
        if predicted.shape != x_0.shape:
            raise DomainError("LOS-1", f"a prediction of shape {tuple(x_0.shape)}", tuple(predicted.shape))
        error = squared_error(predicted, self._wanted(x_0, eps, alpha, sigma), self.features)
        weight = self.weight.of(self.process, t, self.prediction)
        # 0 * inf: a perfect prediction has loss 0 under a weight without bound (LOS-3).
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
    """Return the sum, or the mean, over the event of (predicted - wanted)^2, (batch,) (LOS-2).

    predicted, wanted: (batch, *event). In half precision the squares are summed in float32.
    """
    widest = torch.promote_types(torch.promote_types(predicted.dtype, wanted.dtype), torch.float32)
    # Squared in float16, an error below 2^-12 is 0.
    squares = by_example((predicted.to(widest) - wanted.to(widest)).square())
    return squares.sum(1) if features == "sum" else squares.mean(1)
