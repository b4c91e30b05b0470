"""refdiff's chain behind a process of the library's own: k in 1..N, and constants that the suite is not told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Chain, Claim, Own, Process, Times
from refdiff.conformance.reference import target
from refdiff.conformance.step import Step

BETAS = tuple(float(beta) for beta in np.linspace(0.002, 0.12, 60))
STEPS = (
    Step(kind="ddpm"),
    Step(kind="ddpm", prediction="v", variance="beta"),
    Step(kind="ddim", prediction="x_0"),
    Step(kind="ddim", prediction="v", eta=0.5),
)
OWN = Own(label="mine", steps=len(BETAS))


@dataclass(frozen=True)
class OwnChain:
    """A target with one chain of its own. fault: the name of its fault, if any."""

    fault: str = ""
    betas: tuple[float, ...] = BETAS

    @property
    def claim(self) -> Claim:
        """Claim the chain, and what the reference claims but a rate and training."""
        right = target().claim
        process = Own(label="mine", steps=len(self.betas))
        return replace(right, processes=(process,), capabilities=right.capabilities - {"sde", "fit"}, steps=STEPS)

    def build(self, process: Process) -> Any:
        """Return the reference's chain, with the fault."""
        made: Any = target().build(Chain(betas=self.betas))
        return _Shifted(made, self.fault, len(self.betas)) if self.fault else made


class _Shifted:
    """A chain one of whose methods reads its table one step late, or counts from 0."""

    def __init__(self, made: Any, fault: str, steps: int) -> None:
        self._made, self._fault, self._steps = made, fault, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)

    def _late(self, k: Times, method: str) -> Times:
        return np.minimum(k + 1, self._steps) if self._fault == method else k

    def perturb(self, x_0: Array, eps: Array, k: Times) -> Any:
        return self._made.perturb(x_0, eps, self._late(k, "perturb"))

    def posterior(self, x_t: Array, x_0: Array, k: Times, s: Times) -> Any:
        return self._made.posterior(x_t, x_0, k, np.maximum(s - 1, 0) if self._fault == "posterior" else s)

    def step(self, x_t: Array, value: Array, k: Times, s: Times, noise: Array, rule: Any) -> Any:
        return self._made.step(x_t, value, k, np.maximum(s - 1, 0) if self._fault == "step" else s, noise, rule)

    def times(self, n: int, seed: int) -> Any:
        k, weight = self._made.times(n, seed)
        return (k - 1 if self._fault == "times" else k), weight
