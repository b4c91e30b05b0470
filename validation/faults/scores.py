"""Faults of conversions by way of the score, and of what all conversions share (chapter 4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Parameterization, Times

from .clean.conversions import Conversions
from .clean.target import Clean
from .fault import COSINE, OWN, Chapter

FAULTS = Chapter("converted", "convert")


@FAULTS.plant("x_0_from_score", breaks="PAR-4")
def tweedie_without_alpha(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = x_t + sigma^2 score.

    Meant: x_0 = (x_t + sigma^2 score)/alpha.

    Seen: plausible; Tweedie's formula of a variance-exploding process.
    """
    return x + s**2 * score


@FAULTS.plant("x_0_from_score", breaks="PAR-4")
def tweedie_with_sigma(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t + sigma score)/alpha.

    Meant: x_0 = (x_t + sigma^2 score)/alpha.

    Seen: plausible; a score that is really eps.
    """
    return (x + s * score) / a


@FAULTS.plant("x_0_from_score", breaks="PAR-4")
def tweedie_sign(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma^2 score)/alpha.

    Meant: x_0 = (x_t + sigma^2 score)/alpha.

    Seen: plausible.
    """
    return (x - s**2 * score) / a


@FAULTS.plant("score_from_x_0", breaks="PAR-4")
def score_from_x_0_with_sigma(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """score = (alpha x_0 - x_t)/sigma.

    Meant: score = (alpha x_0 - x_t)/sigma^2.

    Seen: plausible.
    """
    return (a * x_0 - x) / s


@FAULTS.plant("score_from_x_0", breaks="PAR-4")
def score_from_x_0_without_alpha(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """score = (x_0 - x_t)/sigma^2.

    Meant: score = (alpha x_0 - x_t)/sigma^2.

    Seen: plausible; right in the variables of https://github.com/NVlabs/edm.
    """
    return (x_0 - x) / s**2


@FAULTS.plant("score_from_x_0", breaks="PAR-4")
def score_from_x_0_sign(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """score = (x_t - alpha x_0)/sigma^2.

    Meant: score = (alpha x_0 - x_t)/sigma^2.

    Seen: plausible.
    """
    return (x - a * x_0) / s**2


@FAULTS.plant("score_from_v", breaks="PAR-4")
def score_from_v_not_divided(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """score = -(sigma x_t + alpha v).

    Meant: score = -(x_t + alpha v/sigma).

    Seen: plausible; -eps for the score.
    """
    return -(s * x + a * v)


@FAULTS.plant("score_from_v", breaks="PAR-4")
def score_from_v_sign(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """score = -(x_t - alpha v/sigma).

    Meant: score = -(x_t + alpha v/sigma).

    Seen: plausible.
    """
    return -(x - a * v / s)


@FAULTS.plant("v_from_score", breaks="PAR-4")
def v_from_score_sign(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """v = -sigma (score - x_t)/alpha.

    Meant: v = -sigma (score + x_t)/alpha.

    Seen: plausible.
    """
    return -s * (score - x) / a


@FAULTS.plant("v_from_score", breaks="PAR-4")
def v_from_score_with_x_t(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """v = -alpha sigma score - sigma x_t.

    Meant: v = -alpha sigma score - sigma x_0.

    Seen: plausible.
    """
    return -s * (a * score + x)


@FAULTS.plant("converted", breaks="PAR-4")
def sign_of_the_score(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """score = eps/sigma and eps = sigma score: a round trip does not show it.

    Meant: score = -eps/sigma and eps = -sigma score.

    Seen: plausible; a network of eps/sigma called a score.
    """
    found = Clean.converted(self, -value if source == "score" else value, x, t, source, to)
    return -found if to == "score" else found


@FAULTS.plant("converted", breaks="PAR-3")
def sign_of_v(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """v = sigma x_0 - alpha eps, both ways: a round trip does not show it.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible; survives diffusers' own tests.
    """
    found = Clean.converted(self, -value if source == "v" else value, x, t, source, to)
    return -found if to == "v" else found


@FAULTS.plant("converted", breaks="PAR-2 PAR-3 PAR-4")
def names_swapped(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """`to` converted to `source`.

    Meant: the conversion from `source` to `to`.

    Seen: plausible; two arguments of one type in the other order.
    """
    return Clean.converted(self, value, x, t, to, source)


@FAULTS.plant("converted", breaks="PAR-1 PAR-2 PAR-3 PAR-4")
def value_returned_as_it_is(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """value, whatever is asked for.

    Meant: the conversion from `source` to `to`.

    Seen: the loss of `LearnedGaussianDiffusion` ignores its objective, https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    return value


@FAULTS.plant("converted", breaks="PAR-1 NOT-2")
def scales_of_the_first_time(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """Every example is converted with alpha and sigma at the first time of the batch.

    Meant: each example is converted with alpha and sigma at its own time.

    Seen: plausible; `t[0]` in code from sampling, where all times are equal.
    """
    return Clean.converted(self, value, x, np.full_like(t, t[0]), source, to)


@FAULTS.plant("converted", breaks="PAR-1 PAR-2 PAR-3 PAR-4")
def time_from_the_end(self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization) -> Any:
    """`source` converted to `to` with alpha and sigma at 1 - t.

    Meant: the conversion with alpha and sigma at t.

    Seen: plausible; the direction of time of flow matching, https://github.com/facebookresearch/flow_matching.
    """
    with np.errstate(all="ignore"):
        return Clean.converted(self, value, x, np.asarray(1.0 - t), source, to)


@FAULTS.plant("converted", breaks="NOT-2")
def only_events_of_rank_1(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """Zeros for events of any rank but 1.

    Meant: the conversion of events of any rank.

    Seen: plausible.
    """
    found = Clean.converted(self, value, x, t, source, to)
    return found if np.ndim(value) == 2 else np.zeros_like(found)


@FAULTS.plant("converted", breaks="NOT-2")
def scales_along_the_event(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """alpha and sigma broadcast along the event, where it has the size of the batch.

    Meant: alpha and sigma of shape (batch, 1, ..., 1).

    Seen: conversions of https://github.com/facebookresearch/flow_matching mix times and features.
    """
    if np.ndim(x) != 2 or x.shape[0] != x.shape[1]:
        return Clean.converted(self, value, x, t, source, to)
    return Clean.converted(self, value.T, x.T, t, source, to).T


@FAULTS.plant("converted", breaks="PAR-6", on=OWN, also=("perturb",))
def x_0_of_its_own_clipped(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """x_0 from -1 to 1, and eps of the x_0 that is not clipped, of a process of the library's own.

    Meant: alpha x_0 + sigma eps = x_t.

    Seen: https://github.com/lucidrains/denoising-diffusion-pytorch/pull/84.
    """
    found = Clean.converted(self, value, x, t, source, to)
    return np.clip(found, -1.0, 1.0) if to == "x_0" else found


@FAULTS.plant("v_from_x_0", breaks="PAR-5", on=OWN, also=("perturb",))
def v_of_its_own_turned(self: Clean, x_0: Any, x: Any, a: Any, s: Any) -> Any:
    """v = (x_0 - alpha x_t)/sigma, of a process of the library's own.

    Meant: v = (alpha x_t - x_0)/sigma, the inverse of x_0 = alpha x_t - sigma v.

    Seen: plausible.
    """
    return (x_0 - a * x) / s


@FAULTS.plant("score_from_eps", breaks="PAR-4", on=OWN, also=("perturb",))
def score_of_its_own(self: Clean, eps: Any, x: Any, a: Any, s: Any) -> Any:
    """score = eps/sigma, of a process of the library's own.

    Meant: score = -eps/sigma.

    Seen: plausible.
    """
    return eps / s


@FAULTS.plant("x_0_from_v", breaks="PAR-7", on=COSINE)
def x_0_by_way_of_eps(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """x_0 = (x_t - sigma (sigma x_t + alpha v))/alpha, 0/0 at alpha = 0.

    Meant: x_0 = alpha x_t - sigma v.

    Seen: plausible.
    """
    with np.errstate(all="ignore"):
        return (x - s * self.eps_from_v(v, x, a, s)) / a


@FAULTS.plant("eps_from_v", breaks="PAR-7")
def eps_by_way_of_x_0(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - alpha (alpha x_t - sigma v))/sigma, 0/0 at sigma = 0.

    Meant: eps = sigma x_t + alpha v.

    Seen: `predict_noise_from_start` after `predict_start_from_v` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    with np.errstate(all="ignore"):
        return (x - a * self.x_0_from_v(v, x, a, s)) / s


@FAULTS.plant("eps_from_score", breaks="PAR-7")
def eps_by_a_quotient(self: Clean, score: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = -sigma^2 score/sigma, 0/0 at sigma = 0.

    Meant: eps = -sigma score.

    Seen: plausible.
    """
    with np.errstate(all="ignore"):
        return -(s**2) * score / s


@FAULTS.plant("eps_from_v", breaks="PAR-8", t_min=2.0**-7)
def eps_that_cancels(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = (x_t - alpha x_0)/sigma of an x_0 that is rounded.

    Meant: eps = sigma x_t + alpha v.

    Seen: `predict_noise_from_start` after `predict_start_from_v` of https://github.com/lucidrains/denoising-diffusion-pytorch.
    """
    number = self.format.storage.type
    x_0 = Conversions.x_0_from_v(self, v, x, a, s)
    x_t, signal = x.astype(number), (a * x_0).astype(number)
    return (x_t - signal).astype(np.float64) / s


@FAULTS.plant("converted", breaks="PAR-3", on=OWN, also=("perturb",))
def sign_of_v_of_its_own(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """v = sigma x_0 - alpha eps, both ways, of a process of the library's own.

    Meant: v = alpha eps - sigma x_0.

    Seen: plausible; neither a round trip nor alpha x_0 + sigma eps = x_t shows it.
    """
    found = Clean.converted(self, -value if source == "v" else value, x, t, source, to)
    return -found if to == "v" else found
