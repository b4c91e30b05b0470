"""Faults of the cosine schedule (chapter 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refdiff.conformance.interface import Cosine

from .clean.target import Clean
from .fault import COSINE, Chapter

FAULTS = Chapter("cosine", "schedule", "perturb", on=COSINE)


def offset(self: Clean) -> float:
    """Return s."""
    assert isinstance(self.process, Cosine)
    return self.process.s


def cosine(angle: Any, start: float = 0.0) -> tuple[Any, Any]:
    """Return alpha = cos(angle)/cos(start), from 0 to 1, and 1 - alpha^2."""
    alpha = np.clip(np.cos(angle) / np.cos(start), 0.0, 1.0)
    return alpha, 1.0 - alpha**2


def of_offset(s: float, t: Any) -> tuple[Any, Any]:
    """Return alpha and sigma^2 of another offset."""
    return cosine(0.5 * np.pi * (t + s) / (1.0 + s), 0.5 * np.pi * s / (1.0 + s))


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def offset_doubled(self: Clean, t: Any) -> Any:
    """alpha_bar with the offset 2 s.

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible.
    """
    return of_offset(2.0 * offset(self), t)


@FAULTS.plant("halves", breaks="SCH-4 MAR-1 MAR-2")
def offset_forgotten(self: Clean, t: Any) -> Any:
    """alpha_bar = cos^2(pi/2 t).

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible; survives diffusers' own tests.
    """
    return of_offset(0.0, t)


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def cosine_for_its_square(self: Clean, t: Any) -> Any:
    """alpha_bar = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible; survives diffusers' own tests.
    """
    alpha, _ = Clean.halves(self, t)
    return np.sqrt(alpha), 1.0 - alpha


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def square_twice(self: Clean, t: Any) -> Any:
    """alpha = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible.
    """
    alpha, _ = Clean.halves(self, t)
    return alpha**2, 1.0 - alpha**4


@FAULTS.plant("halves", breaks="SCH-1 SCH-4")
def not_divided_by_its_start(self: Clean, t: Any) -> Any:
    """alpha_bar = cos^2(pi/2 (t + s)/(1 + s)), which begins at 0.99984.

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible; a chain's betas, which are ratios, do not show it.
    """
    s = offset(self)
    return cosine(0.5 * np.pi * (t + s) / (1.0 + s))


@FAULTS.plant("halves", breaks="SCH-1 SCH-4")
def start_not_squared(self: Clean, t: Any) -> Any:
    """alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Meant: alpha_bar = cos^2(pi/2 (t + s)/(1 + s))/cos^2(pi/2 s/(1 + s)).

    Seen: plausible.
    """
    s = offset(self)
    start = np.cos(0.5 * np.pi * s / (1.0 + s))
    alpha = np.maximum(np.cos(0.5 * np.pi * (t + s) / (1.0 + s)), 0.0) / np.sqrt(start)
    return alpha, 1.0 - alpha**2


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def angle_not_halved(self: Clean, t: Any) -> Any:
    """alpha = cos(pi (t + s)/(1 + s)), and 0 from about t = 1/2 on.

    Meant: alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: plausible.
    """
    s = offset(self)
    return cosine(np.pi * (t + s) / (1.0 + s), np.pi * s / (1.0 + s))


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def angle_not_divided(self: Clean, t: Any) -> Any:
    """alpha = cos(pi/2 (t + s))/cos(pi/2 s).

    Meant: alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: plausible.
    """
    s = offset(self)
    return cosine(0.5 * np.pi * (t + s), 0.5 * np.pi * s)


@FAULTS.plant("halves", breaks="SCH-4 MAR-1")
def precedence(self: Clean, t: Any) -> Any:
    """alpha = cos(pi/2 (t + s/(1 + s)))/cos(pi/2 s/(1 + s)).

    Meant: alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: plausible; brackets forgotten.
    """
    part = offset(self) / (1.0 + offset(self))
    return cosine(0.5 * np.pi * (t + part), 0.5 * np.pi * part)


@FAULTS.plant("halves", breaks="SCH-1 SCH-4 SCH-6")
def sine_for_cosine(self: Clean, t: Any) -> Any:
    """alpha = sin(pi/2 (t + s)/(1 + s)), from noise to data.

    Meant: alpha = cos(pi/2 (t + s)/(1 + s))/cos(pi/2 s/(1 + s)).

    Seen: plausible; the direction of time of flow matching.
    """
    s = offset(self)
    angle = 0.5 * np.pi * (t + s) / (1.0 + s)
    return np.sin(angle), np.cos(angle) ** 2


@FAULTS.plant("halves", breaks="MAR-1")
def end_clipped(self: Clean, t: Any) -> Any:
    """alpha and sigma at min(t, 0.9999), undeclared.

    Meant: alpha and sigma at t, with alpha(1) = 0.

    Seen: plausible; `t_max` of samplers that divide by alpha, hidden in the schedule.
    """
    return Clean.halves(self, np.minimum(t, 0.9999))


@FAULTS.plant("halves", breaks="MAR-1")
def signal_with_a_floor(self: Clean, t: Any) -> Any:
    """alpha = max(alpha, 10^-2), undeclared.

    Meant: alpha(1) = 0.

    Seen: plausible; a clamp of alpha_bar to [10^-4, 1], which keeps divisors from 0.
    """
    alpha = np.maximum(Clean.halves(self, t)[0], 1e-2)
    return alpha, 1.0 - alpha**2


@FAULTS.plant("rate", breaks="SCH-5 SCH-3")
def factor_two_lost(self: Clean, t: Any) -> Any:
    """beta is half of the rate of the cosine schedule.

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Seen: https://github.com/deepinv/deepinv/pull/1343, a factor of 2 lost in the derivative of sigma.
    """
    return 0.5 * Clean.rate(self, t)


@FAULTS.plant("rate", breaks="SCH-5")
def rate_capped(self: Clean, t: Any) -> Any:
    """beta = min(beta, 20).

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)), which has no bound.

    Seen: plausible; the cap 0.999 of a chain's betas, https://github.com/openai/guided-diffusion/issues/42.
    """
    return np.minimum(Clean.rate(self, t), 20.0)


@FAULTS.plant("rate", breaks="SCH-5")
def rate_not_divided(self: Clean, t: Any) -> Any:
    """beta = pi tan(pi/2 (t + s)/(1 + s)).

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Seen: plausible; the inner derivative forgotten.
    """
    return (1.0 + offset(self)) * Clean.rate(self, t)


@FAULTS.plant("rate", breaks="SCH-5 SCH-3")
def rate_below_zero(self: Clean, t: Any) -> Any:
    """beta = -pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Seen: plausible; the derivative of log alpha_bar itself.
    """
    return -Clean.rate(self, t)


@FAULTS.plant("rate", breaks="SCH-5 SCH-3")
def cotangent(self: Clean, t: Any) -> Any:
    """beta = pi/(1 + s)/tan(pi/2 (t + s)/(1 + s)).

    Meant: beta = pi/(1 + s) tan(pi/2 (t + s)/(1 + s)).

    Seen: plausible.
    """
    s = offset(self)
    return np.pi / (1.0 + s) / np.tan(0.5 * np.pi * (np.asarray(t) + s) / (1.0 + s))
