"""Targets that break the rules of the contract, one rule each. The plugin loads them by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from refdiff.conformance.interface import Array, Claim, Process, Times
from tests.meta.targets.plain import Plain, PlainBuilt

RIGHT = Plain(capabilities=frozenset({"schedule", "perturb"}))


@dataclass(frozen=True)
class Bad:
    """The right target with another `perturb`."""

    name: str
    perturb: Callable[[PlainBuilt, Array, Array, Times], Any] | None

    @property
    def claim(self) -> Claim:
        """Claim what the right target claims."""
        return Plain(capabilities=RIGHT.capabilities, name=self.name).claim

    def build(self, process: Process) -> object:
        """Return an object whose `perturb` breaks a rule of the contract."""
        right = RIGHT.build(process)
        return _Built(right, self.perturb) if self.perturb else _WithoutPerturb(right)


@dataclass(frozen=True)
class _WithoutPerturb:
    right: PlainBuilt

    def coefficients(self, t: Times) -> object:
        return self.right.coefficients(t)


@dataclass(frozen=True)
class _Built:
    right: PlainBuilt
    by: Callable[[PlainBuilt, Array, Array, Times], Any]

    def coefficients(self, t: Times) -> object:
        return self.right.coefficients(t)

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Any:
        return self.by(self.right, x_0, eps, t)


def missing_method() -> Bad:
    """Claim `perturb` without having it."""
    return Bad("missing_method", None)


def wrong_shape() -> Bad:
    """Return one number too few."""
    return Bad("wrong_shape", lambda right, x_0, eps, t: right.perturb(x_0, eps, t)[:-1])


def wrong_dtype() -> Bad:
    """Return float64 under a claim of float32."""
    return Bad("wrong_dtype", lambda right, x_0, eps, t: right.perturb(x_0, eps, t).astype(np.float64))


def not_an_array() -> Bad:
    """Return a list."""
    return Bad("not_an_array", lambda right, x_0, eps, t: right.perturb(x_0, eps, t).tolist())


def gives_nan() -> Bad:
    """Return NaN."""
    return Bad("gives_nan", lambda right, x_0, eps, t: right.perturb(x_0, eps, t) * np.float32(np.nan))


def raises() -> Bad:
    """Raise."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        raise KeyError("no such step\nand a second line")

    return Bad("raises", perturb)


def exits() -> Bad:
    """Try to end the Python process."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        raise SystemExit(0)

    return Bad("exits", perturb)


def writes() -> Bad:
    """Write to a read-only input."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        x_0 *= 2
        return x_0

    return Bad("writes", perturb)


def mutates() -> Bad:
    """Write to a read-only input through its memory, as a framework that shares the memory can."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        result = right.perturb(x_0, eps, t)
        eps.flags.writeable = True
        eps += 1
        return result

    return Bad("mutates", perturb)


def hangs() -> Bad:
    """Loop for ever, and catch every exception."""

    def perturb(right: PlainBuilt, x_0: Array, eps: Array, t: Times) -> Array:
        while True:
            with suppress(Exception):  # as careless code does
                time.sleep(0.01)

    return Bad("hangs", perturb)


def random_results() -> Bad:
    """Draw its own noise in place of eps."""
    rng = np.random.default_rng()
    return Bad(
        "random_results",
        lambda right, x_0, eps, t: right.perturb(x_0, rng.standard_normal(eps.shape).astype(np.float32), t),
    )


def right() -> Plain:
    """Break no rule."""
    return RIGHT


def no_claim() -> object:
    """Return an object that is no target."""
    return object()


def fails_to_start() -> Plain:
    """Raise in the factory."""
    raise RuntimeError("weights not found")
