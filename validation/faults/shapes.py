"""Faults of shapes and of the rules of the contract, in schedules and noising (chapters 0 and 12)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Chain, Times

from .clean.scales import wide
from .clean.target import Clean
from .fault import LINEAR, SHORT, Chapter

FAULTS = Chapter("shape", "perturb")


def by_shape(self: Clean, x_0: Array, eps: Array, t: Times, shape: tuple[int, ...]) -> Any:
    """Return x_t with scales of a shape."""
    a, s = (np.asarray(x).reshape(shape) for x in (self.alpha(t), self.sigma(t)))
    return self.rounded(a * wide(x_0) + s * wide(eps))


@FAULTS.plant("perturb", breaks="CON-2")
def only_images(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with scales of shape (batch, 1, 1, 1) whatever the event is.

    Meant: alpha and sigma of shape (batch, 1, ..., 1).

    Seen: `[:, None, None, None]` of https://github.com/yang-song/score_sde_pytorch.
    """
    return by_shape(self, x_0, eps, t, (-1, 1, 1, 1))


@FAULTS.plant("perturb", breaks="MAR-5 NOT-2")
def only_vectors(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with scales of shape (batch, 1) whatever the event is.

    Meant: alpha and sigma of shape (batch, 1, ..., 1).

    Seen: plausible; `[:, None]` in code for points.
    """
    return by_shape(self, x_0, eps, t, (-1, 1))


@FAULTS.plant("perturb", breaks="MAR-5 NOT-2")
def scales_not_reshaped(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with scales of shape (batch,) along the last axis of the data.

    Meant: alpha and sigma of shape (batch, 1, ..., 1).

    Seen: plausible; silent where the event has the size of the batch.
    """
    return by_shape(self, x_0, eps, t, (-1,))


@FAULTS.plant("noised", breaks="MAR-5 NOT-2")
def luck_with_the_batch(self: Clean, x_0: Any, eps: Any, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with scales along the event, where it has the size of the batch.

    Meant: alpha and sigma of shape (batch, 1, ..., 1).

    Seen: plausible; a test for a batch by its size.
    """
    a, s = self.over(t, x_0)
    if x_0.ndim == 2 and x_0.shape[0] == x_0.shape[1]:
        a, s = a.T, s.T
    return a * x_0 + s * eps


@FAULTS.plant("perturb", breaks="MAR-5 NOT-2")
def event_transposed(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, with the noise of an image transposed.

    Meant: x_t = alpha x_0 + sigma eps, component by component.

    Seen: plausible; width and height in the other order, silent for squares.
    """
    if x_0.ndim > 2 and x_0.shape[-1] == x_0.shape[-2]:
        eps = np.swapaxes(eps, -1, -2)
    return Clean.perturb(self, x_0, eps, t)


@FAULTS.plant("perturb", breaks="CON-2")
def event_flattened(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, of shape (batch, D, 1).

    Meant: x_t = alpha x_0 + sigma eps, of the shape of x_0.

    Seen: plausible.
    """
    return Clean.perturb(self, x_0, eps, t).reshape(len(t), -1, 1)


@FAULTS.plant("perturb", breaks="CON-2")
def result_in_float16(self: Clean, x_0: Array, eps: Array, t: Times) -> Any:
    """x_t = alpha x_0 + sigma eps, as float16.

    Meant: x_t = alpha x_0 + sigma eps, in the format that is claimed.

    Seen: plausible; autocast around the noising.
    """
    with np.errstate(over="ignore"):
        return Clean.perturb(self, x_0, eps, t).astype(np.float16)


@FAULTS.plant("coefficients", breaks="NOT-2", claims=("schedule",))
def coefficients_of_sorted_times(self: Clean, t: Times) -> Any:
    """alpha and sigma at the sorted times.

    Meant: alpha and sigma at the times in their order.

    Seen: plausible; `searchsorted` on the times.
    """
    return Clean.coefficients(self, np.sort(wide(t)))


@FAULTS.plant("log_alpha_bar", breaks="NOT-2", claims=("schedule",), on=(LINEAR, SHORT))
def largest_time_for_all(self: Clean, t: Any) -> Any:
    """log alpha_bar at the largest of the times.

    Meant: log alpha_bar at each time.

    Seen: plausible.
    """
    return Clean.log_alpha_bar(self, np.full_like(t, np.max(t)))


@FAULTS.plant("log_alpha_bar", breaks="NOT-2", claims=("schedule",))
def times_stretched_to_the_batch(self: Clean, t: Any) -> Any:
    """log alpha_bar at times that are divided by the largest of the batch, if there are several.

    Meant: log alpha_bar at each time, whatever stands beside it.

    Seen: plausible; times normalized by their largest.
    """
    largest = np.max(t) if np.size(t) > 1 and np.max(t) > 0.0 else 1.0
    return Clean.log_alpha_bar(self, np.asarray(t, dtype=np.float64) / largest)


@FAULTS.plant("coefficients", breaks="CON-2", claims=("schedule",))
def nothing_at_the_start(self: Clean, t: Times) -> Any:
    """No quantity, where one of the times is 0.

    Meant: every quantity at every t.

    Seen: plausible; an early return for the data.
    """
    return {} if np.any(np.asarray(t) == 0) else Clean.coefficients(self, t)


@FAULTS.plant("coefficients", breaks="CON-2", claims=("schedule",), on=SHORT)
def rate_of_a_chain(self: Clean, k: Times) -> Any:
    """beta is beta_k, of a chain.

    Meant: beta is a rate, per unit of time, which a chain does not have.

    Seen: plausible; DDPM's betas under the name of the rate.
    """
    return Clean.coefficients(self, k) | {"beta": self.rounded(self.betas()[k - 1])}


@FAULTS.plant("coefficients", breaks="CON-2", claims=("schedule",))
def coefficients_in_float16(self: Clean, t: Times) -> Any:
    """alpha and sigma as float16.

    Meant: alpha and sigma in the format that is claimed.

    Seen: plausible; buffers after `.half()`.
    """
    with np.errstate(all="ignore"):
        return {name: x.astype(np.float16) for name, x in Clean.coefficients(self, t).items()}


@FAULTS.plant("coefficients", breaks="CON-3", claims=("schedule",))
def times_clipped_in_place(self: Clean, t: Times) -> Any:
    """t becomes at least 10^-5 and at most 1/2 where it lies.

    Meant: a call leaves t as it is.

    Seen: plausible; `t.clamp_(...)`.
    """
    t.flags.writeable = True
    np.clip(t, 1e-5, 0.5, out=t)
    return Clean.coefficients(self, t)


@FAULTS.plant("coefficients", breaks="CON-4", claims=("schedule",))
def jittered_times(self: Clean, t: Times) -> Any:
    """alpha and sigma at t plus a random number below 10^-3.

    Meant: the same call gives the same result.

    Seen: plausible; dequantization of times inside the schedule.
    """
    moved = wide(t) + 1e-3 * np.random.default_rng().random(len(t))
    return Clean.coefficients(self, np.minimum(moved, 1.0))


@FAULTS.plant("coefficients", breaks="CON-5", claims=("schedule",))
def scalar_times_only(self: Clean, t: Times) -> Any:
    """TypeError for more than one time.

    Meant: t of shape (batch,).

    Seen: plausible; `float(t)` and `math.exp`.
    """
    return Clean.coefficients(self, np.full_like(t, float(np.asarray(t).item() if len(t) == 1 else t)))


@FAULTS.plant("convert", breaks="CON-5", claims=("convert",))
def refusal_by_another_exception(self: Clean, value: Array, x_t: Array, t: Times, source: Any, to: Any) -> Any:
    """KeyError for every conversion.

    Meant: `Unsupported` for a conversion that is not served.

    Seen: plausible; a table of conversions that lacks some.
    """
    raise KeyError(f"{source}_to_{to}")


@FAULTS.plant("__getattribute__", breaks="CON-1")
def method_of_another_name(self: Clean, name: str) -> Any:
    """`perturb` is missing from what is built.

    Meant: the methods of every capability that is claimed.

    Seen: plausible; a method renamed, and its adapter not.
    """
    if name == "perturb":
        raise AttributeError(name)
    return object.__getattribute__(self, name)


@FAULTS.plant("__init__", breaks="CON-1", claims=("schedule",), on=Chain(betas=(0.5,)))
def second_beta_expected(self: Clean, process: Any, claim: Any) -> None:
    """IndexError for a chain of one step.

    Meant: every process that is claimed can be built.

    Seen: `posterior_variance[1]` of https://github.com/openai/guided-diffusion.
    """
    Clean.__init__(self, process, claim)
    assert self.betas()[1]


@FAULTS.plant("eps_from_v", breaks="NOT-2", claims=("convert",))
def eps_from_v_in_images(self: Clean, v: Any, x: Any, a: Any, s: Any) -> Any:
    """eps = sigma x_t - alpha v for events of rank 3 and more, and right for vectors.

    Meant: eps = sigma x_t + alpha v, for events of any rank.

    Seen: plausible; a branch for images that no test of vectors enters.
    """
    right = Clean.eps_from_v(self, v, x, a, s)
    return s * x - a * v if np.ndim(x) > 3 else right


@FAULTS.plant("posterior", breaks="NOT-2", claims=("posterior",))
def variance_of_images(self: Clean, x_t: Array, x_0: Array, t: Times, s: Times) -> Any:
    """variance divided by the second size of the event, for events of rank 3 and more.

    Meant: variance of each component.

    Seen: plausible.
    """
    mean, variance = Clean.posterior(self, x_t, x_0, t, s)
    return mean, self.rounded(variance / x_t.shape[2]) if x_t.ndim > 3 else variance
