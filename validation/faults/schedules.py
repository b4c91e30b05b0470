"""Faults of noise schedules (chapters 1 and 7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Linear, Times

from .clean.target import Clean
from .fault import COSINE, DDPM, Chapter

FAULTS = Chapter("schedule", "schedule", "perturb")


@FAULTS.plant("sigma", breaks="MAR-2 MAR-3")
def variance_for_deviation(self: Clean, t: Times) -> Any:
    """sigma = 1 - alpha_bar.

    Meant: sigma = sqrt(1 - alpha_bar).

    Seen: plausible; survives azula's own tests.
    """
    return Clean.sigma(self, t) ** 2


@FAULTS.plant("alpha", breaks="MAR-1 MAR-3")
def alpha_bar_for_alpha(self: Clean, t: Times) -> Any:
    """alpha = alpha_bar.

    Meant: alpha = sqrt(alpha_bar).

    Seen: plausible.
    """
    return self.alpha_bar(t)


@FAULTS.plant("integral", breaks="SCH-3 MAR-1 MAR-2")
def slope_not_halved(self: Clean, t: Any) -> Any:
    """B(t) = beta_min t + (beta_max - beta_min) t^2.

    Meant: B(t) = beta_min t + (beta_max - beta_min) t^2/2.

    Seen: plausible.
    """
    assert isinstance(self.process, Linear)
    return t * (self.process.beta_min + (self.process.beta_max - self.process.beta_min) * t)


@FAULTS.plant("row", breaks="DIS-1", on=DDPM)
def index_off_by_one(self: Clean, k: Any) -> Any:
    """alpha_bar of step k - 1 at step k.

    Meant: alpha_bar_k is the product of 1 - beta_j for j = 1, ..., k.

    Seen: tables indexed from 0 with times counted from 1, https://github.com/yang-song/score_sde_pytorch.
    """
    return np.maximum(np.asarray(k) - 1, 0)


@FAULTS.plant("rate", breaks="SCH-5", on=COSINE)
def factor_two_lost(self: Clean, t: Any) -> Any:
    """beta is half of the rate of the cosine schedule.

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Seen: https://github.com/deepinv/deepinv/pull/1343, a factor of 2 lost in the derivative of sigma.
    """
    return 0.5 * Clean.rate(self, t)
