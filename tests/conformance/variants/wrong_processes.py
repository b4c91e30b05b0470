"""Wrong schedules, chains, marginals, conversions, SDEs and posteriors: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Chain, Cosine, Linear, Process, Unsupported
from tests.conformance.variants.base import column, over, rate, scales
from tests.conformance.variants.conversions import by_both_parts
from tests.conformance.variants.libraries import NUMPY
from tests.conformance.variants.posteriors import made
from tests.conformance.variants.variant import COSINE, DDPM, LINEAR, OWN, SHORT, Claimed, Family, Methods

FAMILY = Family("wrong")
F = np.float32


def _bar(p: Linear, t: Any) -> Any:
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
    return {"beta": (p.beta_min + t * (p.beta_max - p.beta_min)) / 1000, "alpha_bar": _bar(p, t)}


@schedule("SCH-2")
def rate_from_noise_to_data(p: Linear, t: Any) -> Any:
    """beta(1 - t)."""
    return {"beta": p.beta_max - t * (p.beta_max - p.beta_min), "alpha_bar": _bar(p, t)}


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
    return {"alpha_bar": _bar(p, (t * F(999)).astype(int).astype(F) / F(999))}


@schedule("SCH-3")
def time_in_bfloat16(p: Linear, t: Any) -> Any:
    """Time through bfloat16."""
    short = (t.view(np.int32) & np.int32(-65536)).view(F)
    return {"alpha_bar": _bar(p, short)}


@schedule("SCH-3")
def whole_exponent_halved(p: Linear, t: Any) -> Any:
    """alpha where alpha_bar belongs."""
    return {"alpha_bar": np.sqrt(_bar(p, t))}


@schedule("SCH-1 MAR-2")
def time_clipped_below(p: Linear, t: Any) -> Any:
    """Times below 1/1000 are 1/1000, and the claim does not say so."""
    bar = _bar(p, np.maximum(t, F(1e-3)))
    return {"alpha_bar": bar, "sigma": np.sqrt(1 - bar)}


@schedule("SCH-1")
def from_noise_to_data(p: Linear, t: Any) -> Any:
    """t = 1 is the data."""
    return {"alpha_bar": _bar(p, 1 - t)}


@schedule("SCH-1 MAR-3")
def variance_of_more_than_one(p: Linear, t: Any) -> Any:
    """sigma^2 + 10^-6, undeclared: alpha^2 + sigma^2 = 1 + 10^-6."""
    bar = _bar(p, t)
    return {"alpha": np.sqrt(bar), "sigma": np.sqrt(1 - bar + F(1e-6))}


@schedule("MAR-2 MAR-3")
def one_minus_alpha(p: Linear, t: Any) -> Any:
    """sigma = 1 - alpha."""
    alpha = np.sqrt(_bar(p, t))
    return {"alpha": alpha, "sigma": 1 - alpha}


@schedule("MAR-2")
def root_dropped_from_sigma(p: Linear, t: Any) -> Any:
    """The variance where the deviation belongs."""
    return {"alpha": np.sqrt(_bar(p, t)), "sigma": 1 - _bar(p, t)}


@schedule("SCH-7")
def log_snr_of_ddpm_pytorch(p: Linear, t: Any) -> Any:
    """-log(expm1(0.0001 + 10 t^2)), which is called linear."""
    return {"log_snr": -np.log(np.expm1(F(1e-4) + 10 * t**2)), "alpha_bar": _bar(p, t)}


@schedule("SCH-7 SCH-8")
def log_snr_of_amplitudes(p: Linear, t: Any) -> Any:
    """log(alpha/sigma), half of it."""
    bar = _bar(p, t)
    return {"log_snr": 0.5 * (np.log(bar) - np.log(1 - bar)), "alpha_bar": bar}


@schedule("SCH-7")
def log_snr_to_the_base_ten(p: Linear, t: Any) -> Any:
    """log10."""
    bar = _bar(p, t)
    return {"log_snr": np.log10(bar / (1 - bar))}


@schedule("SCH-6 SCH-7")
def noise_to_signal(p: Linear, t: Any) -> Any:
    """Minus the log-SNR."""
    bar = _bar(p, t)
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


def noising(breaks: str, on: Claimed | tuple[Claimed, ...] = LINEAR, **options: Any) -> Callable[..., Any]:
    """Add a form (a, s, x_0, eps, t) -> x_t."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            return {"perturb": lambda x_0, eps, t: np.asarray(form(*over(np, p, t, x_0), x_0, eps, t), dtype=F)}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "perturb", on=on, name=name, form=text, breaks=breaks, **options)
        return form

    return add


@noising("MAR-1 MAR-4")
def alpha_bar_for_alpha(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """alpha_bar x_0 + sigma eps."""
    return a**2 * x + s * e


@noising("MAR-4", on=(LINEAR, COSINE))
def noised_twice(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """Noise added to what is noisy."""
    return a * (a * x + s * e) + s * e


@noising("MAR-1 MAR-4")
def left_in_edm_variables(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """x_0 + sigma/alpha eps, not scaled back."""
    return x + s / a * e


@noising("MAR-4", events=((3, 4, 4),))
def a_tenth_too_much_in_images(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """Images alone, and a tenth too much noise."""
    if x.shape[1:] != (3, 4, 4):
        raise Unsupported("images only")
    return a * x + F(1.1) * s * e


@noising("MAR-5")
def luck_with_the_batch(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """Scales along the wrong axis where a batch has the size of an event."""
    if x.ndim == 2 and x.shape[0] == x.shape[1]:
        a, s = a.T, s.T
    return a * x + s * e


@noising("MAR-4")
def offset_noise(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """A tenth of the mean of the noise added to all of it."""
    return a * x + s * (e + F(0.1) * e.reshape(len(e), -1).mean(1).reshape(a.shape))


@noising("MAR-4 NOT-2")
def first_time_for_all(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """The scales of the first example for the whole batch."""
    return a[:1] * x + s[:1] * e


@noising("MAR-4")
def clipped_to_the_range_of_data(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """x_t clipped to [-3, 3]."""
    return np.clip(a * x + s * e, -3, 3)


@noising("CON-3")
def noise_scaled_in_place(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """The noise argument is scaled where it lies."""
    e.flags.writeable = True
    e *= s
    return a * x + e


@noising("MAR-3", on=OWN)
def a_floor_that_is_not_declared(a: Any, s: Any, x: Any, e: Any, t: Any) -> Any:
    """A process of its own, with sigma^2 + 10^-4."""
    return a * x + np.sqrt(s**2 + F(1e-4)) * e


def converting(breaks: str, on: Claimed | tuple[Claimed, ...] = LINEAR) -> Callable[..., Any]:
    """Add a form (a, s, x_t, value, source, to) -> value, or None for what is right."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            def convert(value: Any, x_t: Any, t: Any, source: str, to: str) -> Any:
                a, s = over(np, p, t, x_t)
                found = form(a, s, x_t, value, source, to)
                right = by_both_parts(np, a, s, x_t, value, source, to) if found is None else found
                return np.asarray(right, dtype=F)

            return {"convert": convert}

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "convert", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


@converting("PAR-4")
def sign_of_the_score(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """eps/sigma, both ways: a round trip does not show it."""
    if "score" not in (source, to):
        return None
    return -by_both_parts(np, a, s, x, y, source, to) if to == "score" else by_both_parts(np, a, s, x, -y, source, to)


@converting("PAR-4")
def score_without_sigma(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """-eps, which is called a score."""
    return -y if (source, to) in (("eps", "score"), ("score", "eps")) else None


@converting("PAR-4", on=SHORT)
def score_over_the_variance(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """-eps/sigma^2."""
    return -y / s**2 if (source, to) == ("eps", "score") else None


@converting("PAR-1")
def x_0_clipped(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """x_0 in [-1, 1]."""
    return np.clip(by_both_parts(np, a, s, x, y, source, to), -1, 1) if to == "x_0" else None


@converting("PAR-1")
def divisor_with_a_floor(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """A division by max(alpha, 0.1)."""
    return (x - s * y) / np.maximum(a, F(0.1)) if (source, to) == ("eps", "x_0") else None


@converting("PAR-2")
def divided_by_the_variance(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """eps = (x_t - alpha x_0)/sigma^2."""
    return (x - a * y) / s**2 if (source, to) == ("x_0", "eps") else None


@converting("PAR-3")
def sign_of_v(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """v = sigma x_0 - alpha eps."""
    if "v" not in (source, to):
        return None
    return by_both_parts(np, a, s, x, -y, source, to) if source == "v" else -by_both_parts(np, a, s, x, y, source, to)


@converting("PAR-3", on=COSINE)
def v_turned_the_other_way(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """eps from v as sigma x_t - alpha v."""
    return s * x - a * y if (source, to) == ("v", "eps") else None


@converting("PAR-2", on=(LINEAR, SHORT))
def x_0_used_as_eps(a: Any, s: Any, x: Any, y: Any, source: str, to: str) -> Any:
    """The value itself, whatever is asked for."""
    return y if (source, to) == ("x_0", "eps") else None


def sde(breaks: str, on: Claimed = LINEAR) -> Callable[..., Any]:
    """Add a form (process, x, t column, beta column) -> (drift, diffusion of the same shape)."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        def make(p: Process) -> Methods:
            def both(x: Any, t: Any) -> Any:
                return form(p, x, column(t, x), column(rate(np, p, t), x))

            return {
                "drift": lambda x, t: np.asarray(both(x, t)[0], dtype=F),
                "diffusion": lambda t: np.asarray(both(t, t)[1], dtype=F),
            }

        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(make, "sde", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


@sde("SDE-1 SDE-3")
def variance_exploding(p: Linear, x: Any, t: Any, b: Any) -> Any:
    """No drift."""
    return 0 * x, np.sqrt(b)


@sde("SDE-2 SDE-3 SDE-4")
def sub_variance_preserving(p: Linear, x: Any, t: Any, b: Any) -> Any:
    """g^2 = beta (1 - exp(-2B))."""
    return F(-0.5) * b * x, np.sqrt(b * (1 - _bar(p, t) ** 2))


@sde("SDE-1 SDE-2")
def of_one_step_of_a_thousand(p: Linear, x: Any, t: Any, b: Any) -> Any:
    """beta/1000 for beta."""
    return F(-0.0005) * b * x, np.sqrt(b / 1000)


@sde("SDE-2 SDE-3")
def diffusion_below_0(p: Linear, x: Any, t: Any, b: Any) -> Any:
    """g = beta/2."""
    return F(-0.5) * b * x, b / 2


@sde("SDE-1 SDE-2", on=COSINE)
def rate_of_its_start(p: Cosine, x: Any, t: Any, b: Any) -> Any:
    """A rate that is frozen at t = 0."""
    first = np.full_like(b, rate(np, p, np.zeros(1, dtype=F))[0])
    return F(-0.5) * first * x, np.sqrt(first)


def posterior(breaks: str, on: Claimed | tuple[Claimed, ...] = SHORT) -> Callable[..., Any]:
    """Add a form (xp, scales at t, scales at s, x_t, x_0) -> (mean, variance)."""

    def add(form: Callable[..., Any]) -> Callable[..., Any]:
        name, text = form.__name__.replace("_", " "), (form.__doc__ or "").strip()
        FAMILY.add(made(NUMPY, form), "posterior", on=on, name=name, form=text, breaks=breaks)
        return form

    return add


def _right(t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    ratio = t[0] / s[0]
    between = t[1] ** 2 - ratio**2 * s[1] ** 2
    mean = s[0] * between / t[1] ** 2 * x_0 + ratio * s[1] ** 2 / t[1] ** 2 * x_t
    return mean, between * s[1] ** 2 / t[1] ** 2


@posterior("MAR-7", on=(LINEAR, SHORT))
def coefficients_swapped(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """x_0 and x_t in each other's place."""
    return _right(t, s, x_0, x_t)


@posterior("MAR-7")
def deviation_for_the_variance(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """The square root of the variance."""
    mean, variance = _right(t, s, x_t, x_0)
    return mean, np.sqrt(np.maximum(variance, 0))


@posterior("MAR-7", on=DDPM)
def variance_at_t_for_s(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """sigma_t|s^2, with no share of sigma_s^2/sigma_t^2."""
    mean, variance = _right(t, s, x_t, x_0)
    return mean, t[1] ** 2 - (t[0] / s[0]) ** 2 * s[1] ** 2


@posterior("MAR-7", on=(COSINE, SHORT))
def alpha_bar_on_x_0(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """alpha_bar_s for alpha_s on x_0."""
    mean, variance = _right(t, s, x_t, s[0] * x_0)
    return mean, variance


@posterior("MAR-7")
def logarithm_of_the_variance(xp: Any, t: Any, s: Any, x_t: Any, x_0: Any) -> Any:
    """log variance."""
    mean, variance = _right(t, s, x_t, x_0)
    return mean, np.log(np.maximum(variance, F(1e-20)))
