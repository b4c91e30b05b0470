"""Wrong marginals, conversions, SDEs and posteriors: each with the clauses that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.interface import Cosine, Linear, Process, Unsupported
from tests.meta.variants.base import column, over, rate
from tests.meta.variants.conversions import by_both_parts
from tests.meta.variants.libraries import NUMPY
from tests.meta.variants.posteriors import made
from tests.meta.variants.variant import COSINE, DDPM, LINEAR, OWN, SHORT, Claimed, Family, Methods
from tests.meta.variants.wrong_schedules import exponential

FAMILY = Family("wrong")
F = np.float32


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
    return F(-0.5) * b * x, np.sqrt(b * (1 - exponential(p, t) ** 2))


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


@sde("NOT-2")
def drift_along_the_event(p: Linear, x: Any, t: Any, b: Any) -> Any:
    """Rates of shape (n,) beside data (n, n): along the event, where a batch has its size."""
    along = b.reshape(-1) if x.ndim == 2 and x.shape[0] == x.shape[1] else b
    return F(-0.5) * along * x, np.sqrt(b)


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
    mean, _ = _right(t, s, x_t, x_0)
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
