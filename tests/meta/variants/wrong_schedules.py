"""Wrong schedules and chains: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Cosine, Linear, Process
from tests.meta.variants.base import rate, scales
from tests.meta.variants.variant import COSINE, DDPM, LINEAR, SHORT, Claimed, Family, Methods

FAMILY = Family("wrong")
F = np.float32


def exponential(p: Linear, t: Any) -> Any:
    """Return alpha_bar, right."""
    return np.exp(-t * (F(p.beta_min) + F(0.5) * F(p.beta_max - p.beta_min) * t))


def schedule(breaks: str, on: Claimed = LINEAR) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a form (process, t) -> quantities."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            return {"coefficients": lambda t: {name: np.asarray(x, dtype=F) for name, x in form(p, t).items()}}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "schedule", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


@schedule("SCH-2")
def rate_per_step(p: Linear, t: Any) -> Any:
    """beta of one step of a thousand for the rate."""
    return {"beta": (p.beta_min + t * (p.beta_max - p.beta_min)) / 1000, "alpha_bar": exponential(p, t)}


@schedule("SCH-2")
def rate_from_noise_to_data(p: Linear, t: Any) -> Any:
    """beta(1 - t)."""
    return {"beta": p.beta_max - t * (p.beta_max - p.beta_min), "alpha_bar": exponential(p, t)}


@schedule("SCH-2")
def parameters_in_half(p: Linear, t: Any) -> Any:
    """Rates stored in float16."""
    low, high = F(np.float16(p.beta_min)), F(np.float16(p.beta_max))
    return {"beta": low + t * (high - low)}


@schedule("SCH-3")
def slope_not_reduced(p: Linear, t: Any) -> Any:
    """beta_max t^2/2 where (beta_max - beta_min) t^2/2 belongs."""
    return {"alpha_bar": np.exp(-(p.beta_min * t + 0.5 * p.beta_max * t * t))}


@schedule("SCH-3")
def left_sums(p: Linear, t: Any) -> Any:
    """The integral as a sum of a thousand rectangles."""
    nodes = np.arange(1000) / 1000.0
    rates = p.beta_min + nodes * (p.beta_max - p.beta_min)
    covered = np.clip(t[:, None].astype(float) - nodes, 0.0, 1e-3)
    return {"log_alpha_bar": -(covered * rates).sum(1)}


@schedule("SCH-3")
def nearest_of_a_thousand(p: Linear, t: Any) -> Any:
    """A table at k/999, read at (999 t).long()."""
    return {"alpha_bar": exponential(p, (t * F(999)).astype(int).astype(F) / F(999))}


@schedule("SCH-3")
def time_in_bfloat16(p: Linear, t: Any) -> Any:
    """Time through bfloat16."""
    short = (t.view(np.int32) & np.int32(-65536)).view(F)
    return {"alpha_bar": exponential(p, short)}


@schedule("SCH-3")
def whole_exponent_halved(p: Linear, t: Any) -> Any:
    """alpha where alpha_bar belongs."""
    return {"alpha_bar": np.sqrt(exponential(p, t))}


@schedule("SCH-1 MAR-2")
def time_clipped_below(p: Linear, t: Any) -> Any:
    """Times below 1/1000 are 1/1000, and the claim does not say so."""
    bar = exponential(p, np.maximum(t, F(1e-3)))
    return {"alpha_bar": bar, "sigma": np.sqrt(1 - bar)}


@schedule("SCH-1")
def from_noise_to_data(p: Linear, t: Any) -> Any:
    """t = 1 is the data."""
    return {"alpha_bar": exponential(p, 1 - t)}


@schedule("SCH-1 MAR-3")
def variance_of_more_than_one(p: Linear, t: Any) -> Any:
    """sigma^2 + 10^-6, undeclared: alpha^2 + sigma^2 = 1 + 10^-6."""
    bar = exponential(p, t)
    return {"alpha": np.sqrt(bar), "sigma": np.sqrt(1 - bar + F(1e-6))}


@schedule("MAR-2 MAR-3")
def one_minus_alpha(p: Linear, t: Any) -> Any:
    """sigma = 1 - alpha."""
    alpha = np.sqrt(exponential(p, t))
    return {"alpha": alpha, "sigma": 1 - alpha}


@schedule("MAR-2")
def root_dropped_from_sigma(p: Linear, t: Any) -> Any:
    """The variance where the deviation belongs."""
    return {"alpha": np.sqrt(exponential(p, t)), "sigma": 1 - exponential(p, t)}


@schedule("SCH-7")
def log_snr_of_ddpm_pytorch(p: Linear, t: Any) -> Any:
    """-log(expm1(0.0001 + 10 t^2)), which is called linear."""
    return {"log_snr": -np.log(np.expm1(F(1e-4) + 10 * t**2)), "alpha_bar": exponential(p, t)}


@schedule("SCH-7 SCH-8")
def log_snr_of_amplitudes(p: Linear, t: Any) -> Any:
    """log(alpha/sigma), half of it."""
    bar = exponential(p, t)
    return {"log_snr": 0.5 * (np.log(bar) - np.log(1 - bar)), "alpha_bar": bar}


@schedule("SCH-7")
def log_snr_to_the_base_ten(p: Linear, t: Any) -> Any:
    """log10."""
    bar = exponential(p, t)
    return {"log_snr": np.log10(bar / (1 - bar))}


@schedule("SCH-6 SCH-7")
def noise_to_signal(p: Linear, t: Any) -> Any:
    """Minus the log-SNR."""
    bar = exponential(p, t)
    return {"log_snr": np.log((1 - bar) / bar)}


@schedule("SCH-4", on=COSINE)
def offset_doubled(p: Cosine, t: Any) -> Any:
    """s = 0.016."""
    return {"alpha_bar": scales(np, Cosine(s=2 * p.s), t)[0] ** 2}


@schedule("SCH-1 SCH-4", on=COSINE)
def not_divided_by_its_start(p: Cosine, t: Any) -> Any:
    """cos^2 alone, which begins at 0.99984."""
    return {"alpha_bar": np.cos(F(np.pi / 2) * (t + F(p.s)) / F(1 + p.s)) ** 2}


@schedule("MAR-1", on=COSINE)
def clipped_at_the_end(p: Cosine, t: Any) -> Any:
    """Time up to 0.9999, undeclared: alpha(1) = 1.6e-4."""
    return {"alpha": scales(np, p, np.minimum(t, F(0.9999)))[0]}


@schedule("SCH-5", on=COSINE)
def rate_of_the_cosine_halved(p: Cosine, t: Any) -> Any:
    """pi/2 tan, the rate of alpha and not of alpha_bar."""
    return {"beta": 0.5 * rate(np, p, t)}


@schedule("SCH-5", on=COSINE)
def rate_of_the_cosine_capped(p: Cosine, t: Any) -> Any:
    """A rate of 20 at most."""
    return {"beta": np.minimum(rate(np, p, t), F(20))}


def chain(breaks: str, on: tuple[Claimed, ...] = (DDPM,)) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a form of float64 betas -> quantities at k = 1..N."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            assert isinstance(p, Chain)
            tables = form(np.array(p.betas))
            return {"coefficients": lambda k: {name: x[k - 1].astype(F) for name, x in tables.items()}}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "schedule", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


@chain("DIS-1")
def not_cumulative(betas: Any) -> Any:
    """alphas[k] for the product."""
    return {"alpha_bar": 1 - betas}


@chain("DIS-1")
def table_one_step_early(betas: Any) -> Any:
    """alpha_bar_{k-1}."""
    return {"alpha_bar": np.append(1.0, np.cumprod(1 - betas)[:-1])}


@chain("DIS-1")
def sum_of_betas(betas: Any) -> Any:
    """exp(-sum beta), the limit of small steps."""
    return {"alpha_bar": np.exp(-np.cumsum(betas))}


@chain("DIS-1", on=(DDPM, SHORT))
def betas_backwards(betas: Any) -> Any:
    """The product from the other end."""
    return {"alpha_bar": np.cumprod(1 - betas[::-1])}


@chain("DIS-1 MAR-2")
def cast_to_bfloat16(betas: Any) -> Any:
    """A table in bfloat16 before 1 - alpha_bar."""
    bar = (np.cumprod(1 - betas).astype(F).view(np.int32) & np.int32(-65536)).view(F)
    return {"alpha_bar": bar, "sigma": np.sqrt(1 - bar)}


@chain("DIS-1 MAR-1")
def rescaled_to_no_signal(betas: Any) -> Any:
    """Zero terminal SNR, in a chain that was not to have it."""
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return {"alpha": root, "alpha_bar": root**2}


@chain("SCH-8")
def log_snr_left_stale(betas: Any) -> Any:
    """A log-SNR table from before the betas changed."""
    old, bar = np.cumprod(1 - 1.1 * betas), np.cumprod(1 - betas)
    return {"alpha_bar": bar, "log_snr": np.log(old / (1 - old))}
