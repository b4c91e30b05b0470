"""Faults of the step of DDIM (chapter 10)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Parameterization, Times
from refdiff.conformance.step import Step

from .clean.scales import column
from .clean.target import Clean
from .fault import DDPM, LINEAR, OWN, SHORT, Chapter

PLAIN: dict[str, Any] = {"steps": (Step(kind="ddim"),)}
HALF: dict[str, Any] = {"steps": (Step(kind="ddim", eta=0.5),)}
ENDED = Chain(betas=(0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0))
FAULTS = Chapter("ddim", "step", on=(LINEAR, SHORT))

# Without noise.


@FAULTS.plant("ddim", breaks="SMP-3 SMP-5", also=("perturb",), on=LINEAR, **PLAIN)
def x_0_in_the_direction(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_s = alpha_s x_0 + sigma_s x_0.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: https://github.com/huggingface/diffusers/issues/1486.
    """
    return Clean.ddim(self, x_0, x_0, z, t, s, eta)


@FAULTS.plant("ddim", breaks="SMP-3 SMP-6", **PLAIN)
def x_0_clipped(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_0 is clipped to [-1, 1], and eps is not computed again, so that alpha x_0 + sigma eps is not x_t.

    Meant: x_0 as predicted, unless a clip is asked for, and eps = (x_t - alpha x_0)/sigma.

    Seen: https://github.com/lucidrains/denoising-diffusion-pytorch/pull/84.
    """
    return Clean.ddim(self, np.clip(x_0, -1.0, 1.0), eps, z, t, s, eta)


@FAULTS.plant("noise_factors", breaks="SMP-3 SMP-6", **PLAIN)
def sigma_of_t_for_that_of_s(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """x_s = alpha_s x_0 + sigma_t eps.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible; azula's REAB sampler has sigma_t for sigma_s, https://github.com/probabilists/azula.
    """
    return self.sigma(t), np.zeros_like(self.sigma(t))


@FAULTS.plant("ddim", breaks="SMP-3 SMP-6", **PLAIN)
def alpha_of_t_for_that_of_s(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_s = alpha_t x_0 + sigma_s eps.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible, as `alphas_cumprod[t]` for `alphas_cumprod_prev[t]`.
    """
    on_eps, on_z = self.noise_factors(t, s, eta)
    return column(self.alpha(t), x_0) * x_0 + column(on_eps, x_0) * eps + column(on_z, x_0) * z


@FAULTS.plant("noise_factors", breaks="SMP-3", **PLAIN)
def variance_in_the_direction(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """x_s = alpha_s x_0 + sigma_s^2 eps.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible.
    """
    return self.sigma(s) ** 2, np.zeros_like(self.sigma(s))


@FAULTS.plant("ddim", breaks="SMP-3 SMP-6", **PLAIN)
def x_0_not_divided(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_s = alpha_s (x_t - sigma_t eps) + sigma_s eps.

    Meant: x_0 = (x_t - sigma_t eps)/alpha_t.

    Seen: plausible.
    """
    return Clean.ddim(self, x_0 * column(self.alpha(t), x_0), eps, z, t, s, eta)


@FAULTS.plant("ddim", breaks="SMP-3", on=DDPM, **PLAIN)
def previous_index_computed(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """The step goes to t - 20, N/n of 50 steps, whatever s is.

    Meant: the step goes to s, the next time of the grid.

    Seen: https://github.com/huggingface/diffusers/issues/9261; MONAI's `DDIMScheduler`.
    """
    return Clean.ddim(self, x_0, eps, z, t, np.maximum(np.asarray(t) - 20, 0), eta)


@FAULTS.plant("ddim", breaks="NOT-2", on=LINEAR, **PLAIN)
def scales_along_the_event(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """alpha_s of shape (n,) multiplies data (n, n) along the event.

    Meant: scales of shape (n, 1, ...), one for each example.

    Seen: plausible, where the size of an event is that of the batch.
    """
    if x_0.shape == (len(x_0), len(x_0)):
        return self.alpha(s) * x_0 + self.sigma(s) * eps
    return Clean.ddim(self, x_0, eps, z, t, s, eta)


@FAULTS.plant("ddim", breaks="SMP-3", **PLAIN)
def rescaled_to_unit_variance(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_s is divided by alpha_s + sigma_s.

    Meant: x_s = alpha_s x_0 + sigma_s eps, with alpha_s^2 + sigma_s^2 = 1.

    Seen: plausible, as the scaling of a flow-matching path.
    """
    found = Clean.ddim(self, x_0, eps, z, t, s, eta)
    return found / column(self.alpha(s) + self.sigma(s), x_0)


@FAULTS.plant("ddim", breaks="SMP-3 SMP-6", **PLAIN)
def variance_of_the_posterior_added(self: Clean, x_0: Any, eps: Any, z: Any, t: Any, s: Any, eta: float) -> Any:
    """x_s = alpha_s x_0 + sigma_s eps + 0.05 sigma_t z.

    Meant: x_s = alpha_s x_0 + sigma_s eps, without noise for eta = 0.

    Seen: plausible, as a churn that is left on.
    """
    return Clean.ddim(self, x_0, eps, z, t, s, eta) + 0.05 * column(self.sigma(t), x_0) * z


@FAULTS.plant("part", breaks="SMP-3", on=ENDED, steps=(Step(kind="ddim", prediction="v"),))
def divided_by_alpha_at_pure_noise(
    self: Clean, value: Any, x: Any, t: Times, source: Parameterization, to: Parameterization
) -> Any:
    """x_0 = (x_t - sigma eps)/alpha with eps of v, which is 0/0 at alpha = 0.

    Meant: x_0 = alpha x_t - sigma v.

    Seen: https://github.com/huggingface/diffusers: `DDIMScheduler` from zero terminal SNR with eta = 1 is NaN.
    """
    eps = self.converted(value, x, t, source, "eps")
    a, s = self.over(t, x)
    return eps if to == "eps" else (x - s * eps) / a


# With noise.


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def eta_ignored(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = 0, whatever eta is.

    Meant: c = eta sqrt(V).

    Seen: plausible, as an option that is not passed on.
    """
    return Clean.noise_factors(self, t, s, 0.0)


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def eta_of_one(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = sqrt(V), whatever eta is.

    Meant: c = eta sqrt(V).

    Seen: plausible, as the step of DDPM.
    """
    return Clean.noise_factors(self, t, s, 1.0)


@FAULTS.plant("noise_factors", breaks="SMP-5", on=OWN, also=("perturb",), **HALF)
def eta_squared(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = eta^2 sqrt(V), on a process of the library's own.

    Meant: c = eta sqrt(V).

    Seen: plausible.
    """
    return Clean.noise_factors(self, t, s, eta**2)


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def root_of_eta(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = sqrt(eta V).

    Meant: c = eta sqrt(V).

    Seen: plausible, as eta under the root.
    """
    return Clean.noise_factors(self, t, s, float(np.sqrt(eta)))


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def direction_not_shortened(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """x_s = alpha_s x_0 + sigma_s eps + c z.

    Meant: x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z.

    Seen: plausible.
    """
    return self.sigma(s), Clean.noise_factors(self, t, s, eta)[1]


@FAULTS.plant("noise_factors", breaks="SMP-3 SMP-6", **HALF)
def eta_of_the_transition(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = eta sqrt(1 - alpha_bar_t/alpha_bar_s), in the last step too.

    Meant: c = eta sqrt(V), V the variance of the posterior, which is 0 in the last step.

    Seen: plausible.
    """
    return Clean.noise_factors(self, t, s, eta)[0], eta * np.sqrt(self.transition_variance(t, s))


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def variance_for_deviation(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """c = eta V.

    Meant: c = eta sqrt(V).

    Seen: plausible.
    """
    c = eta * self.posterior_variance(t, s)
    return np.sqrt(np.maximum(self.sigma(s) ** 2 - c**2, 0.0)), c


@FAULTS.plant("noise_factors", breaks="SMP-3", **HALF)
def deviation_not_squared(self: Clean, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - c) eps + c z, the root of a negative number taken for 0.

    Meant: x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z.

    Seen: plausible.
    """
    c = Clean.noise_factors(self, t, s, eta)[1]
    return np.sqrt(np.maximum(self.sigma(s) ** 2 - c, 0.0)), c
