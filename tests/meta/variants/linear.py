"""The linear schedule as code has it: alpha_bar = exp(-B), B = beta_min t + (beta_max - beta_min) t^2/2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from refdiff.conformance.interface import Linear, Process
from tests.meta.variants.libraries import JAX, JAX64, NUMPY, NUMPY64, TORCH, TORCH64, Library, pytorch
from tests.meta.variants.variant import FLAT, LINEAR, STEADY, Claimed, Family, Methods

FAMILY = Family("linear")
TRACED = pytorch(backend="aot_eager")
Form = Callable[..., Mapping[str, Any]]


def served(library: Library, form: Form) -> Callable[[Process], Methods]:
    """Return what makes `coefficients` by a form (xp, process, t) in a library."""
    return lambda process: {"coefficients": library.bound(form, process)}


def schedule(
    *libraries: Library, on: Claimed | tuple[Claimed, ...] = (LINEAR, FLAT), family: Family = FAMILY, **options: Any
) -> Callable[[Form], Form]:
    """Add a form as a variant of each of the libraries."""

    def add(form: Form) -> Form:
        for library in libraries:
            name = f"{form.__name__.replace('_', ' ')}, {library.name} {library.dtype}"
            family.add(
                served(library, form),
                "schedule",
                on=on,
                name=name,
                form=(form.__doc__ or "").strip(),
                dtype=library.dtype,
                **options,
            )
        return form

    return add


def integral(p: Linear, t: Any) -> Any:
    """Return B."""
    return t * (p.beta_min + 0.5 * (p.beta_max - p.beta_min) * t)


@schedule(NUMPY, NUMPY64, TORCH, JAX, TRACED)
def as_written(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """exp(-(beta_min t + (beta_max - beta_min) t^2/2)), its roots, and log(alpha_bar/(1 - alpha_bar))."""
    log_alpha_bar = -(p.beta_min * t + 0.5 * (p.beta_max - p.beta_min) * t**2)
    alpha_bar = xp.exp(log_alpha_bar)
    return {
        "beta": p.beta_min + t * (p.beta_max - p.beta_min),
        "log_alpha_bar": log_alpha_bar,
        "alpha_bar": alpha_bar,
        "alpha": xp.sqrt(alpha_bar),
        "sigma": xp.sqrt(1.0 - alpha_bar),
        "log_snr": xp.log(alpha_bar / (1.0 - alpha_bar)),
    }


@schedule(NUMPY, TORCH64, JAX)
def half_of_the_logarithm(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """score-SDE's: log alpha = -t^2/4 (beta_max - beta_min) - t/2 beta_min, sigma = sqrt(1 - exp(2 log alpha))."""
    log_alpha = -0.25 * t**2 * (p.beta_max - p.beta_min) - 0.5 * t * p.beta_min
    return {
        "beta": (1.0 - t) * p.beta_min + t * p.beta_max,
        "log_alpha_bar": 2.0 * log_alpha,
        "alpha": xp.exp(log_alpha),
        "sigma": xp.sqrt(1.0 - xp.exp(2.0 * log_alpha)),
    }


@schedule(NUMPY, NUMPY64, TORCH, JAX64)
def expm1_throughout(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """sigma = sqrt(-expm1(-B)) and log-SNR = -log(expm1(B)): nothing cancels."""
    b = integral(p, t)
    return {
        "log_alpha_bar": -b,
        "alpha_bar": xp.exp(-b),
        "alpha": xp.exp(-0.5 * b),
        "sigma": xp.sqrt(-xp.expm1(-b)),
        "log_snr": -xp.log(xp.expm1(b)),
    }


@schedule(NUMPY, TORCH, JAX)
def product_of_exponentials(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha_bar = exp(-beta_min t) exp(-(beta_max - beta_min) t^2/2)."""
    alpha_bar = xp.exp(-p.beta_min * t) * xp.exp(-0.5 * (p.beta_max - p.beta_min) * t * t)
    return {"alpha_bar": alpha_bar, "alpha": xp.sqrt(alpha_bar), "sigma": xp.sqrt(1.0 - alpha_bar)}


@schedule(NUMPY, TORCH, JAX)
def square_of_a_product(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha = exp(-beta_min t/2) exp(-(beta_max - beta_min) t^2/4), alpha_bar = alpha^2, sigma = sqrt(1 - alpha^2)."""
    alpha = xp.exp(-0.5 * p.beta_min * t) * xp.exp(-0.25 * (p.beta_max - p.beta_min) * t * t)
    return {"alpha_bar": alpha**2, "alpha": alpha, "sigma": xp.sqrt(1.0 - alpha**2)}


@schedule(NUMPY, TORCH, JAX)
def square_of_a_square(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha = exp(-B/4)^2, alpha_bar = alpha^2, sigma = sqrt(1 - alpha_bar)."""
    alpha = xp.exp(-0.25 * integral(p, t)) ** 2
    return {"alpha_bar": alpha * alpha, "alpha": alpha, "sigma": xp.sqrt(1.0 - alpha * alpha)}


@schedule(NUMPY)
def fourth_power(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha_bar = exp(-B/4)^4 by the power function."""
    root = xp.exp(-0.25 * integral(p, t))
    return {"alpha_bar": root**4, "alpha": root**2, "sigma": xp.sqrt(1.0 - root**4)}


@schedule(NUMPY, TORCH64)
def trapezium(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """B = t (beta(0) + beta(t))/2, the area under the rate."""
    beta = p.beta_min + t * (p.beta_max - p.beta_min)
    log_alpha_bar = -t * (p.beta_min + beta) / 2.0
    return {"beta": beta, "log_alpha_bar": log_alpha_bar, "alpha_bar": xp.exp(log_alpha_bar)}


@schedule(NUMPY, JAX)
def power_of_two(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha_bar = 2^(-B/log 2)."""
    alpha_bar = xp.exp2(-integral(p, t) * 1.4426950408889634)
    return {"alpha_bar": alpha_bar, "alpha": xp.sqrt(alpha_bar), "sigma": xp.sqrt(1.0 - alpha_bar)}


@schedule(NUMPY, TORCH, JAX)
def by_log_snr(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """VDM's way: gamma = log(expm1(B)), alpha^2 = sigmoid(-gamma), sigma^2 = sigmoid(gamma)."""
    gamma = xp.log(xp.expm1(integral(p, t)))
    return {
        "log_snr": -gamma,
        "alpha_bar": 1.0 / (1.0 + xp.exp(gamma)),
        "alpha": xp.sqrt(1.0 / (1.0 + xp.exp(gamma))),
        "sigma": xp.sqrt(1.0 / (1.0 + xp.exp(-gamma))),
    }


@schedule(NUMPY, NUMPY64)
def by_softplus(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """log alpha_bar = -softplus(-log-SNR), log sigma^2 = -softplus(log-SNR), by logaddexp."""
    log_snr = -xp.log(xp.expm1(integral(p, t)))
    log_alpha_bar, log_variance = -xp.logaddexp(0.0 * t, -log_snr), -xp.logaddexp(0.0 * t, log_snr)
    return {
        "log_snr": log_snr,
        "log_alpha_bar": log_alpha_bar,
        "alpha": xp.exp(0.5 * log_alpha_bar),
        "sigma": xp.exp(0.5 * log_variance),
    }


@schedule(NUMPY, TORCH)
def by_edm_sigma(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """EDM's noise level q = sqrt(exp(B) - 1), alpha = 1/sqrt(1 + q^2), sigma = q alpha."""
    q = xp.sqrt(xp.expm1(integral(p, t)))
    alpha = 1.0 / xp.sqrt(1.0 + q * q)
    return {"alpha": alpha, "sigma": q * alpha, "log_snr": -2.0 * xp.log(q)}


@schedule(NUMPY, NUMPY64)
def by_edm_sigma_that_cancels(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """The same by exp(B) - 1, as EDM writes it."""
    q = xp.sqrt(xp.exp(integral(p, t)) - 1.0)
    alpha = 1.0 / xp.sqrt(1.0 + q**2)
    return {"alpha": alpha, "sigma": q * alpha}


@schedule(NUMPY, JAX64)
def by_hypot(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha and sigma as the sides of a right triangle: 1/hypot(1, q) and q/hypot(1, q)."""
    q = xp.sqrt(xp.expm1(integral(p, t)))
    side = xp.hypot(1.0 + 0.0 * q, q)
    return {"alpha": 1.0 / side, "sigma": q / side}


@schedule(NUMPY, TORCH64)
def by_angle(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """alpha = cos(phi), sigma = sin(phi), phi = arctan(sigma/alpha)."""
    phi = xp.arctan(xp.sqrt(xp.expm1(integral(p, t))))
    return {"alpha": xp.cos(phi), "sigma": xp.sin(phi)}


@schedule(NUMPY, TORCH)
def sigma_by_sinh(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """sigma^2 = 2 exp(-B/2) sinh(B/2)."""
    b = integral(p, t)
    alpha = xp.exp(-0.5 * b)
    return {"alpha_bar": alpha * alpha, "alpha": alpha, "sigma": xp.sqrt(2.0 * alpha * xp.sinh(0.5 * b))}


@schedule(NUMPY, JAX)
def sigma_by_tanh(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """sigma^2 = 2T/(1 + T), T = tanh(B/2)."""
    th = xp.tanh(0.5 * integral(p, t))
    return {"alpha": xp.exp(-0.5 * integral(p, t)), "sigma": xp.sqrt(2.0 * th / (1.0 + th))}


@schedule(NUMPY, TORCH, JAX)
def sigma_by_two_factors(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """sigma = sqrt((1 - alpha)(1 + alpha))."""
    alpha = xp.exp(-0.5 * integral(p, t))
    return {"alpha": alpha, "sigma": xp.sqrt((1.0 - alpha) * (1.0 + alpha)), "alpha_bar": alpha**2}


@schedule(NUMPY)
def sigma_by_arccos(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """sigma = sin(arccos(alpha))."""
    alpha = xp.exp(-0.5 * integral(p, t))
    return {"alpha": alpha, "sigma": xp.sin(xp.arccos(alpha))}


@schedule(NUMPY, TORCH)
def sigma_by_exp_of_half_a_log(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """DPM-Solver's: log sigma = 1/2 log(1 - exp(2 log alpha)), log-SNR = 2 (log alpha - log sigma)."""
    log_alpha = -0.5 * integral(p, t)
    log_sigma = 0.5 * xp.log(1.0 - xp.exp(2.0 * log_alpha))
    return {"alpha": xp.exp(log_alpha), "sigma": xp.exp(log_sigma), "log_snr": 2.0 * (log_alpha - log_sigma)}


@schedule(NUMPY, TORCH)
def in_a_thousand_steps(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """Time in thousandths: rates per step, beta/1000, at 1000 t."""
    steps, low, high = 1000.0 * t, p.beta_min / 1000.0, p.beta_max / 1000.0
    log_alpha_bar = -(low * steps + (high - low) * steps * steps / 2000.0)
    return {
        "beta": 1000.0 * (low + (high - low) * steps / 1000.0),
        "log_alpha_bar": log_alpha_bar,
        "alpha_bar": xp.exp(log_alpha_bar),
        "sigma": xp.sqrt(-xp.expm1(log_alpha_bar)),
    }


@schedule(NUMPY, on=LINEAR)
def from_noise_to_data(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """Time runs from noise, 0, to data, 1: the adapter gives 1 - t, and the library integrates from there to 1."""
    r = 1.0 - t
    log_alpha_bar = -(1.0 - r) * (p.beta_min + 0.5 * (p.beta_max - p.beta_min) * (1.0 - r))
    return {"log_alpha_bar": log_alpha_bar, "alpha": xp.exp(0.5 * log_alpha_bar)}


@schedule(NUMPY)
def difference_of_primitives(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """B by completing the square: (beta(t)^2 - beta_min^2)/(2 (beta_max - beta_min))."""
    beta = p.beta_min + t * (p.beta_max - p.beta_min)
    b = (beta - p.beta_min) * (beta + p.beta_min) / (2.0 * (p.beta_max - p.beta_min))
    return {"beta": beta, "log_alpha_bar": -b, "alpha_bar": xp.exp(-b)}


@schedule(NUMPY)
def float64_inside(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """Everything in float64, rounded once."""
    wide = as_written(xp, p, t.astype(xp.float64))
    return {name: wide[name] for name in ("alpha_bar", "alpha", "sigma", "beta")}


@schedule(NUMPY)
def float64_of_the_parameters(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """Parameters as float64 arrays, which make float64 of t; alpha_bar alone is rounded to float32 in between."""
    low, high = xp.float64(p.beta_min), xp.float64(p.beta_max)
    alpha_bar = xp.exp(-(low * t + 0.5 * (high - low) * t**2)).astype(xp.float32)
    return {"alpha_bar": alpha_bar, "alpha": alpha_bar**0.5, "sigma": (1 - alpha_bar) ** 0.5}


@schedule(NUMPY)
def integral_of_a_table(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """A float64 table of B at k/1000, and a trapezium from there to t."""
    nodes = xp.arange(1001) / 1000.0
    rates = p.beta_min + nodes * (p.beta_max - p.beta_min)
    table = xp.concatenate([[0.0], xp.cumsum(0.5 * (rates[1:] + rates[:-1]) / 1000.0)])
    wide = t.astype(xp.float64)
    i = xp.minimum((wide * 1000.0).astype(int), 999)
    beta = p.beta_min + wide * (p.beta_max - p.beta_min)
    b = table[i] + (wide - nodes[i]) * 0.5 * (rates[i] + beta)
    return {"beta": beta, "alpha_bar": xp.exp(-b), "sigma": xp.sqrt(1.0 - xp.exp(-b))}


@schedule(NUMPY, NUMPY64, on=STEADY)
def steady(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """A rate that does not change: alpha_bar = exp(-beta t), the Ornstein-Uhlenbeck process."""
    return {
        "beta": 0.0 * t + p.beta_min,
        "alpha_bar": xp.exp(-p.beta_min * t),
        "alpha": xp.exp(-p.beta_min * t / 2.0),
        "sigma": xp.sqrt(1.0 - xp.exp(-p.beta_min * t)),
        "log_snr": -xp.log(xp.expm1(p.beta_min * t)),
    }


@schedule(NUMPY, on=Linear)
def of_any_member(xp: Any, p: Linear, t: Any) -> Mapping[str, Any]:
    """Every linear schedule, by expm1."""
    return {**expm1_throughout(xp, p, t), "beta": p.beta_min + t * (p.beta_max - p.beta_min)}
