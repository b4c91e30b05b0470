"""Faults of losses: target, what the denoiser is given, squares and means (chapter 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Parameterization

from .clean.scales import column
from .clean.target import Clean
from .fault import LINEAR, SHORT, Chapter

FAULTS = Chapter("loss", "loss")
PLAIN: dict[str, Any] = {"weights": ("uniform",)}

# The target.


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def objective_ignored(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """eps is compared with every prediction.

    Meant: the target is eps, x_0, v or the score, as the objective declares.

    Seen: LearnedGaussianDiffusion of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    return eps


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def data_for_noise(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """x_0 is compared with a prediction of eps.

    Meant: the target of a prediction of eps is eps.

    Seen: plausible; the loss goes down all the same.
    """
    return x_0 if prediction == "eps" else Clean.target(self, prediction, x_0, eps, a, s)


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def v_negated(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """v = sigma x_0 - alpha eps.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible; survives diffusers' own tests.
    """
    found = Clean.target(self, prediction, x_0, eps, a, s)
    return -found if prediction == "v" else found


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def v_scales_swapped(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """v = sigma eps - alpha x_0.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible; survives diffusers' own tests.
    """
    return s * eps - a * x_0 if prediction == "v" else Clean.target(self, prediction, x_0, eps, a, s)


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def v_plus(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """v = alpha eps + sigma x_0.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible.
    """
    return a * eps + s * x_0 if prediction == "v" else Clean.target(self, prediction, x_0, eps, a, s)


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def score_positive(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """The target of a score is eps/sigma.

    Meant: score = -eps/sigma.

    Seen: diffusers' score-SDE VP scheduler takes eps for a score, https://github.com/huggingface/diffusers.
    """
    return eps / s if prediction == "score" else Clean.target(self, prediction, x_0, eps, a, s)


@FAULTS.plant("target", breaks="LOS-1 LOS-3", **PLAIN)
def score_by_variance(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """The target of a score is -eps/sigma^2.

    Meant: score = -eps/sigma.

    Seen: plausible; the score of x_t at x_0 is -(x_t - alpha x_0)/sigma^2, and sigma^2 stays if eps stands above it.
    """
    return -eps / s**2 if prediction == "score" else Clean.target(self, prediction, x_0, eps, a, s)


@FAULTS.plant("target", breaks="LOS-1 LOS-3", on=(LINEAR, SHORT), **PLAIN)
def noise_scaled(self: Clean, prediction: Parameterization, x_0: Any, eps: Any, a: Any, s: Any) -> Any:
    """The target of a prediction of eps is sigma eps.

    Meant: the target is eps; sigma eps is the noise that x_t holds.

    Seen: plausible; ddpm-torch's second issue asks whether it is meant.
    """
    return s * eps if prediction == "eps" else Clean.target(self, prediction, x_0, eps, a, s)


# Squares and means.


@FAULTS.plant("squares", breaks="LOS-1", **PLAIN)
def absolute_for_square(self: Clean, weight: Any, residual: Any) -> Any:
    """The loss is w sum |y_hat - y|.

    Meant: w sum (y_hat - y)^2.

    Seen: `loss_type="l1"` of https://github.com/lucidrains/denoising-diffusion-pytorch, once the default.
    """
    return weight * np.abs(residual)


@FAULTS.plant("squares", breaks="LOS-1", **PLAIN)
def huber(self: Clean, weight: Any, residual: Any) -> Any:
    """The loss is Huber's: r^2 up to 1, and 2 |r| - 1 beyond.

    Meant: w sum (y_hat - y)^2.

    Seen: `loss_type="huber"` of several trainers, as https://github.com/kohya-ss/sd-scripts.
    """
    r = np.abs(residual)
    return weight * np.where(r < 1.0, r**2, 2.0 * r - 1.0)


@FAULTS.plant("squares", breaks="LOS-2", reduction="all_mean", weights=("min_snr",))
def mean_of_weights(self: Clean, weight: Any, residual: Any) -> Any:
    """mean(w) mean((y_hat - y)^2).

    Meant: mean(w (y_hat - y)^2); a weight multiplies before any mean is taken.

    Seen: https://github.com/huggingface/diffusers/pull/6356, weights that met the loss after the mean.
    """
    return np.mean(weight) * residual**2


@FAULTS.plant("squares", breaks="LOS-1 LOS-4", weights=("min_snr",))
def weight_of_the_next(self: Clean, weight: Any, residual: Any) -> Any:
    """The square of each example has the weight of the one beside it.

    Meant: w(t) of the example's own t.

    Seen: plausible, where weights and losses are of (2B,) and (B,), https://github.com/huggingface/diffusers/pull/6356.
    """
    return np.roll(weight, 1, axis=0) * residual**2


@FAULTS.plant("squares", breaks="NOT-2", weights=("min_snr",))
def weights_along_the_event(self: Clean, weight: Any, residual: Any) -> Any:
    """Weights (n,) multiply data (n, n) along the event.

    Meant: weights of shape (n, 1, ...), one for each example.

    Seen: plausible; it shows where an event has the size of the batch alone.
    """
    along = residual.shape == (len(weight), len(weight))
    return (weight.reshape(-1) if along else weight) * residual**2


@FAULTS.plant("squares", breaks="LOS-1", **PLAIN)
def residual_clipped(self: Clean, weight: Any, residual: Any) -> Any:
    """The square of the residual clipped to [-1, 1].

    Meant: w sum (y_hat - y)^2.

    Seen: plausible, against outliers.
    """
    return weight * np.clip(residual, -1.0, 1.0) ** 2


@FAULTS.plant("squares", breaks="LOS-1", **PLAIN)
def squares_in_half(self: Clean, weight: Any, residual: Any) -> Any:
    """Squares in bfloat16.

    Meant: w sum (y_hat - y)^2 in the dtype of the claim, or a wider one.

    Seen: https://github.com/LTH14/JiT/issues/13, a loss in half precision diverges.
    """
    return FORMATS["bfloat16"].rounded(weight * residual**2)


@FAULTS.plant("squares", breaks="LOS-1", **PLAIN)
def root_of_the_square(self: Clean, weight: Any, residual: Any) -> Any:
    """Each example's squares are divided by the root of their sum: its norm.

    Meant: w sum (y_hat - y)^2, not its root.

    Seen: plausible, as torch.norm(y_hat - y).
    """
    r = residual.reshape(len(residual), -1)
    return weight * residual**2 / np.maximum(column(np.sqrt((r**2).sum(1)), residual), 1e-300)


@FAULTS.plant("factor", breaks="LOS-1", **PLAIN)
def half_not_declared(self: Clean) -> Any:
    """The loss is half a sum of squares, and the claim does not say so.

    Meant: w sum (y_hat - y)^2, or a declared factor of 1/2.

    Seen: `reduce_mean` of https://github.com/yang-song/score_sde_pytorch, whose branches differ by half of D.
    """
    return 0.5


@FAULTS.plant("factor", breaks="LOS-1", loss_factor=0.5, **PLAIN)
def half_squared(self: Clean) -> Any:
    """A quarter of the sum of squares: half of the residual, squared.

    Meant: the declared factor 1/2 on the sum of squares.

    Seen: plausible.
    """
    return self.claim.loss_factor**2


@FAULTS.plant("factor", breaks="LOS-1", loss_factor=0.5, **PLAIN)
def factor_absent(self: Clean) -> Any:
    """The sum of squares, where the claim declares half of it.

    Meant: the declared factor 1/2 on the sum of squares.

    Seen: plausible.
    """
    return 1.0


@FAULTS.plant("reduced", breaks="LOS-1 LOS-2", **PLAIN)
def mean_for_sum(self: Clean, squares: Any) -> Any:
    """The mean over the event.

    Meant: the sum over the event, as the claim says.

    Seen: plausible; `F.mse_loss` has the mean.
    """
    return squares.reshape(len(squares), -1).mean(1)


@FAULTS.plant("reduced", breaks="LOS-2", reduction="example_mean", **PLAIN)
def sum_for_mean(self: Clean, squares: Any) -> Any:
    """The sum over the event.

    Meant: the mean over the event, as the claim says.

    Seen: `reduce_mean=False` of https://github.com/yang-song/score_sde_pytorch.
    """
    return squares.reshape(len(squares), -1).sum(1)


@FAULTS.plant("reduced", breaks="LOS-2", reduction="batch_mean", **PLAIN)
def mean_of_all(self: Clean, squares: Any) -> Any:
    """The mean of all squares.

    Meant: the mean over the batch of sums over the event, as the claim says.

    Seen: plausible; `F.mse_loss` has the mean of all.
    """
    return squares.mean()


@FAULTS.plant("reduced", breaks="LOS-2", reduction="all_mean", **PLAIN)
def mean_of_sums(self: Clean, squares: Any) -> Any:
    """The mean over the batch of sums over the event.

    Meant: the mean of all squares, as the claim says.

    Seen: plausible.
    """
    return squares.reshape(len(squares), -1).sum(1).mean()


@FAULTS.plant("reduced", breaks="LOS-2", reduction="batch_mean", **PLAIN)
def sum_of_all(self: Clean, squares: Any) -> Any:
    """The sum of all squares.

    Meant: the mean over the batch of sums over the event, as the claim says.

    Seen: plausible, as `reduction="sum"`.
    """
    return squares.sum()


@FAULTS.plant("reduced", breaks="LOS-1 LOS-2", reduction="example_mean", **PLAIN)
def mean_of_the_batch_for_each(self: Clean, squares: Any) -> Any:
    """Each example has the mean of the whole batch.

    Meant: each example has the mean over its own event.

    Seen: plausible, as a mean that is expanded again.
    """
    return np.full(len(squares), squares.mean())
