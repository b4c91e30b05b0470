"""Scales of a library's own process: those that the target tells, in place of formulas that nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import Array, Chain, Claim, Own, Process

from ..clean.target import Clean
from .outputs import Floats, Inapplicable

Ask: TypeAlias = Callable[[Process, Any], Mapping[str, Array]]
"""Returns the coefficients that the target has for a process at some times."""
STRIDE = 2.0**-8
"""Distance of the times between which log alpha_bar is differentiated."""
_LOGS: Mapping[str, Callable[[Any], Any]] = {
    "log_alpha_bar": lambda x: x,
    "alpha_bar": np.log,
    "alpha": lambda x: 2.0 * np.log(x),
    "log_snr": lambda x: -np.logaddexp(0.0, -x),
    "sigma": lambda x: np.log1p(-(x**2)),
}
"""By quantity: log alpha_bar from it; the first that a target has is asked for."""


@final
@dataclass(slots=True)
class Teller:
    """log alpha_bar of one process, as the target has it."""

    claim: Claim
    process: Process
    ask: Ask
    _known: dict[bytes, Floats] = field(default_factory=dict)

    def log_alpha_bar(self, t: Any) -> Floats:
        """Return log alpha_bar at times, rounded to what the target can be asked. Raises Inapplicable."""
        at = np.asarray(t, dtype=np.float64)
        asked = FORMATS[self.claim.dtype].rounded(np.clip(at, self.claim.t_min, self.claim.t_max)).ravel()
        key = asked.tobytes()
        if key not in self._known:
            self._known[key] = told_log(self.ask, self.process, asked)
        return self._known[key].reshape(at.shape)

    def rate(self, t: Any) -> Floats:
        """Return -d log alpha_bar/dt, from a parabola through three times around each."""
        at = np.asarray(t, dtype=np.float64)
        low, high = self.claim.t_min, self.claim.t_max - 2.0 * STRIDE
        first = np.clip(np.round((at - STRIDE) / STRIDE) * STRIDE, low, max(low, high))
        a, b, c = (self.log_alpha_bar(first + i * STRIDE) for i in range(3))
        share = (at - first) / STRIDE - 1.0
        return np.asarray(-(0.5 * (c - a) + share * (a - 2.0 * b + c)) / STRIDE)


def told_log(ask: Ask, process: Process, t: Any) -> Floats:
    """Return log alpha_bar from the first quantity that the target has. Raises Inapplicable."""
    try:
        found = ask(process, t)
    except Exception:  # noqa: BLE001  # a target may refuse, or fail
        raise Inapplicable from None
    for name, log in _LOGS.items():
        if name in found:
            with np.errstate(all="ignore"):
                return np.asarray(log(np.asarray(found[name], dtype=np.float64)))
    raise Inapplicable


def known(claim: Claim, process: Process, ask: Ask | None) -> tuple[Process, type[Clean]]:
    """Return a process with known formulas, or the library's own, and the right target for it. Raises Inapplicable."""
    if not isinstance(process, Own):
        return process, Clean
    if ask is None or process.sigma_min > 0.0 or not {"schedule", "perturb"} & claim.capabilities:
        raise Inapplicable
    if process.steps:
        logs = told_log(ask, process, np.arange(1, process.steps + 1))
        betas = -np.expm1(np.diff(np.concatenate([[0.0], logs])))
        if not ((betas > 0.0) & (betas < 1.0)).all():
            raise Inapplicable
        return Chain(betas=tuple(betas.tolist())), Clean
    teller = Teller(claim, process, ask)
    formulas = {"own_integral": lambda _, t: -teller.log_alpha_bar(t), "own_rate": lambda _, t: teller.rate(t)}
    return process, type("Told", (Clean,), formulas)
