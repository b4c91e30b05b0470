"""Loading of a target from `package.module:factory`, with its claim checked (CON-1)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, final

import numpy as np

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.guard import Built, ContractViolation, guarded
from refdiff.conformance.interface import Chain, Claim, Cosine, Linear, Process, Target, Unsupported, steps_of
from refdiff.conformance.remote import IMPORT, Remote
from refdiff.errors import ConfigError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process to judge, and the Python expression that gives it."""

    process: Process
    expression: str


def load(spec: str, seconds: float | None, folder: Path | None = None) -> tuple[Target, Claim]:
    """Import the module, call the factory, and check the claim.

    folder: put on sys.path first, as `python -m pytest` would do. Raises ConfigError if `spec` is no
    `package.module:factory`, ContractViolation (CON-1, CON-5) if anything else goes wrong.
    """
    module_name, colon, attribute = spec.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(f"expected --refdiff-target as package.module:factory, got {spec!r}")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    seconds = None if seconds is None else max(seconds, IMPORT)
    module = guarded(f"importing {module_name}", seconds, lambda: import_module(module_name), "CON-1")
    factory = getattr(module, attribute, None)
    if factory is None:
        raise ContractViolation("CON-1", f"{module_name} has no attribute {attribute!r}")
    if not callable(factory):
        raise ContractViolation(
            "CON-1", f"expected {spec} to be a function that returns a target, got {type(factory).__name__}"
        )
    try:
        made = guarded(f"{spec}()", seconds, factory, "CON-1")
    except Unsupported as refusal:
        raise ContractViolation("CON-1", f"{spec}() raised Unsupported: {refusal}") from None
    return checked(made, seconds)


def checked(target: Any, seconds: float | None) -> tuple[Target, Claim]:
    """Return the object as a target with its claim, read once, or raise ContractViolation (CON-1)."""
    claim = guarded("reading the claim", seconds, lambda: getattr(target, "claim", None), "CON-1")
    if not isinstance(claim, Claim):
        raise ContractViolation("CON-1", f"expected the target's claim as refdiff's Claim, got {type(claim).__name__}")
    if not callable(getattr(target, "build", None)):
        raise ContractViolation("CON-1", "the target has no method build")
    return target, claim


def build(target: Target, claim: Claim, process: Process, seconds: float) -> Built:
    """Build one process behind the guard. Raises Unsupported, ContractViolation (CON-1, CON-5)."""
    what = f"build({process!r})"
    if isinstance(target, Remote):
        made: object = target.built(process, what)
    else:
        made = guarded(what, seconds, lambda: target.build(process), "CON-1", claim.refusals)
    return Built(
        made,
        FORMATS[claim.dtype],
        seconds,
        steps_of(process) > 0,
        claim.reduction,
        claim.refusals,
        claim.contract,
    )


def members(claim: Claim, seed: int) -> list[Member]:
    """Return the processes to judge: those claimed, and of each type claimed some that the suite draws."""
    rng = np.random.default_rng([seed, 0])
    found: list[Member] = []
    for position, claimed in enumerate(claim.processes):
        if claimed is Linear:
            low = round(rng.uniform(0.0, 2.0), 3)
            rates = [(0.1, 20.0), (0.0, 12.0), (3.0, 3.0), (low, round(low + rng.uniform(1.0, 30.0), 3))]
            found += [_member(Linear(beta_min=a, beta_max=b)) for a, b in rates]
        elif claimed is Cosine:
            found += [_member(Cosine(s=s)) for s in (0.008, 0.0, round(rng.uniform(0.001, 0.2), 4))]
        elif claimed is Chain:
            ddpm = "Chain.linear(1000, beta_start=1e-4, beta_end=0.02)"
            found.append(Member(process=Chain.linear(1000, beta_start=1e-4, beta_end=0.02), expression=ddpm))
            drawn = np.sort(np.round(rng.uniform(0.001, 0.4, size=12), 3))
            found += [_member(Chain(betas=tuple(drawn.tolist()))), _member(Chain(betas=(0.25,)))]
            if claim.contract > 1:
                found.append(_member(Chain(betas=(0.05, 0.1, 0.2, 0.4, 0.7, 1.0))))
        elif not isinstance(claimed, type):
            member = _member(claimed)
            expression = f"target.claim.processes[{position}]" if isinstance(claimed, Chain) else member.expression
            found.append(replace(member, expression=expression))
    unique: dict[Process, Member] = {}
    for member in found:
        unique.setdefault(member.process, member)
    return list(unique.values())


def _member(process: Process) -> Member:
    expression = f"Chain(betas={process.betas})" if isinstance(process, Chain) else repr(process)
    return Member(process=process, expression=expression)
