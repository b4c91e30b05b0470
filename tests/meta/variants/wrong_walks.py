"""Wrong times, steps and averages: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Draws, Process, Unsupported
from tests.meta.variants.base import over, rate
from tests.meta.variants.libraries import NUMPY
from tests.meta.variants.steps import walking
from tests.meta.variants.variant import COSINE, DDPM, LINEAR, SHORT, Claimed, Family, Methods

FAMILY = Family("wrong")
F = np.float32
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def drawing(breaks: str, on: Claimed | tuple[Claimed, ...] = LINEAR, **options: Any) -> Callable[..., Any]:
    """Add a function (n, generator, steps) -> (times or indices, weights)."""

    def add(draw: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            steps = len(p.betas) if isinstance(p, Chain) else 0

            def times(n: int, seed: int) -> Any:
                t, weight = draw(n, np.random.default_rng(seed), steps)
                return np.asarray(t).astype(np.int64 if steps else F), (np.ones(n) * weight).astype(F)

            return {"times": times}

        name, text = draw.__name__.replace("_", " "), (draw.__doc__ or "").strip()
        FAMILY.add(make, "times", on=on, name=name, form=text, breaks=breaks, **options)
        return draw

    return add


@drawing("TIM-2")
def power_of_a_uniform(n: int, rng: Any, steps: int) -> Any:
    """u^1.05, 0.018 off in distribution."""
    return rng.random(n) ** 1.05, 1.0


@drawing("TIM-2")
def middle_of_time(n: int, rng: Any, steps: int) -> Any:
    """Beta(2, 2), of weight 1."""
    return rng.beta(2, 2, n), 1.0


@drawing("TIM-2", draws=Draws(t_min=1e-3))
def from_a_twenty_fifth_on(n: int, rng: Any, steps: int) -> Any:
    """From 0.04 on, where a range from 0.001 on is declared."""
    return 0.04 + 0.96 * rng.random(n), 1.0


@drawing("TIM-2")
def weights_of_mean_one_in_a_batch(n: int, rng: Any, steps: int) -> Any:
    """Density 2t, weights 1/(2t) divided by their mean: 1 for a batch of one."""
    t = np.sqrt(1 - rng.random(n))
    w = 0.5 / t
    return t, w / w.mean()


@drawing("TIM-2", on=SHORT)
def weights_of_mean_one_over_indices(n: int, rng: Any, steps: int) -> Any:
    """Chances 2k/(N (N + 1)), weights 1/(N P) divided by their mean over the batch."""
    chance = np.arange(1, steps + 1) / (0.5 * steps * (steps + 1))
    k = rng.choice(steps, n, p=chance) + 1
    w = 1.0 / (steps * chance[k - 1])
    return k, w / w.mean()


@drawing("TIM-2")
def half_for_a_batch_of_one(n: int, rng: Any, steps: int) -> Any:
    """t = 0.5 for a batch of one, and uniform otherwise."""
    return (np.full(1, 0.5) if n == 1 else rng.random(n)), 1.0


@drawing("TIM-2")
def density_squared(n: int, rng: Any, steps: int) -> Any:
    """Density 1/2 + t, weights one over its square."""
    t = np.sqrt(0.25 + 2.0 * rng.random(n)) - 0.5
    return t, (0.5 + t) ** -2


@drawing("TIM-1")
def over_the_end(n: int, rng: Any, steps: int) -> Any:
    """Up to 1.01."""
    return 1.01 * rng.random(n), 1.0


@drawing("TIM-2", on=SHORT)
def rounded_indices(n: int, rng: Any, steps: int) -> Any:
    """round(u N), from 1: the ends are half as likely, and more."""
    return np.clip(np.round(rng.random(n) * steps), 1, steps), 1.0


@drawing("TIM-2", on=SHORT)
def never_the_last(n: int, rng: Any, steps: int) -> Any:
    """integers(1, N), which leaves out N."""
    return rng.integers(1, steps, size=n), 1.0


@drawing("TIM-1", on=(DDPM, SHORT))
def one_too_many(n: int, rng: Any, steps: int) -> Any:
    """1..N + 1."""
    return rng.integers(1, steps + 2, size=n), 1.0


@drawing("TIM-1", on=SHORT)
def from_index_zero(n: int, rng: Any, steps: int) -> Any:
    """0..N - 1."""
    return rng.integers(0, steps, size=n), 1.0


@FAMILY.of("times", name="half of the seed", breaks="TIM-5")
def _half_of_the_seed(p: Process) -> Methods:
    """Seeds 2i and 2i + 1 are one."""

    def times(n: int, seed: int) -> Any:
        return np.random.default_rng(seed // 2).random(n, dtype=F), np.ones(n, dtype=F)

    return {"times": times}


def stepping(rule: str, breaks: str, on: Claimed | tuple[Claimed, ...] = LINEAR) -> Callable[..., Any]:
    """Add a form (xp, scales at t, scales at s, x_t, eps_hat, noise) of ddim or ddpm."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        name, text = f"{rule} {form.__name__.replace('_', ' ')}", (form.__doc__ or "").strip()
        FAMILY.add(walking(NUMPY, form, rule), "step", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


def _posterior(t: Any, s: Any, x: Any, e: Any) -> tuple[Any, Any, Any]:
    beta = np.maximum(1 - (t[0] / s[0]) ** 2, 0)
    return (x - beta / t[1] * e) / (t[0] / s[0]), beta * s[1] ** 2 / t[1] ** 2, beta


@stepping("ddpm", "SMP-2 SMP-6", on=DDPM)
def noise_of_the_transition(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """Variance beta_k, fixed_large, in DDPM's chain of 1000."""
    mean, _, beta = _posterior(t, s, x, e)
    return mean + np.sqrt(beta) * z


@stepping("ddpm", "SMP-6", on=(LINEAR, DDPM, SHORT))
def noise_in_the_last_step(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """sqrt(beta_1) z in the step to the data."""
    mean, variance, beta = _posterior(t, s, x, e)
    return mean + np.sqrt(np.where(s[1] == 0, beta, variance)) * z


@stepping("ddpm", "SMP-2", on=(LINEAR, SHORT))
def noise_a_tenth_too_small(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """0.9 of the deviation."""
    mean, variance, _ = _posterior(t, s, x, e)
    return mean + F(0.9) * np.sqrt(variance) * z


@stepping("ddpm", "SMP-2", on=DDPM)
def variance_of_the_noise_for_its_root(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """V z for sqrt(V) z."""
    mean, variance, _ = _posterior(t, s, x, e)
    return mean + variance * z


@stepping("ddpm", "SMP-2", on=DDPM)
def not_divided_by_the_root(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """x_t - beta/sigma eps, not over sqrt(1 - beta)."""
    mean, variance, _ = _posterior(t, s, x, e)
    return mean * (t[0] / s[0]) + np.sqrt(variance) * z


@stepping("ddpm", "SMP-2", on=(LINEAR, DDPM))
def x_0_clipped_to_one(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """x_0_hat in [-1, 1]."""
    x_0 = np.clip((x - t[1] * e) / t[0], -1, 1)
    _, variance, beta = _posterior(t, s, x, e)
    return s[0] * beta / t[1] ** 2 * x_0 + t[0] / s[0] * s[1] ** 2 / t[1] ** 2 * x + np.sqrt(variance) * z


@stepping("ddpm", "SMP-2", on=DDPM)
def deviation_of_t_for_that_of_s(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """On eps_hat, beta/sigma_s for beta/sigma_t."""
    _, variance, beta = _posterior(t, s, x, e)
    return (x - beta / np.maximum(s[1], F(1e-3)) * e) / (t[0] / s[0]) + np.sqrt(variance) * z


@stepping("ddim", "SMP-3", on=(LINEAR, COSINE))
def variance_in_the_direction(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """sigma_s^2 eps_hat."""
    return s[0] * (x - t[1] * e) / t[0] + s[1] ** 2 * e


@stepping("ddim", "SMP-3", on=(LINEAR, SHORT))
def eta_of_one(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """ddpm where ddim is asked for."""
    mean, variance, _ = _posterior(t, s, x, e)
    return mean + np.sqrt(variance) * z


@stepping("ddim", "SMP-3 SMP-6")
def x_0_not_divided(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """alpha_s (x_t - sigma_t eps_hat) + sigma_s eps_hat."""
    return s[0] * (x - t[1] * e) + s[1] * e


@FAMILY.of("step", name="ddim scales along the event", breaks="NOT-2")
def _along_the_event(p: Process) -> Methods:
    """Scales of shape (n,) beside data (n, n): along the event, where a batch has its size."""

    def step(x: Any, e: Any, t: Any, s: Any, z: Any, asked: str) -> Any:
        if asked != "ddim":
            raise Unsupported("ddim only")
        at_t, at_s = ([q.reshape(-1) if x.shape == (len(x), len(x)) else q for q in over(np, p, u, x)] for u in (t, s))
        return at_s[0] * (x - at_t[1] * e) / at_t[0] + at_s[1] * e

    return {"step": step}


def euler(rule: str, breaks: str) -> Callable[..., Any]:
    """Add a form (process, sigma, t column, s column, x, eps_hat, noise) of em or ode."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            def step(x: Any, e: Any, t: Any, s: Any, z: Any, asked: str) -> Any:
                if asked != rule:
                    raise Unsupported(f"{rule} only")
                shape = (-1,) + (1,) * (x.ndim - 1)
                made = form(p, over(np, p, t, x)[1], t.reshape(shape), s.reshape(shape), x, e, z)
                return np.asarray(made, dtype=F)

            return {"step": step}

        name, text = f"{rule} {form.__name__.replace('_', ' ')}", (form.__doc__ or "").strip()
        FAMILY.add(make, "step", name=name, form=text, breaks=breaks)
        return form

    return add


@euler("em", "SMP-1")
def rate_at_the_end_of_the_step(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """beta at s for beta at t."""
    b, h = rate(np, p, s), t - s
    return x + h * (F(0.5) * b * x - b * e / sigma) + np.sqrt(b * h) * z


@euler("em", "SMP-1")
def score_halved(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The flow's score in the SDE."""
    b, h = rate(np, p, t), t - s
    return x + h * F(0.5) * b * (x - e / sigma) + np.sqrt(b * h) * z


@euler("em", "SMP-1")
def no_noise(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The noise forgotten."""
    b, h = rate(np, p, t), t - s
    return x + h * (F(0.5) * b * x - b * e / sigma)


@euler("em", "SMP-1")
def no_noise_in_the_step_to_0(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The mean at s = 0, as samplers that denoise at the end have it, which is no step of the SDE."""
    b, h = rate(np, p, t), t - s
    return x + h * (F(0.5) * b * x - b * e / sigma) + np.sqrt(b * h) * z * (s > 0)


@euler("ode", "SMP-4")
def forwards(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The flow, the other way."""
    return x - F(0.5) * (t - s) * rate(np, p, t) * (x - e / sigma)


@euler("ode", "SMP-4")
def score_of_the_sde(p: Process, sigma: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The SDE's score in the flow."""
    return x + (t - s) * rate(np, p, t) * (F(0.5) * x - e / sigma)


def averaging(breaks: str) -> Callable[..., Any]:
    """Add a step (decay, average, weights, k) -> average."""

    def add(step: Callable[..., Any]) -> Callable[..., Any]:
        def ema(decay: float, history: Any) -> Any:
            rows = [history[0]]
            for k, row in enumerate(history[1:], start=1):
                rows.append(np.asarray(step(decay, rows[-1], row, k), dtype=F))
            return np.stack(rows)

        name, text = step.__name__.replace("_", " "), (step.__doc__ or "").strip()
        FAMILY.add(lambda p: {"ema": ema}, "ema", name=name, form=text, breaks=breaks)
        return step

    return add


@averaging("TRN-1 TRN-3")
def kept_in_half(decay: float, average: Any, row: Any, k: int) -> Any:
    """An average in float16."""
    return (average.astype(np.float16) + np.float16(1 - decay) * (row - average).astype(np.float16)).astype(np.float16)


@averaging("TRN-1")
def corrected_for_its_start(decay: float, average: Any, row: Any, k: int) -> Any:
    """Adam's correction, where the average does not begin at 0."""
    return (decay * average + (1 - decay) * row) / (1 - decay ** (k + 1))


@averaging("TRN-1")
def first_of_the_weights_only(decay: float, average: Any, row: Any, k: int) -> Any:
    """Parameters averaged, buffers copied at the start."""
    return np.append(average[:1] + (1 - decay) * (row[:1] - average[:1]), average[1:])


@averaging("TRN-1")
def memory_of_d_over_n(decay: float, average: Any, row: Any, k: int) -> Any:
    """d to the power 1/2."""
    return np.sqrt(decay) * average + (1 - np.sqrt(decay)) * row
