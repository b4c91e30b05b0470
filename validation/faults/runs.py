"""Faults of whole samplers without noise (chapter 10)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from refdiff.conformance.interface import Sampler

from .clean.runs import SAMPLERS, Ask, Noise
from .clean.scales import wide
from .clean.target import Clean
from .fault import LINEAR, Chapter

FAULTS = Chapter("run", "sample")
NAMED = {sampler.name: sampler for sampler in SAMPLERS}
DDIM: dict[str, Any] = {"samplers": (NAMED["ddim"],)}
HEUN: dict[str, Any] = {"samplers": (NAMED["heun"],)}
MULTISTEP: dict[str, Any] = {"samplers": (NAMED["multistep"],)}
FLOW: dict[str, Any] = {"samplers": (NAMED["flow"],)}
OWN_TIMES: dict[str, Any] = {"samplers": (Sampler(name="ddim", exact=True, times="grid"),)}

# DDIM.


@FAULTS.plant("pairs", breaks="SMP-11 SMP-12", **DDIM)
def last_step_left_out(self: Clean, times: Any) -> Any:
    """The run ends at the time before the last.

    Meant: steps between all neighbours of the times.

    Seen: plausible, as `range(len(times) - 2)`; a run of one step then does not move, as that of diffusionjax.
    """
    return pairwise(times[:-1])


@FAULTS.plant("pairs", breaks="SMP-11 SMP-12", **DDIM)
def first_step_left_out(self: Clean, times: Any) -> Any:
    """The run begins at the second time with the noise of the first.

    Meant: steps between all neighbours of the times.

    Seen: plausible; an interpolation of denoising-diffusion-pytorch starts one step early.
    """
    return pairwise(times[1:])


@FAULTS.plant("run_ddim", breaks="SMP-11 SMP-12", **DDIM)
def denoiser_at_the_end_of_the_step(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """The denoiser is asked for x_t with the time s.

    Meant: the denoiser is asked for x_t with t.

    Seen: plausible, as an index that was advanced before the call.
    """
    for t, s in self.pairs(times):
        x = self.moved(x, ask(x, s), t, s)
    return x


@FAULTS.plant("moved", breaks="SMP-11 SMP-12", **DDIM)
def sigma_of_t_for_that_of_s(self: Clean, x: Any, eps: Any, t: Any, s: Any) -> Any:
    """x_s = alpha_s x_0 + sigma_t eps.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible.
    """
    return Clean.moved(self, x, eps, t, s) + (self.sigma(t) - self.sigma(s)) * eps


@FAULTS.plant("moved", breaks="SMP-11 SMP-12", **DDIM)
def x_0_in_the_direction(self: Clean, x: Any, eps: Any, t: Any, s: Any) -> Any:
    """x_s = alpha_s x_0 + sigma_s x_0.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: https://github.com/huggingface/diffusers/issues/1486.
    """
    x_0 = (x - self.sigma(t) * eps) / self.alpha(t)
    return (self.alpha(s) + self.sigma(s)) * x_0


@FAULTS.plant("moved", breaks="SMP-11 SMP-12", **DDIM)
def x_0_clipped(self: Clean, x: Any, eps: Any, t: Any, s: Any) -> Any:
    """x_0 is clipped to [-1, 1] along the run.

    Meant: x_0 as predicted, unless a clip is asked for.

    Seen: `clip_sample=True` of https://github.com/huggingface/diffusers, the default.
    """
    x_0 = np.clip((x - self.sigma(t) * eps) / self.alpha(t), -1.0, 1.0)
    return self.alpha(s) * x_0 + self.sigma(s) * eps


@FAULTS.plant("moved", breaks="SMP-12", **DDIM)
def x_0_clipped_far_out(self: Clean, x: Any, eps: Any, t: Any, s: Any) -> Any:
    """x_0 is clipped to [-10, 10] along the run.

    Meant: x_0 as predicted, unless a clip is asked for.

    Seen: plausible, as a guard against a prediction that explodes.
    """
    x_0 = np.clip((x - self.sigma(t) * eps) / self.alpha(t), -10.0, 10.0)
    return self.alpha(s) * x_0 + self.sigma(s) * eps


@FAULTS.plant("moved", breaks="SMP-11 SMP-12", **DDIM)
def deterministic_part_of_ddpm(self: Clean, x: Any, eps: Any, t: Any, s: Any) -> Any:
    """x_s is the mean of the posterior, without its noise.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible, as DDPM with its noise turned off.
    """
    x_0 = (x - self.sigma(t) * eps) / self.alpha(t)
    on_x_0, on_x_t = self.posterior_factors(t, s)
    return on_x_0 * x_0 + on_x_t * x


@FAULTS.plant("run_ddim", breaks="SMP-11 SMP-12", **DDIM)
def denoiser_never_asked(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """x is multiplied by alpha_s/alpha_t.

    Meant: x_s = alpha_s x_0 + sigma_s eps.

    Seen: plausible.
    """
    return x * self.alpha(times[-1]) / self.alpha(times[0])


@FAULTS.plant("run_ddim", breaks="SMP-11", **DDIM)
def denoiser_asked_once(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """The prediction of the first step serves all steps.

    Meant: the denoiser is asked at every step.

    Seen: plausible, as a cache that is never invalid.
    """
    eps = ask(x, times[0])
    for t, s in self.pairs(times):
        x = self.moved(x, eps, t, s)
    return x


@FAULTS.plant("run_ddim", breaks="SMP-12", on=LINEAR, also=("grid",), **OWN_TIMES)
def steps_of_even_length(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """Each step goes on by 1/(n + 1), along a grid with steps of 1/n.

    Meant: each step goes to the next time of the grid.

    Seen: `DDIMScheduler` of https://github.com/huggingface/diffusers, whose grid is not the stride of its `step`.
    """
    for t, s in self.pairs(times):
        x = self.moved(x, ask(x, t), t, t - (t - s) * (len(times) - 1) / len(times))
    return x


# Heun.


@FAULTS.plant("slope", breaks="SMP-11 SMP-12", **HEUN)
def second_slope_at_t(self: Clean, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
    """The second slope is asked for with the time t.

    Meant: the second slope is of x_s and s.

    Seen: plausible.
    """
    return 0.5 * (eps + ask(end, t))


@FAULTS.plant("slope", breaks="SMP-11", **HEUN)
def second_slope_left_out(self: Clean, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
    """The slope at t alone, which is Euler's method, of order 1.

    Meant: the mean of the slopes at t and at s.

    Seen: plausible, as a correction that is never reached.
    """
    return eps


@FAULTS.plant("slope", breaks="SMP-11", **HEUN)
def second_slope_alone(self: Clean, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
    """The slope at s alone, of order 1.

    Meant: the mean of the slopes at t and at s.

    Seen: plausible.
    """
    return ask(end, s)


@FAULTS.plant("slope", breaks="SMP-11 SMP-12", **HEUN)
def slopes_not_halved(self: Clean, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
    """The sum of the slopes at t and at s.

    Meant: their mean.

    Seen: plausible.
    """
    return eps + ask(end, s)


@FAULTS.plant("slope", breaks="SMP-11", **HEUN)
def weights_of_two_thirds(self: Clean, eps: Any, end: Any, t: Any, s: Any, ask: Ask) -> Any:
    """2/3 of the slope at t and 1/3 of that at s.

    Meant: the mean of the slopes at t and at s.

    Seen: plausible, as the weights of another method of order 2.
    """
    return (2.0 * eps + ask(end, s)) / 3.0


# DPM-Solver++(2M).


@FAULTS.plant("extrapolated", breaks="SMP-11", **MULTISTEP)
def ratio_inverted(self: Clean, x_0: Any, old: Any, h: Any, before: Any) -> Any:
    """x_0 + (x_0 - x_0 before) h_before/(2 h).

    Meant: x_0 + (x_0 - x_0 before) h/(2 h_before).

    Seen: plausible; on even steps of log-SNR both are one.
    """
    return Clean.extrapolated(self, x_0, old, before, h)


@FAULTS.plant("extrapolated", breaks="SMP-11", **MULTISTEP)
def half_lost(self: Clean, x_0: Any, old: Any, h: Any, before: Any) -> Any:
    """x_0 + (x_0 - x_0 before) h/h_before.

    Meant: x_0 + (x_0 - x_0 before) h/(2 h_before).

    Seen: the third order of DPM-Solver in https://github.com/huggingface/diffusers lacks a factor of 2.
    """
    return Clean.extrapolated(self, x_0, old, 2.0 * h, before)


@FAULTS.plant("extrapolated", breaks="SMP-11", **MULTISTEP)
def sign_of_the_difference(self: Clean, x_0: Any, old: Any, h: Any, before: Any) -> Any:
    """x_0 - (x_0 - x_0 before) h/(2 h_before).

    Meant: x_0 + (x_0 - x_0 before) h/(2 h_before).

    Seen: `sde-dpmsolver++` of the third order in https://github.com/huggingface/diffusers has a wrong sign.
    """
    return Clean.extrapolated(self, x_0, old, -h, before)


@FAULTS.plant("extrapolated", breaks="SMP-11", **MULTISTEP)
def even_steps_assumed(self: Clean, x_0: Any, old: Any, h: Any, before: Any) -> Any:
    """x_0 + (x_0 - x_0 before)/2.

    Meant: x_0 + (x_0 - x_0 before) h/(2 h_before).

    Seen: plausible, as the coefficients 3/2 and -1/2 of Adams-Bashforth.
    """
    return 1.5 * x_0 - 0.5 * old


@FAULTS.plant("extrapolated", breaks="SMP-11", **MULTISTEP)
def history_ignored(self: Clean, x_0: Any, old: Any, h: Any, before: Any) -> Any:
    """x_0 alone, of order 1.

    Meant: x_0 + (x_0 - x_0 before) h/(2 h_before).

    Seen: plausible, as a list of predictions that is cleared at every step.
    """
    return x_0


@FAULTS.plant("kept", breaks="SMP-11 SMP-12", **MULTISTEP)
def alphas_for_sigmas(self: Clean, t: Any, s: Any) -> Any:
    """The factor of x is alpha_s/alpha_t, that of a method of eps.

    Meant: sigma_s/sigma_t, that of a method of x_0.

    Seen: plausible; DPM-Solver has the one, and DPM-Solver++ the other.
    """
    return self.alpha(s) / self.alpha(t)


@FAULTS.plant("kept", breaks="SMP-11 SMP-12", **MULTISTEP)
def x_not_shrunk(self: Clean, t: Any, s: Any) -> Any:
    """The factor of x is 1.

    Meant: sigma_s/sigma_t.

    Seen: plausible, as sigma_t for sigma_s.
    """
    return 1.0


@FAULTS.plant("kept", breaks="SMP-11 SMP-12", **MULTISTEP)
def sigmas_inverted(self: Clean, t: Any, s: Any) -> Any:
    """The factor of x is sigma_t/sigma_s.

    Meant: sigma_s/sigma_t.

    Seen: plausible.
    """
    return self.sigma(t) / self.sigma(s)


# Euler's method on the flow.


@FAULTS.plant("flow_slope", breaks="SMP-11", **FLOW)
def score_of_the_sde(self: Clean, x: Any, score: Any, t: Any) -> Any:
    """The slope is beta (x/2 + score).

    Meant: beta (x + score)/2, with half of the score.

    Seen: plausible, as the reverse SDE without its noise.
    """
    return self.rate(wide(t)) * (0.5 * x + score)


@FAULTS.plant("flow_slope", breaks="SMP-11", **FLOW)
def rate_of_the_whole(self: Clean, x: Any, score: Any, t: Any) -> Any:
    """The rate is the mean of beta over [0, 1].

    Meant: beta at t.

    Seen: plausible, as a rate that does not change.
    """
    return 0.5 * float(self.integral(1.0)) * (x + score)


@FAULTS.plant("flow_slope", breaks="SMP-11", **FLOW)
def integral_for_the_rate(self: Clean, x: Any, score: Any, t: Any) -> Any:
    """The rate is its integral from 0 to t.

    Meant: beta at t.

    Seen: plausible.
    """
    return 0.5 * self.integral(wide(t)) * (x + score)


@FAULTS.plant("flow_slope", breaks="SMP-11", **FLOW)
def sign_of_the_score(self: Clean, x: Any, score: Any, t: Any) -> Any:
    """The slope is beta (x - score)/2.

    Meant: beta (x + score)/2.

    Seen: plausible.
    """
    return Clean.flow_slope(self, x, -score, t)


@FAULTS.plant("run_flow", breaks="SMP-11", **FLOW)
def last_step_of_the_flow_left_out(self: Clean, x: Any, times: Any, ask: Ask, noise: Noise) -> Any:
    """The run ends at the time before the last.

    Meant: steps between all neighbours of the times.

    Seen: plausible, as a last step that is skipped for its large score.
    """
    return Clean.run_flow(self, x, times[:-1], ask, noise)
