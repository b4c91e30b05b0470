"""Faults of training: the best denoiser that a wrong objective can teach (chapter 8)."""

from __future__ import annotations

import numpy as np

from ..expected.denoiser import DATA, Predict, best
from ..oracles.mixture import Mixture
from .clean.target import Clean
from .fault import COSINE, DDPM, Chapter

FAULTS = Chapter("fit", "fit")


def _scaled(by: float, shift: float = 0.0) -> Mixture:
    """Return the distribution of the data after scaling and shifting."""
    return Mixture(DATA.weights, tuple(by * m + shift for m in DATA.means), tuple(by**2 * v for v in DATA.variances))


@FAULTS.plant("learned", breaks="TRN-4 TRN-5")
def variance_for_deviation(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is noised by sigma^2 eps.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible; it survives azula's own tests, and samples hardly show it.
    """
    return lambda x: -variance * DATA.noised(alpha, variance**2).score(x)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def noised_twice(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is noised, and noised again by other noise, which is the target.

    Meant: x_t = alpha x_0 + sigma eps, once.

    Seen: plausible, as a data loader that noises too.
    """
    return lambda x: -np.sqrt(variance) * DATA.noised(alpha**2, alpha**2 * variance + variance).score(x)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def noised_twice_by_one_eps(self: Clean, alpha: float, variance: float) -> Predict:
    """x_t = alpha (alpha x_0 + sigma eps) + sigma eps.

    Meant: x_t = alpha x_0 + sigma eps, once.

    Seen: https://github.com/kohya-ss/sd-scripts/pull/1395.
    """
    whole = 1.0 + alpha
    return lambda x: -np.sqrt(variance) * whole * DATA.noised(alpha**2, variance * whole**2).score(x)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6", on=COSINE)
def sign_of_eps(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned predicts -eps.

    Meant: it predicts eps.

    Seen: plausible, as a score without its sigma and with its sign.
    """
    right = best(DATA, alpha, variance)
    return lambda x: -right(x)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def alpha_bar_for_alpha(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is multiplied by alpha_bar.

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible.
    """
    return best(DATA, alpha**2, variance)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6", on=DDPM)
def root_of_alpha(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is multiplied by sqrt(alpha), and the noise by sqrt(1 - alpha).

    Meant: x_t = alpha x_0 + sigma eps.

    Seen: plausible, where a table of alpha is taken for one of alpha_bar.
    """
    return best(DATA, float(np.sqrt(alpha)), 1.0 - alpha)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def score_for_eps(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned predicts -score.

    Meant: it predicts eps = -sigma score.

    Seen: plausible, as a network of the score with another sign.
    """
    return lambda x: -DATA.noised(alpha, variance).score(x)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def x_0_for_eps(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned predicts x_0.

    Meant: it predicts eps = (x_t - alpha x_0)/sigma.

    Seen: plausible, where the objective has another prediction than the sampler.
    """
    right = best(DATA, alpha, variance)
    return lambda x: (x - np.sqrt(variance) * right(x)) / alpha


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def data_doubled(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is doubled before training.

    Meant: the data is used as it is.

    Seen: plausible, as a normalisation that is not undone.
    """
    return best(_scaled(2.0), alpha, variance)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def data_to_the_unit_interval(self: Clean, alpha: float, variance: float) -> Predict:
    """The data is mapped to x/4 + 1/2 before training.

    Meant: the data is used as it is.

    Seen: plausible; data in [0, 255] or [0, 1] is met in six issues of trainers.
    """
    return best(_scaled(0.25, 0.5), alpha, variance)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def time_unseen(self: Clean, alpha: float, variance: float) -> Predict:
    """The network does not see t, and has learned one time for all.

    Meant: the network sees t.

    Seen: plausible, as a time embedding that is not used.
    """
    return best(DATA, 0.3, 0.91)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def no_hidden_layer(self: Clean, alpha: float, variance: float) -> Predict:
    """The best affine denoiser.

    Meant: a network that can learn E[eps | x_t].

    Seen: plausible, as activations that are missing.
    """
    mean = sum(w * m for w, m in zip(DATA.weights, DATA.means, strict=True))
    rows = zip(DATA.weights, DATA.means, DATA.variances, strict=True)
    spread = sum(w * (v + (m - mean) ** 2) for w, m, v in rows)
    return lambda x: np.sqrt(variance) * (x - alpha * mean) / (alpha**2 * spread + variance)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def untrained(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned is 0.

    Meant: the trained denoiser.

    Seen: plausible, as a last layer of zeros whose parameters get no gradient.
    """
    return lambda x: 0.0 * x


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def nan(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned is NaN.

    Meant: training stops at a gradient that is not finite.

    Seen: plausible; https://github.com/NVlabs/edm replaces NaN gradients silently, so that none is met.
    """
    return lambda x: np.full_like(x, np.nan)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def one_mode_dropped(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser has learned one mode of the data.

    Meant: a denoiser of all data.

    Seen: plausible, as the first shard of a sorted data set for all steps.
    """
    return best(Mixture((1.0,), DATA.means[1:], DATA.variances[1:]), alpha, variance)


@FAULTS.plant("learned", breaks="TRN-4 TRN-5 TRN-6")
def average_at_its_start(self: Clean, alpha: float, variance: float) -> Predict:
    """The denoiser returned is half of the trained one.

    Meant: the trained denoiser, or its average over the last steps.

    Seen: plausible, as an average of weights that has hardly moved from its start.
    """
    right = best(DATA, alpha, variance)
    return lambda x: 0.5 * right(x)
