"""Ten classic bugs: the planted fault of each, the code as people write it, and the error that is plotted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from . import curves
from .curves import Measure


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One bug."""

    fault: str
    """Name in the catalogue."""
    title: str
    wrong: str
    """The line with the bug."""
    right: str
    measure: Measure
    looks: str
    """How the report shows it, in a sentence."""


EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit(
        fault="schedule-variance-for-deviation",
        title="A variance for a standard deviation",
        wrong="x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar) * eps",
        right="x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps",
        measure=curves.quantity("sigma"),
        looks="MAR-2 fails at every time, least near t = 1, and MAR-3 says that the variance is not preserved.",
    ),
    Exhibit(
        fault="schedule-alpha-bar-for-alpha",
        title="A square root dropped from the signal",
        wrong="x_t = alpha_bar * x_0 + (1 - alpha_bar).sqrt() * eps",
        right="x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps",
        measure=curves.quantity("alpha"),
        looks="MAR-1 fails, and sigma passes: the noise is right, and the signal fades too early.",
    ),
    Exhibit(
        fault="schedule-slope-not-halved",
        title="An integral without its half",
        wrong="log_alpha_bar = -(beta_min * t + (beta_max - beta_min) * t**2)",
        right="log_alpha_bar = -(beta_min * t + 0.5 * (beta_max - beta_min) * t**2)",
        measure=curves.quantity("alpha_bar"),
        looks="SCH-3 fails, and alpha and sigma with it: their squares still add up to 1, so MAR-3 passes.",
    ),
    Exhibit(
        fault="chain-index-off-by-one",
        title="An index off by one",
        wrong="sigma = table[k - 1]  # of a table that begins with the data, k = 0",
        right="sigma = table[k]",
        measure=curves.quantity("sigma"),
        looks="DIS-1 fails at every index, most at the first: the relative error falls as 1/k.",
    ),
    Exhibit(
        fault="number-sigma-by-subtraction",
        title="Digits lost by subtraction",
        wrong="sigma = (1 - alpha_bar).sqrt()",
        right="sigma = (-torch.expm1(log_alpha_bar)).sqrt()",
        measure=curves.quantity("sigma"),
        looks="Only SHOULD clauses fail, at small times: the formula is right, and two digits are left at t = 1e-5.",
    ),
    Exhibit(
        fault="convert-score-sign",
        title="The sign of the score",
        wrong="score = eps / sigma",
        right="score = -eps / sigma",
        measure=curves.conversion("eps", "score"),
        looks="PAR-4 fails everywhere by a factor of -1: an error of 2 relative to the value.",
    ),
    Exhibit(
        fault="weight-max-for-min",
        title="A maximum for the minimum of min-SNR",
        wrong="weight = torch.maximum(snr, gamma) / snr",
        right="weight = torch.minimum(snr, gamma) / snr",
        measure=curves.loss("eps", "min_snr"),
        looks="LOS-8 fails at every time but the one where SNR is gamma, and the uniform loss passes.",
    ),
    Exhibit(
        fault="posterior-beta-in-a-stride",
        title="The variance of one step in a step of many",
        wrong="variance = betas[k] * (1 - alpha_bar[s]) / (1 - alpha_bar[k])",
        right="variance = (1 - alpha_bar[k] / alpha_bar[s]) * (1 - alpha_bar[s]) / (1 - alpha_bar[k])",
        measure=curves.posterior_variance(3),
        looks="MAR-7 fails for strides only: every adjacent step is right, and a run in strides has too little noise.",
    ),
    Exhibit(
        fault="times-importance-without-weights",
        title="Importance sampling without its weights",
        wrong="loss = per_example.mean()",
        right="loss = (per_example / density(t)).mean()",
        measure=curves.law_of_times(),
        looks="TIM-2 fails: the weighted distribution of t is not that of the objective.",
    ),
    Exhibit(
        fault="ema-decay-swapped",
        title="An average with its factors swapped",
        wrong="average = (1 - decay) * average + decay * weights",
        right="average = decay * average + (1 - decay) * weights",
        measure=curves.average(0.99),
        looks="TRN-1 fails from the first update: the average is nearly the last weights.",
    ),
)
