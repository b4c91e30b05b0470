"""Test vectors and their JSON form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite, isinf
from typing import Any, TypeAlias, final

import flint
import numpy as np

from refdiff.conformance.formats import FORMATS, Format
from refdiff.conformance.interface import Chain, Cosine, DType, Linear

from ..oracles import balls, certified

Bounds: TypeAlias = tuple[float, float | None]
"""MUST and SHOULD tolerance; inf and None mean that there is none."""
JUDGED: tuple[DType, ...] = ("float16", "bfloat16", "float32", "float64")


@final
@dataclass(frozen=True, slots=True)
class Named:
    """A process, its name in the ids of vectors, and its JSON form (`written`)."""

    name: str
    process: Linear | Cosine | Chain
    written: Mapping[str, Any]
    betas: tuple[Any, ...] = ()
    """The betas of a chain, as Arb balls."""

    def scales(self, t: float) -> balls.Scales:
        """Return alpha, sigma and beta at time t, or after t steps of a chain."""
        match self.process:
            case Linear():
                return balls.of_schedule(certified.linear(self.process.beta_min, self.process.beta_max), t)
            case Cosine():
                return balls.of_schedule(certified.cosine(self.process.s), t)
            case Chain():
                return balls.of_chain(self.betas, int(t))


@final
@dataclass(frozen=True, slots=True)
class NoProcess:
    """Invalid parameters, in the JSON form of a process."""

    name: str
    written: Mapping[str, Any]


def linear(low: float, high: float) -> Named:
    """Return a linear schedule."""
    written = {"linear": {"beta_min": low.hex(), "beta_max": high.hex()}}
    return Named(f"linear-{low:g}-{high:g}", Linear(beta_min=low, beta_max=high), written)


def cosine(s: float) -> Named:
    """Return a cosine schedule."""
    return Named(f"cosine-{s:g}", Cosine(s=s), {"cosine": {"s": s.hex()}})


def chain(name: str, betas: tuple[float, ...]) -> Named:
    """Return a chain with these betas."""
    written = {"chain": {"betas": [beta.hex() for beta in betas]}}
    return Named(name, Chain(betas=betas), written, tuple(map(flint.arb, betas)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One call of an implementation, with the proven result and its tolerances."""

    id: str
    call: str
    process: Named | NoProcess
    inputs: Mapping[str, Any]
    """Floats in hexadecimal; names and indices unchanged."""
    output: Mapping[str, str] | None = None
    tolerance: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    why: str = ""
    """For an invalid call: the reason."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form of the vector."""
        common: dict[str, Any] = {
            "id": self.id,
            "call": self.call,
            "process": self.process.name,
            "inputs": dict(self.inputs),
            "flags": list(self.flags),
        }
        if self.output is None:
            return common | {"result": "invalid", "why": self.why}
        return common | {"result": "valid", "output": dict(self.output), "tolerance": self.tolerance}

    @property
    def digest(self) -> str:
        """Return a hash of call, process and inputs, which never change for an id."""
        text = json.dumps([self.call, self.process.written, self.inputs], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]


def hexed(**numbers: float | str) -> dict[str, Any]:
    """Return inputs in their JSON form: floats in hexadecimal, indices and names unchanged."""
    return {name: x.hex() if isinstance(x, float) else x for name, x in numbers.items()}


def tolerances(inputs: Mapping[str, Any], bounds: Callable[[Format], Bounds]) -> dict[str, dict[str, str | None]]:
    """Return both tolerances, rounded up to three digits, for each format that represents the inputs exactly."""
    found: dict[str, dict[str, str | None]] = {}
    numbers = [float.fromhex(x) for x in inputs.values() if isinstance(x, str) and "0x" in x]
    for name in JUDGED:
        fmt = FORMATS[name]
        unrounded = np.array(numbers, dtype=np.float64)
        if not np.array_equal(fmt.rounded(unrounded).astype(np.float64), unrounded):
            continue
        must, should = bounds(fmt)
        if isfinite(must) or should is not None:
            found[name] = {"must": _up(must), "should": None if should is None else _up(should)}
    return found


def _up(bound: float) -> str | None:
    """Return a tolerance rounded up to three digits, or None if it is infinite or NaN."""
    if bound == 0.0:
        return "0"
    if isinf(bound) or np.isnan(bound):
        return None
    text = f"{bound:.2e}"
    # One unit of the last digit is added, so that differences of rounding between platforms do not matter.
    mantissa, exponent = text.split("e")
    return f"{float(mantissa) + 0.01:.2f}e{int(exponent)}"
