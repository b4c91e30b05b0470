"""A fault: one formula of the right target, replaced by a wrong one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from refdiff.conformance.interface import Capability, Chain, Claim, Cosine, DType, Linear, Own, Process

from .clean.target import EVERYTHING, CleanTarget

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
COSINE = Cosine(s=0.008)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)
SHORT = Chain(betas=(0.004, 0.01, 0.03, 0.07, 0.11, 0.18, 0.24, 0.31, 0.35, 0.42))
OWN = Own(label="sech")
Wrong: TypeAlias = Callable[..., Any]
"""Replaces a method of `Clean`: takes the built object first, then the arguments of the method."""
DTYPES: tuple[DType, ...] = ("float32", "float64")


@final
@dataclass(frozen=True, kw_only=True)
class Fault:
    """One realistic error."""

    name: str
    formula: str
    """The method of `Clean` that it replaces."""
    by: Wrong
    wrong: str
    """What it computes."""
    meant: str
    """What is meant, as the report says it."""
    seen: str
    """Where it has been seen, or `plausible`."""
    breaks: frozenset[str]
    """The clauses that trip, in every format."""
    capabilities: frozenset[Capability]
    """What is claimed in the matrix."""
    processes: tuple[Process | type[Process], ...]
    dtypes: tuple[DType, ...] = DTYPES
    narrowed: dict[str, Any] = field(default_factory=dict)
    """Further fields of the claim."""

    def claim(self, dtype: DType) -> Claim:
        """Return the claim of the target that has this fault."""
        fields = {**EVERYTHING, **self.narrowed}
        if "sample" not in self.capabilities:
            fields.pop("samplers")
        fields |= {"name": self.name, "dtype": dtype, "processes": self.processes, "capabilities": self.capabilities}
        return Claim(**fields)

    def target(self, dtype: DType) -> CleanTarget:
        """Return the target that has this fault."""
        return CleanTarget(self.claim(dtype), {self.formula: self.by})


@final
class Chapter:
    """The faults of one topic, in the order in which they are defined."""

    def __init__(
        self, topic: str, *capabilities: Capability, on: Process | tuple[Process | type[Process], ...] = LINEAR
    ) -> None:
        """Take the topic, and what its faults claim by default."""
        self.topic = topic
        self.capabilities = capabilities
        self.on = on
        self._found: dict[str, Fault] = {}

    def __iter__(self) -> Iterator[Fault]:
        """Iterate over the faults."""
        return iter(self._found.values())

    def plant(
        self,
        formula: str,
        *,
        breaks: str,
        on: Process | tuple[Process | type[Process], ...] | None = None,
        also: tuple[Capability, ...] = (),
        claims: tuple[Capability, ...] | None = None,
        dtypes: tuple[DType, ...] = DTYPES,
        **narrowed: Any,
    ) -> Callable[[Wrong], Wrong]:
        """Return a decorator that adds a fault; its name is that of the function, its texts are of the docstring.

        Args:
            formula: Method of `Clean` that the function replaces.
            breaks: Clauses that trip.
            on: Processes, by default those of the chapter.
            also: Capabilities claimed besides those of the chapter.
            claims: Capabilities claimed in place of those of the chapter.
            dtypes: Formats in which the fault shows.
            narrowed: Further fields of the claim.
        """
        places = self.on if on is None else on
        names = (self.capabilities if claims is None else claims) + also

        def add(by: Wrong) -> Wrong:
            name = f"{self.topic}-{by.__name__.replace('_', '-')}"
            if name in self._found:
                raise ValueError(f"expected names that differ, got {name!r} twice")
            wrong, meant, seen = _texts(name, inspect.getdoc(by) or "")
            self._found[name] = Fault(
                name=name,
                formula=formula,
                by=by,
                wrong=wrong,
                meant=meant,
                seen=seen,
                breaks=frozenset(breaks.split()),
                capabilities=frozenset(names),
                processes=places if isinstance(places, tuple) else (places,),
                dtypes=dtypes,
                narrowed=narrowed,
            )
            return by

        return add


def _texts(name: str, doc: str) -> tuple[str, str, str]:
    """Return the three paragraphs of a fault's docstring, without their labels."""
    parts = [" ".join(part.split()) for part in doc.split("\n\n")]
    labels = ("Meant: ", "Seen: ")
    if len(parts) != 3 or not all(part.startswith(label) for part, label in zip(parts[1:], labels, strict=True)):
        raise ValueError(f"expected a docstring of {name!r} with what it computes, 'Meant: ' and 'Seen: ', got {doc!r}")
    return parts[0], parts[1].removeprefix(labels[0]), parts[2].removeprefix(labels[1])
