"""The posterior q(x_s | x_t, x_0), and the SDE, in the forms that libraries have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Process, Unsupported
from tests.meta.variants.base import column, over, rate, scales
from tests.meta.variants.libraries import JAX, NUMPY, NUMPY64, TORCH, TORCH64, Library
from tests.meta.variants.variant import COSINE, DDPM, FLAT, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("posterior")
KNOWN = (LINEAR, COSINE, SHORT)
Form = Callable[..., Any]
"""(xp, scales at t, scales at s, x_t, x_0) -> (mean, variance), the variance still shaped for the data."""


def posterior(*libraries: Library, on: Claimed | tuple[Claimed, ...] = KNOWN, **options: Any) -> Callable[[Form], Form]:
    """Add a form as a variant of each library."""

    def add(form: Form) -> Form:
        for library in libraries:
            FAMILY.add(
                made(library, form),
                "posterior",
                on=on,
                name=f"{form.__name__.replace('_', ' ')}, {library.name} {library.dtype}",
                form=(form.__doc__ or "").strip(),
                **library.claimed | options,
            )
        return form

    return add


def made(library: Library, form: Form) -> Callable[[Process], Methods]:
    """Return what makes `posterior` of a form."""

    def make(p: Process) -> Methods:
        def run(xp: Any, x_t: Any, x_0: Any, t: Any, s: Any) -> Any:
            mean, variance = form(xp, over(xp, p, t, x_t), over(xp, p, s, x_t), x_t, x_0)
            return mean, variance.reshape(-1)

        return {"posterior": library.bound(run)}

    return make


@posterior(NUMPY, NUMPY64, TORCH, on=(LINEAR, COSINE, SHORT, DDPM))
def as_written(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """Coefficients on x_0 and x_t, with sigma_t|s^2 = sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2."""
    ratio = t[0] / s[0]
    between = t[1] ** 2 - ratio**2 * s[1] ** 2
    mean = s[0] * between / t[1] ** 2 * x_0 + ratio * s[1] ** 2 / t[1] ** 2 * x_t
    return mean, between * s[1] ** 2 / t[1] ** 2


@posterior(NUMPY, TORCH64)
def by_alpha_bar(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """DDPM's, with beta = 1 - alpha_bar_t/alpha_bar_s and 1 - alpha_bar for the variances."""
    bar_t, bar_s = t[0] ** 2, s[0] ** 2
    beta = 1.0 - bar_t / bar_s
    mean = xp.sqrt(bar_s) * beta / (1.0 - bar_t) * x_0 + xp.sqrt(1.0 - beta) * (1.0 - bar_s) / (1.0 - bar_t) * x_t
    return mean, beta * (1.0 - bar_s) / (1.0 - bar_t)


@posterior(NUMPY, TORCH, on=(LINEAR, SHORT))
def in_precisions(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """Precisions add: 1/sigma_s^2 of the prior and ratio^2/sigma_t|s^2 of the transition; at s = 0, x_0 itself."""
    ratio = t[0] / s[0]
    between = t[1] ** 2 - ratio**2 * s[1] ** 2
    last = s[1] == 0
    prior = 1.0 / xp.where(last, xp.ones_like(s[1]), s[1]) ** 2
    likelihood = ratio**2 / xp.where(between > 0, between, xp.ones_like(between))
    variance = 1.0 / (prior + likelihood)
    mean = variance * (prior * s[0] * x_0 + likelihood * x_t / ratio)
    return xp.where(last, x_0, mean), xp.where(last, 0.0 * variance, variance)


@posterior(NUMPY, TORCH)
def by_way_of_eps(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """eps from x_0 first, then DDPM's (x_t - beta/sigma_t eps)/sqrt(1 - beta)."""
    eps = (x_t - t[0] * x_0) / t[1]
    ratio = (t[0] / s[0]) ** 2
    return (x_t - (1.0 - ratio) / t[1] * eps) / xp.sqrt(ratio), (1.0 - ratio) * s[1] ** 2 / t[1] ** 2


@posterior(NUMPY)
def as_ddim_of_eta_one(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """alpha_s x_0 + sqrt(sigma_s^2 - variance) eps."""
    ratio = (t[0] / s[0]) ** 2
    variance = xp.clip(1.0 - ratio, 0.0, 1.0) * s[1] ** 2 / t[1] ** 2
    eps = (x_t - t[0] * x_0) / t[1]
    return s[0] * x_0 + xp.sqrt(xp.clip(s[1] ** 2 - variance, 0.0, 1.0)) * eps, variance


@posterior(NUMPY, JAX)
def by_snr(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """VDM's: c = 1 - SNR_t/SNR_s, mean alpha_s (x_t (1 - c)/alpha_t + c x_0), variance sigma_s^2 c."""
    kept = (s[1] * t[0] / (t[1] * s[0])) ** 2
    c = 1.0 - kept
    return s[0] * (kept * x_t / t[0] + c * x_0), s[1] ** 2 * c


@posterior(NUMPY, on=(LINEAR, FLAT))
def in_edm_variables(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """z = x/alpha and q = sigma/alpha: a Brownian bridge from z_t to x_0, mean x_0 + (q_s/q_t)^2 (z_t - x_0)."""
    q_t, q_s = t[1] / t[0], s[1] / s[0]
    share = (q_s / q_t) ** 2
    z = x_0 + share * (x_t / t[0] - x_0)
    return s[0] * z, s[0] ** 2 * q_s**2 * (1.0 - share)


@posterior(NUMPY)
def by_gain(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """Kalman's: the prior's mean plus a gain times the innovation, variance (1 - gain ratio) sigma_s^2."""
    ratio = t[0] / s[0]
    gain = ratio * s[1] ** 2 / t[1] ** 2
    return s[0] * x_0 + gain * (x_t - t[0] * x_0), (1.0 - gain * ratio) * s[1] ** 2


@FAMILY.of("posterior", "perturb", on=(*KNOWN, OWN))
def beside_its_noising(p: Process) -> Methods:
    """The posterior, and the noising that it undoes."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    return {**made(NUMPY, as_written)(p), "perturb": perturb}


@FAMILY.of("posterior", on=(DDPM, SHORT))
def tables_of_neighbours(p: Process) -> Methods:
    """DDPM's buffers for s = k - 1, float64 cast to float32, the log variance clipped at that of k = 2."""
    assert isinstance(p, Chain)
    betas = np.array(p.betas)
    bar = np.cumprod(1.0 - betas)
    before = np.append(1.0, bar[:-1])
    variance = betas * (1.0 - before) / (1.0 - bar)
    log_variance = np.log(np.append(variance[1], variance[1:]))
    first = np.sqrt(before) * betas / (1.0 - bar)
    second = np.sqrt(1.0 - betas) * (1.0 - before) / (1.0 - bar)
    clipped, on_x_0, on_x_t = (x.astype(np.float32) for x in (np.exp(log_variance), first, second))

    def tabled(x_t: Any, x_0: Any, t: Any, s: Any) -> Any:
        if (s != t - 1).any():
            raise Unsupported("neighbours only")
        if (t == 1).any():
            raise Unsupported("the variance at k = 1 is clipped: it is never used")
        return column(on_x_0[t - 1], x_0) * x_0 + column(on_x_t[t - 1], x_t) * x_t, clipped[t - 1]

    return {"posterior": tabled}


SDE = Family("sde")


def sde(
    drift: Form, diffusion: Form, name: str, form: str, library: Library, on: tuple[Claimed, ...] = (LINEAR, COSINE)
) -> None:
    """Add forms (xp, beta, x) of the drift and (xp, beta) of the diffusion as a variant."""

    def make(p: Process) -> Methods:
        return {
            "drift": library.bound(lambda xp, x, t: drift(xp, column(rate(xp, p, t), x), x)),
            "diffusion": library.bound(lambda xp, t: diffusion(xp, rate(xp, p, t))),
        }

    SDE.add(make, "sde", on=on, name=f"{name}, {library.name} {library.dtype}", form=form, dtype=library.dtype)


for _library in (NUMPY, NUMPY64, TORCH, JAX):
    sde(
        lambda xp, b, x: -0.5 * b * x,
        lambda xp, b: xp.sqrt(xp.clip(b, 0.0, np.inf)),
        "as written",
        "f = -beta x/2, g = sqrt(beta).",
        _library,
    )
sde(
    lambda xp, b, x: -(xp.sqrt(xp.clip(b, 0.0, np.inf)) ** 2) * x / 2.0,
    lambda xp, b: xp.sqrt(xp.clip(b, 0.0, np.inf)),
    "drift by the diffusion",
    "f = -g^2 x/2.",
    TORCH,
    on=(LINEAR, FLAT),
)
sde(
    lambda xp, b, x: x * (b * -0.5),
    lambda xp, b: xp.clip(b, 0.0, np.inf) ** 0.5,
    "by a power",
    "g = beta^(1/2).",
    NUMPY,
    on=(LINEAR, FLAT),
)


@SDE.of("sde", on=(LINEAR, FLAT))
def per_step_of_a_thousand(p: Process) -> Methods:
    """score-SDE's discretisation: f and g of one step of 1/1000, put back to units of time."""
    n = np.float32(1000)

    def drift(x: Any, t: Any) -> Any:
        step = column(rate(np, p, t) / n, x)
        return (n * (np.float32(-0.5) * step * x)).astype(np.float32)

    return {"drift": drift, "diffusion": lambda t: np.sqrt(n) * np.sqrt(rate(np, p, t) / n)}


@SDE.of("sde", "perturb", "schedule", on=(LINEAR, FLAT, OWN))
def beside_its_marginal(p: Process) -> Methods:
    """The SDE, and the marginal that it has."""

    def perturb(x_0: Any, eps: Any, t: Any) -> Any:
        a, s = over(np, p, t, x_0)
        return a * x_0 + s * eps

    def coefficients(t: Any) -> Any:
        a, s = scales(np, p, t)
        return {"alpha": a, "sigma": s, "beta": np.asarray(rate(np, p, t))}

    return {
        "perturb": perturb,
        "coefficients": coefficients,
        "drift": lambda x, t: np.float32(-0.5) * column(rate(np, p, t), x) * x,
        "diffusion": lambda t: np.sqrt(rate(np, p, t)),
    }


@SDE.of("sde", on=COSINE, t_max=0.99)
def until_before_the_end(p: Process) -> Methods:
    """The cosine rate by its tangent, served up to t = 0.99, where it is finite."""

    def beta(t: Any) -> Any:
        if (t > np.float32(0.99)).any():
            raise ValueError("t > 0.99")
        return np.float32(np.pi / 1.008) * np.tan(np.float32(np.pi / 2 / 1.008) * (t + np.float32(0.008)))

    return {"drift": lambda x, t: np.float32(-0.5) * column(beta(t), x) * x, "diffusion": lambda t: np.sqrt(beta(t))}
