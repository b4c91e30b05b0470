"""Formulas that are right over the reals, evaluated in one dtype throughout, as libraries write them.

Most of them cancel; the MUST tolerance must accept them all. `careful_linear` and `careful_cosine` do not cancel; the
SHOULD tolerance must accept them too. Parameters are rounded once, to the dtype of t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Named: TypeAlias = Mapping[str, Array]
Formula: TypeAlias = Callable[[Array, tuple[float, ...]], Named]
"""Maps times and parameters to coefficients, by their names in the specification."""


def quiet(formula: Formula) -> Formula:
    """Make a formula return the infinities of log(0) and 1/0 without a warning."""

    def evaluate(t: Array, parameters: tuple[float, ...]) -> Named:
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            return formula(t, parameters)

    return evaluate


@quiet
def textbook(t: Array, parameters: tuple[float, ...]) -> Named:
    """Linear: alpha_bar = exp(-(beta_min t + (beta_max - beta_min) t^2/2)), sigma^2 = 1 - alpha_bar."""
    beta_min, beta_max = map(t.dtype.type, parameters)
    slope = beta_max - beta_min
    log_alpha_bar = -(beta_min * t + slope * t * t / 2)
    alpha_bar = np.exp(log_alpha_bar)
    return {
        "beta": beta_min + t * slope,
        "log_alpha_bar": log_alpha_bar,
        "alpha_bar": alpha_bar,
        "alpha": np.sqrt(alpha_bar),
        "sigma": np.sqrt(1 - alpha_bar),
        "log_snr": np.log(alpha_bar / (1 - alpha_bar)),
    }


@quiet
def score_sde(t: Array, parameters: tuple[float, ...]) -> Named:
    """Linear: log alpha first, as in Song's score_sde; beta = (1 - t) beta_min + t beta_max."""
    beta_min, beta_max = map(t.dtype.type, parameters)
    log_mean = -(t**2) * (beta_max - beta_min) / 4 - t * beta_min / 2
    alpha = np.exp(log_mean)
    sigma = np.sqrt(1 - np.exp(2 * log_mean))
    return {
        "beta": (1 - t) * beta_min + t * beta_max,
        "log_alpha_bar": 2 * log_mean,
        "alpha_bar": alpha**2,
        "alpha": alpha,
        "sigma": sigma,
        "log_snr": 2 * log_mean - np.log(1 - np.exp(2 * log_mean)),
    }


@quiet
def trapezium(t: Array, parameters: tuple[float, ...]) -> Named:
    """Linear: the integral of beta as t (beta(0) + beta(t))/2; sigma and the log-SNR from alpha."""
    beta_min, beta_max = map(t.dtype.type, parameters)
    rate = beta_min + t * (beta_max - beta_min)
    log_alpha_bar = -t * (beta_min + rate) / 2
    alpha = np.exp(log_alpha_bar / 2)
    sigma = np.sqrt(1 - alpha * alpha)
    return {
        "beta": rate,
        "log_alpha_bar": 2 * np.log(alpha),
        "alpha_bar": np.square(alpha),
        "alpha": alpha,
        "sigma": sigma,
        "log_snr": 2 * np.log(alpha / sigma),
    }


@quiet
def through_log_snr(t: Array, parameters: tuple[float, ...]) -> Named:
    """Linear: all quantities from the log-SNR, by the logistic function."""
    lam = textbook(t, parameters)["log_snr"]
    alpha_bar = 1 / (1 + np.exp(-lam))
    return {
        "log_alpha_bar": np.log(alpha_bar),
        "alpha_bar": alpha_bar,
        "alpha": np.sqrt(alpha_bar),
        "sigma": np.sqrt(1 / (1 + np.exp(lam))),
        "log_snr": lam,
    }


@quiet
def careful_linear(t: Array, parameters: tuple[float, ...]) -> Named:
    """Linear: without cancellation, by expm1 and log1p."""
    beta_min, beta_max = map(t.dtype.type, parameters)
    rate = beta_min + t * (beta_max - beta_min)
    b = t * (beta_min + t * (beta_max - beta_min) / 2)
    return {
        "beta": rate,
        "log_alpha_bar": -b,
        "alpha_bar": np.exp(-b),
        "alpha": np.exp(-b / 2),
        "sigma": np.sqrt(-np.expm1(-b)),
        "log_snr": np.where(b < 1, -np.log(np.expm1(b)), -b - np.log1p(-np.exp(-b))),
    }


@quiet
def improved_ddpm(t: Array, parameters: tuple[float, ...]) -> Named:
    """Cosine: alpha_bar as a ratio of squared cosines, as Nichol and Dhariwal write it; beta by the tangent."""
    (s,) = map(t.dtype.type, parameters)
    half_pi = t.dtype.type(pi / 2)
    angle, start = (t + s) / (1 + s) * half_pi, s / (1 + s) * half_pi
    alpha_bar = np.cos(angle) ** 2 / np.cos(start) ** 2
    return {
        "beta": 2 * half_pi / (1 + s) * np.tan(angle),
        "log_alpha_bar": np.log(alpha_bar),
        "alpha_bar": alpha_bar,
        "alpha": np.sqrt(alpha_bar),
        "sigma": np.sqrt(1 - alpha_bar),
        "log_snr": np.log(alpha_bar / (1 - alpha_bar)),
    }


@quiet
def amplitudes(t: Array, parameters: tuple[float, ...]) -> Named:
    """Cosine: alpha as a ratio of cosines, and all other quantities from alpha."""
    (s,) = map(t.dtype.type, parameters)
    start = t.dtype.type(pi) * s / (2 * (1 + s))
    angle = t.dtype.type(pi) * (t + s) / (2 * (1 + s))
    # cos(pi/2) is negative in float32; a right formula keeps alpha at 0 or above.
    alpha = np.maximum(np.cos(angle), 0) / np.cos(start)
    sigma = np.sqrt(1 - alpha * alpha)
    return {
        "beta": t.dtype.type(pi) / (1 + s) * np.sin(angle) / np.cos(angle),
        "log_alpha_bar": 2 * np.log(alpha),
        "alpha_bar": alpha * alpha,
        "alpha": alpha,
        "sigma": sigma,
        "log_snr": 2 * (np.log(alpha) - np.log(sigma)),
    }


@quiet
def vdm_logs(t: Array, parameters: tuple[float, ...]) -> Named:
    """Cosine: log alpha as a difference of log-cosines, as in VDM."""
    (s,) = map(t.dtype.type, parameters)
    half_pi = t.dtype.type(pi / 2)

    def log_cos(time: Array) -> Array:
        cosine: Array = np.log(np.maximum(np.cos(half_pi * (time + s) / (1 + s)), 0))
        return cosine

    log_alpha = log_cos(t) - log_cos(t * 0)
    alpha_bar = np.exp(2 * log_alpha)
    return {
        "log_alpha_bar": 2 * log_alpha,
        "alpha_bar": alpha_bar,
        "alpha": np.exp(log_alpha),
        "sigma": np.sqrt(1 - np.minimum(alpha_bar, 1)),
        "log_snr": 2 * log_alpha - np.log(1 - np.minimum(alpha_bar, 1)),
    }


@quiet
def careful_cosine(t: Array, parameters: tuple[float, ...]) -> Named:
    """Cosine: without cancellation, by 1 - t near t = 1 (exact) and by 1 - alpha as a product of sines near t = 0."""
    (s,) = map(t.dtype.type, parameters)
    unit = t.dtype.type(pi / 2) / (1 + s)
    angle, start = unit * (t + s), unit * s
    floor = np.cos(start)
    alpha = np.where(t < 0.5, np.cos(angle), np.sin(unit * (1 - t))) / floor
    gap = 2 * np.sin((angle + start) / 2) * np.sin(unit * t / 2) / floor
    log_alpha = np.where(alpha < 0.5, np.log(alpha), np.log1p(-np.minimum(gap, 0.5)))
    variance = np.where(alpha < 0.5, 1 - alpha * alpha, gap * (1 + alpha))
    return {
        "beta": 2 * unit * np.where(t < 0.5, np.tan(angle), 1 / np.tan(unit * (1 - t))),
        "log_alpha_bar": 2 * log_alpha,
        "alpha_bar": alpha * alpha,
        "alpha": alpha,
        "sigma": np.sqrt(variance),
        "log_snr": 2 * log_alpha - np.log(variance),
    }


@quiet
def cotangent(t: Array, parameters: tuple[float, ...]) -> Named:
    """Cosine: beta as pi/(1 + s) times the cotangent of pi/2 (1 - t)/(1 + s), at every t."""
    (s,) = map(t.dtype.type, parameters)
    pi_ = t.dtype.type(pi)
    return {"beta": pi_ / (1 + s) / np.tan(pi_ / 2 * (1 - t) / (1 + s))}


LINEAR: Mapping[str, Formula] = {
    "textbook": textbook,
    "score_sde": score_sde,
    "trapezium": trapezium,
    "through_log_snr": through_log_snr,
    "careful": careful_linear,
}
COSINE: Mapping[str, Formula] = {
    "improved_ddpm": improved_ddpm,
    "amplitudes": amplitudes,
    "vdm_logs": vdm_logs,
    "careful": careful_cosine,
}
