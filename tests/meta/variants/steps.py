"""Steps from t to s: em, ode, ddim and ddpm, in the forms that samplers have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from refdiff.conformance.interface import Chain, Process, Unsupported
from tests.meta.variants.base import column, over, rate
from tests.meta.variants.libraries import JAX, NUMPY, NUMPY64, TORCH, TORCH64, Library
from tests.meta.variants.variant import COSINE, DDPM, FLAT, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("steps")
KNOWN = (LINEAR, COSINE, SHORT)
Form = Callable[..., Any]
"""(xp, scales at t, scales at s, x_t, eps_hat, noise) -> x_s."""


def stepping(
    rule: str, *libraries: Library, on: Claimed | tuple[Claimed, ...] = KNOWN, **options: Any
) -> Callable[[Form], Form]:
    """Add a form of ddim or ddpm as a variant of each library; the other rules are refused."""

    def add(form: Form) -> Form:
        for library in libraries:
            FAMILY.add(
                walking(library, form, rule),
                "step",
                on=on,
                name=f"{rule} {form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed | options,
            )
        return form

    return add


def walking(library: Library, form: Form, rule: str) -> Callable[[Process], Methods]:
    """Return what makes `step` of a form."""

    def make(p: Process) -> Methods:
        def run(xp: Any, x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
            return form(xp, over(xp, p, t, x), over(xp, p, s, x), x, e, z)

        ready = library.bound(run)

        def step(x_t: Any, eps_hat: Any, t: Any, s: Any, noise: Any, asked: str) -> Any:
            if asked != rule:
                raise Unsupported(f"{rule} only")
            return ready(x_t, eps_hat, noise, t, s)

        return {"step": step}

    return make


@stepping("ddim", NUMPY, NUMPY64, TORCH, JAX, on=(LINEAR, COSINE, DDPM))
def by_x_0(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """x_0_hat first, then alpha_s x_0_hat + sigma_s eps_hat."""
    return s[0] * ((x - t[1] * e) / t[0]) + s[1] * e


@stepping("ddim", NUMPY, TORCH64)
def by_a_ratio(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """alpha_s/alpha_t x_t + (sigma_s - alpha_s sigma_t/alpha_t) eps_hat."""
    r = s[0] / t[0]
    return r * x + (s[1] - r * t[1]) * e


@stepping("ddim", NUMPY, JAX, on=(LINEAR, FLAT))
def in_edm_variables(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """Euler's step of z = x/alpha in q = sigma/alpha: z_s = z_t + (q_s - q_t) eps_hat."""
    return s[0] * (x / t[0] + (s[1] / s[0] - t[1] / t[0]) * e)


@stepping("ddim", NUMPY, TORCH, on=LINEAR, t_min=1e-4)
def as_dpm_solver(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """DPM-Solver-1: alpha_s/alpha_t x_t - sigma_s (exp(h) - 1) eps_hat, h the difference of half log-SNR; s above 0."""
    last = s[1] == 0
    with_log = xp.where(last, xp.ones_like(s[1]), s[1])
    h = xp.log(s[0] / with_log) - xp.log(t[0] / t[1])
    made = s[0] / t[0] * x - with_log * xp.expm1(h) * e
    return xp.where(last, (x - t[1] * e) / t[0], made)


@stepping("ddim", NUMPY, on=KNOWN)
def by_eta_zero(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The general form with eta = 0: sqrt(sigma_s^2 - c^2) eps_hat + c z, c = eta sqrt of the posterior's variance."""
    ratio = (t[0] / s[0]) ** 2
    c = 0.0 * xp.sqrt(s[1] ** 2 / t[1] ** 2 * (1.0 - ratio))
    x_0 = (x - t[1] * e) / t[0]
    return s[0] * x_0 + xp.sqrt(s[1] ** 2 - c**2) * e + c * z


@stepping("ddim", NUMPY, on=(LINEAR, COSINE))
def by_rotation(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """By v: x_s = cos(d) x_t - sin(d) v, v = (eps_hat - sin(phi) x_t)/cos(phi), d = phi_t - phi_s."""
    phi, psi = xp.arctan2(t[1], t[0]), xp.arctan2(s[1], s[0])
    v = (e - t[1] * x) / t[0]
    return xp.cos(phi - psi) * x - xp.sin(phi - psi) * v


@stepping("ddpm", NUMPY, NUMPY64, TORCH, JAX, on=(LINEAR, COSINE, DDPM, SHORT))
def through_x_0(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """x_0_hat, and the posterior's mean and variance at it."""
    ratio = t[0] / s[0]
    between = t[1] ** 2 - ratio**2 * s[1] ** 2
    x_0 = (x - t[1] * e) / t[0]
    mean = s[0] * between / t[1] ** 2 * x_0 + ratio * s[1] ** 2 / t[1] ** 2 * x
    return mean + xp.sqrt(xp.clip(between, 0.0, 1.0) * s[1] ** 2 / t[1] ** 2) * z


@stepping("ddpm", NUMPY, TORCH)
def through_eps(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """DDPM's: (x_t - beta/sigma_t eps_hat)/sqrt(1 - beta), beta = 1 - alpha_bar_t/alpha_bar_s."""
    ratio = (t[0] / s[0]) ** 2
    beta = 1.0 - ratio
    mean = (x - beta / t[1] * e) / xp.sqrt(ratio)
    return mean + xp.sqrt(xp.clip(beta, 0.0, 1.0) * s[1] ** 2 / t[1] ** 2) * z


@stepping("ddpm", NUMPY, TORCH64)
def by_the_score(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """score-SDE's ancestral: (x_t + beta score)/sqrt(1 - beta) with the posterior's variance."""
    score = -e / t[1]
    beta = 1.0 - (t[0] / s[0]) ** 2
    mean = (x + beta * score) / (t[0] / s[0])
    return mean + s[1] / t[1] * xp.sqrt(xp.clip(beta, 0.0, 1.0)) * z


@stepping("ddpm", NUMPY)
def with_a_log_variance(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The noise as exp(log variance/2), with the variance clipped from below at 1e-20; none at s = 0."""
    ratio = (t[0] / s[0]) ** 2
    beta = xp.clip(1.0 - ratio, 0.0, 1.0)
    log_variance = xp.log(xp.clip(beta * s[1] ** 2 / t[1] ** 2, 1e-20, 1.0))
    mean = (x - beta / t[1] * e) * s[0] / t[0]
    return mean + xp.where(s[1] > 0, 1.0, 0.0) * xp.exp(0.5 * log_variance) * z


@stepping("ddpm", NUMPY, JAX)
def as_ddim_of_eta_one(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """DDIM with eta = 1: alpha_s x_0_hat + sqrt(sigma_s^2 - c^2) eps_hat + c z."""
    ratio = (t[0] / s[0]) ** 2
    c = s[1] / t[1] * xp.sqrt(xp.clip(1.0 - ratio, 0.0, 1.0))
    x_0 = (x - t[1] * e) / t[0]
    return s[0] * x_0 + xp.sqrt(xp.clip(s[1] ** 2 - c**2, 0.0, 1.0)) * e + c * z


@stepping("ddpm", NUMPY, on=(LINEAR, SHORT))
def in_precisions(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """The product of two Gaussians: precisions add, means weigh by them; at s = 0 x_0_hat."""
    ratio = t[0] / s[0]
    between = t[1] ** 2 - ratio**2 * s[1] ** 2
    x_0 = (x - t[1] * e) / t[0]
    last = s[1] == 0
    prior = 1.0 / xp.where(last, xp.ones_like(s[1]), s[1]) ** 2
    likelihood = ratio**2 / xp.where(between > 0, between, xp.ones_like(between))
    variance = 1.0 / (prior + likelihood)
    mean = variance * (prior * s[0] * x_0 + likelihood * x / ratio)
    return xp.where(last, x_0, mean + xp.sqrt(variance) * z)


@stepping("ddpm", NUMPY, on=(LINEAR, COSINE))
def as_sde_dpm_solver(xp: Any, t: Any, s: Any, x: Any, e: Any, z: Any) -> Any:
    """SDE-DPM-Solver-1: sigma_s/sigma_t e^-h x_t + alpha_s (1 - e^-2h) x_0_hat + sigma_s sqrt(1 - e^-2h) z."""
    shrink = (s[1] * t[0] / (t[1] * s[0])) ** 2
    x_0 = (x - t[1] * e) / t[0]
    root = xp.sqrt(xp.clip(1.0 - shrink, 0.0, 1.0))
    return s[1] / t[1] * xp.sqrt(shrink) * x + s[0] * (1.0 - shrink) * x_0 + s[1] * root * z


def sde_rule(
    rule: str, *libraries: Library, on: Claimed | tuple[Claimed, ...] = (LINEAR, COSINE), **options: Any
) -> Callable[[Form], Form]:
    """Add a form (xp, sigma, beta, h, x_t, eps_hat, noise) of em or ode as a variant of each library."""

    def add(form: Form) -> Form:
        for library in libraries:
            FAMILY.add(
                _euler(library, form, rule),
                "step",
                on=on,
                name=f"{rule} {form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed | options,
            )
        return form

    return add


def _euler(library: Library, form: Form, rule: str) -> Callable[[Process], Methods]:
    def make(p: Process) -> Methods:
        def run(xp: Any, x: Any, e: Any, z: Any, t: Any, s: Any) -> Any:
            return form(xp, over(xp, p, t, x)[1], column(rate(xp, p, t), x), column(t - s, x), x, e, z)

        ready = library.bound(run)

        def step(x_t: Any, eps_hat: Any, t: Any, s: Any, noise: Any, asked: str) -> Any:
            if asked != rule:
                raise Unsupported(f"{rule} only")
            return ready(x_t, eps_hat, noise, t, s)

        return {"step": step}

    return make


@sde_rule("em", NUMPY, NUMPY64, TORCH, JAX)
def as_written(xp: Any, sigma: Any, beta: Any, h: Any, x: Any, e: Any, z: Any) -> Any:
    """x + h (beta x/2 - beta eps_hat/sigma) + sqrt(beta h) z."""
    return x + h * (0.5 * beta * x - beta * e / sigma) + xp.sqrt(beta * h) * z


@sde_rule("em", NUMPY, TORCH64)
def backwards_in_time(xp: Any, sigma: Any, beta: Any, h: Any, x: Any, e: Any, z: Any) -> Any:
    """score-SDE's: dt = -h, x + (f - g^2 score) dt + g sqrt(-dt) z."""
    dt, g = -h, xp.sqrt(beta)
    drift = -0.5 * beta * x - g**2 * (-e / sigma)
    return x + drift * dt + g * xp.sqrt(-dt) * z


@sde_rule("em", NUMPY)
def factor_by_factor(xp: Any, sigma: Any, beta: Any, h: Any, x: Any, e: Any, z: Any) -> Any:
    """(1 + beta h/2) x - (beta h/sigma) eps_hat + sqrt(h) g z."""
    b = beta * h
    return (1.0 + 0.5 * b) * x - b / sigma * e + xp.sqrt(h) * xp.sqrt(beta) * z


@sde_rule("ode", NUMPY, TORCH, JAX)
def flow_as_written(xp: Any, sigma: Any, beta: Any, h: Any, x: Any, e: Any, z: Any) -> Any:
    """x + beta h/2 (x - eps_hat/sigma)."""
    return x + 0.5 * h * beta * (x - e / sigma)


@sde_rule("ode", NUMPY)
def flow_by_the_score(xp: Any, sigma: Any, beta: Any, h: Any, x: Any, e: Any, z: Any) -> Any:
    """x - h (f - g^2 score/2)."""
    return x - h * (-0.5 * beta * x - 0.5 * beta * (-e / sigma))


@FAMILY.of("step", "perturb", on=(LINEAR, COSINE, OWN, DDPM))
def all_rules_beside_noising(p: Process) -> Methods:
    """All rules and the noising, in NumPy."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    def step(x: Any, e: Any, t: Any, s: Any, z: Any, rule: str) -> Any:
        at_t, at_s = over(np, p, t, x), over(np, p, s, x)
        if rule == "ddim":
            return by_x_0(np, at_t, at_s, x, e, z)
        if rule == "ddpm":
            return through_x_0(np, at_t, at_s, x, e, z)
        if isinstance(p, Chain):
            raise Unsupported("a chain has no rate")
        form = as_written if rule == "em" else flow_as_written
        return form(np, at_t[1], column(rate(np, p, t), x), column(t - s, x), x, e, z)

    return {"perturb": perturb, "step": step}


@FAMILY.of("step", on=(DDPM, SHORT))
def adjacent_by_tables(p: Process) -> Methods:
    """DDPM's buffers: 1/sqrt(1 - beta_k), beta_k/sigma_k and sqrt of beta_tilde, for s = k - 1 alone."""
    assert isinstance(p, Chain)
    betas = np.array(p.betas)
    bar = np.cumprod(1.0 - betas)
    before = np.append(1.0, bar[:-1])
    tables = (1.0 / np.sqrt(1.0 - betas), betas / np.sqrt(1.0 - bar), np.sqrt(betas * (1.0 - before) / (1.0 - bar)))
    root, on_eps, noise_scale = (table.astype(np.float32) for table in tables)

    def step(x: Any, e: Any, t: Any, s: Any, z: Any, rule: str) -> Any:
        if rule != "ddpm" or (s != t - 1).any():
            raise Unsupported("ddpm between neighbours only")
        r, b, n = (column(table[t - 1], x) for table in (root, on_eps, noise_scale))
        return r * (x - b * e) + n * z

    return {"step": step}


@FAMILY.of("step", on=(LINEAR, COSINE))
def mapped_by_jax(p: Process) -> Methods:
    """ddim of one example, mapped over the batch and compiled."""

    def one(x: Any, e: Any, t: Any, s: Any) -> Any:
        import jax.numpy as jnp

        from tests.meta.variants.base import scales

        (a_t, s_t), (a_s, s_s) = scales(jnp, p, t), scales(jnp, p, s)
        return a_s * (x - s_t * e) / a_t + s_s * e

    ready = JAX.bound(lambda xp, x, e, t, s: jax.vmap(one)(x, e, t, s))

    def step(x: Any, e: Any, t: Any, s: Any, z: Any, rule: str) -> Any:
        if rule != "ddim":
            raise Unsupported("ddim only")
        return ready(x, e, t, s)

    return {"step": step}
