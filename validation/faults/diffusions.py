"""Faults of drift and diffusion (chapter 3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Times

from .clean.scales import column, wide
from .clean.target import Clean
from .fault import COSINE, OWN, Chapter
from .schedules import rates

FAULTS = Chapter("sde", "sde")


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3 SDE-4")
def rate_for_its_root(self: Clean, beta: Any) -> Any:
    """g = beta.

    Meant: g = sqrt(beta).

    Seen: plausible.
    """
    return beta


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3 SDE-4")
def diffusion_of_langevin(self: Clean, beta: Any) -> Any:
    """g = sqrt(2 beta).

    Meant: g = sqrt(beta).

    Seen: plausible; the noise of a Langevin step.
    """
    return np.sqrt(2.0 * beta)


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3 SDE-4")
def diffusion_halved(self: Clean, beta: Any) -> Any:
    """g = sqrt(beta/2).

    Meant: g = sqrt(beta).

    Seen: plausible.
    """
    return np.sqrt(0.5 * beta)


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3 SDE-4")
def half_of_the_rate(self: Clean, beta: Any) -> Any:
    """g = beta/2.

    Meant: g = sqrt(beta).

    Seen: plausible; 1/2 for the exponent, as a factor.
    """
    return 0.5 * beta


@FAULTS.plant("diffusion_of", breaks="SDE-2")
def diffusion_below_0(self: Clean, beta: Any) -> Any:
    """g = -sqrt(beta).

    Meant: g = sqrt(beta), which is not below 0.

    Seen: plausible; the sign of the reversed time.
    """
    return -np.sqrt(beta)


@FAULTS.plant("diffusion_of", breaks="SDE-2 SDE-3 SDE-4")
def diffusion_of_a_step(self: Clean, beta: Any) -> Any:
    """g = sqrt(beta/1000).

    Meant: g = sqrt(beta), per root of a unit of time.

    Seen: plausible; `discretize` for `sde` of https://github.com/yang-song/score_sde_pytorch.
    """
    return np.sqrt(beta / 1000.0)


@FAULTS.plant("diffusion", breaks="SDE-2 SDE-3 SDE-4")
def sub_variance_preserving(self: Clean, t: Times) -> Any:
    """g = sqrt(beta (1 - alpha_bar^2)).

    Meant: g = sqrt(beta).

    Seen: plausible; `subVPSDE` for `VPSDE` of https://github.com/yang-song/score_sde_pytorch.
    """
    return self.rounded(np.sqrt(self.rate(wide(t)) * -np.expm1(2.0 * self.log_alpha_bar(wide(t)))))


@FAULTS.plant("diffusion", breaks="SDE-2 SDE-3 SDE-4")
def slope_of_the_variance(self: Clean, t: Times) -> Any:
    """g = sqrt(d sigma^2/dt) = sqrt(beta alpha_bar).

    Meant: g = sqrt(beta).

    Seen: plausible; g of a variance-exploding process.
    """
    return self.rounded(np.sqrt(self.rate(wide(t)) * self.alpha_bar(wide(t))))


@FAULTS.plant("diffusion", breaks="CON-2")
def diffusion_of_two_axes(self: Clean, t: Times) -> Any:
    """g = sqrt(beta), of shape (batch, 1).

    Meant: g = sqrt(beta), of shape (batch,).

    Seen: plausible; the shape that broadcasts with data.
    """
    return Clean.diffusion(self, t)[:, None]


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def sign_of_the_drift(self: Clean, x: Any, beta: Any) -> Any:
    """f = beta x/2.

    Meant: f = -beta x/2.

    Seen: plausible.
    """
    return 0.5 * beta * x


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def drift_not_halved(self: Clean, x: Any, beta: Any) -> Any:
    """f = -beta x.

    Meant: f = -beta x/2.

    Seen: plausible.
    """
    return -beta * x


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def variance_exploding(self: Clean, x: Any, beta: Any) -> Any:
    """f = 0.

    Meant: f = -beta x/2.

    Seen: plausible; `VESDE` for `VPSDE` of https://github.com/yang-song/score_sde_pytorch.
    """
    return 0.0 * x


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def root_in_the_drift(self: Clean, x: Any, beta: Any) -> Any:
    """f = -sqrt(beta) x/2.

    Meant: f = -beta x/2.

    Seen: plausible; g for its square.
    """
    return -0.5 * np.sqrt(beta) * x


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def drift_without_x(self: Clean, x: Any, beta: Any) -> Any:
    """f = -beta/2.

    Meant: f = -beta x/2.

    Seen: plausible; the coefficient for the drift.
    """
    return -0.5 * beta * np.ones_like(x)


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def drift_of_the_size(self: Clean, x: Any, beta: Any) -> Any:
    """f = -beta |x|/2.

    Meant: f = -beta x/2.

    Seen: plausible.
    """
    return -0.5 * beta * np.abs(x)


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def drift_of_a_step(self: Clean, x: Any, beta: Any) -> Any:
    """f = (sqrt(1 - beta/1000) - 1) x.

    Meant: f = -beta x/2, per unit of time.

    Seen: plausible; `discretize` for `sde` of https://github.com/yang-song/score_sde_pytorch.
    """
    return (np.sqrt(1.0 - beta / 1000.0) - 1.0) * x


@FAULTS.plant("drift_of", breaks="SDE-1 SDE-3")
def x_clipped_in_the_drift(self: Clean, x: Any, beta: Any) -> Any:
    """f = -beta x/2, with x from -10 to 10.

    Meant: f = -beta x/2, without a bound.

    Seen: plausible; a guard for solvers.
    """
    return -0.5 * beta * np.clip(x, -10.0, 10.0)


@FAULTS.plant("drift", breaks="NOT-2")
def drift_along_the_event(self: Clean, x: Array, t: Times) -> Any:
    """f = -beta x/2, with beta along the event, where it has the size of the batch.

    Meant: f = -beta x/2, with beta of shape (batch, 1, ..., 1).

    Seen: plausible; a rate of shape (batch,) beside data of shape (batch, batch).
    """
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        return Clean.drift(self, x, t)
    return self.rounded(self.drift_of(wide(x), self.rate(wide(t))))


@FAULTS.plant("drift", breaks="SDE-1 NOT-2")
def drift_of_the_first_time(self: Clean, x: Array, t: Times) -> Any:
    """f = -beta x/2, with the rate of the first example for all.

    Meant: f = -beta x/2, with each example's own time.

    Seen: plausible; the same t for all, as a solver gives it.
    """
    return Clean.drift(self, x, np.full_like(t, t[0]))


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4")
def rates_doubled(self: Clean, t: Any) -> Any:
    """f = -beta x and g = sqrt(2 beta).

    Meant: f = -beta x/2 and g = sqrt(beta).

    Seen: https://github.com/deepinv/deepinv/pull/1343, a factor of 2 in a derivative.
    """
    return 2.0 * Clean.rate(self, t)


@FAULTS.plant("rate", breaks="SDE-4", on=OWN, also=("perturb",))
def rates_of_its_own_doubled(self: Clean, t: Any) -> Any:
    """f = -beta x and g = sqrt(2 beta), of a process of the library's own.

    Meant: f = -beta x/2 and g = sqrt(beta), with beta = -d log(alpha_bar)/dt.

    Seen: plausible; https://github.com/deepinv/deepinv/pull/1343 is a factor of 2 in a derivative.
    """
    return 2.0 * Clean.rate(self, t)


@FAULTS.plant("drift_of", breaks="SDE-3", on=OWN)
def drift_of_its_own_not_halved(self: Clean, x: Any, beta: Any) -> Any:
    """f = -beta x, of a process of the library's own.

    Meant: f = -g^2 x/2.

    Seen: plausible.
    """
    return -beta * x


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4")
def integral_for_rate(self: Clean, t: Any) -> Any:
    """f and g of the integral of beta.

    Meant: f = -beta x/2 and g = sqrt(beta).

    Seen: plausible.
    """
    return self.integral(t)


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4", on=COSINE)
def rate_of_its_start(self: Clean, t: Any) -> Any:
    """f and g of the rate at t = 0.

    Meant: f = -beta(t) x/2 and g = sqrt(beta(t)).

    Seen: plausible; a rate that was computed once.
    """
    return Clean.rate(self, np.zeros_like(t))


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4")
def rate_of_the_reversed_time(self: Clean, t: Any) -> Any:
    """f and g of beta(1 - t).

    Meant: f and g of beta(t).

    Seen: plausible; a solver of the reverse process that counts from noise.
    """
    return Clean.rate(self, 1.0 - t)


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4")
def rate_of_a_hundred_steps(self: Clean, t: Any) -> Any:
    """f and g of the rate at the start of the hundredth in which t lies.

    Meant: f and g of beta(t).

    Seen: plausible; a table of betas for the rate.
    """
    return Clean.rate(self, np.floor(100.0 * np.asarray(t)) / 100.0)


@FAULTS.plant("rate", breaks="SDE-1 SDE-2 SDE-4")
def geometric_rate(self: Clean, t: Any) -> Any:
    """f and g of beta = beta_min (beta_max/beta_min)^t.

    Meant: beta = beta_min + t (beta_max - beta_min).

    Seen: plausible; the geometric sequence is that of a variance-exploding process.
    """
    low, high = rates(self)
    return low * (high / low) ** np.asarray(t)


@FAULTS.plant("drift", breaks="SDE-1 SDE-3")
def drift_towards_the_mean(self: Clean, x: Array, t: Times) -> Any:
    """f = -beta (x - mean of x over the event)/2.

    Meant: f = -beta x/2.

    Seen: plausible; an Ornstein-Uhlenbeck process with a mean of its own.
    """
    centred = wide(x) - column(wide(x).reshape(len(x), -1).mean(1), x)
    return self.rounded(self.drift_of(centred, column(self.rate(wide(t)), x)))
