"""A member of the family: one form of one quantity behind the contract, with the smallest claim it needs.

A right variant is right over the reals and computes in its dtype as a careful library would: no MUST clause may fail
on it. A wrong one names the clauses that it breaks. No variant is tuned to what a check lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias, final

from refdiff.conformance.interface import METHODS, Capability, Chain, Claim, Cosine, DType, Linear, Own, Process

Methods: TypeAlias = Mapping[str, Callable[..., Any]]
"""Methods of the object that `build` returns, by name."""
Make: TypeAlias = Callable[[Process], Methods]
Claimed: TypeAlias = "Process | type[Process]"

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
FLAT = Linear(beta_min=0.0, beta_max=12.0)
STEADY = Linear(beta_min=3.0, beta_max=3.0)
COSINE = Cosine(s=0.008)
DDPM = Chain.linear(1000, beta_start=1e-4, beta_end=0.02)
SHORT = Chain(betas=(0.004, 0.01, 0.03, 0.07, 0.11, 0.18, 0.24, 0.31, 0.35, 0.42))
OWN = Own(label="sech")


@final
@dataclass(frozen=True, kw_only=True)
class Variant:
    """A target. Its docstring is `form`."""

    name: str
    form: str
    """Description of the computation, in one sentence."""
    make: Make
    """Maps a process to the methods of the object that `build` returns."""
    capabilities: frozenset[Capability]
    processes: tuple[Claimed, ...] = (LINEAR,)
    dtype: DType = "float32"
    narrowed: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the claim: reduction, t_min, events, draws."""
    breaks: frozenset[str] = frozenset()
    """Clauses that a wrong variant fails; empty for a right one."""

    @property
    def claim(self) -> Claim:
        """Claim the capabilities of the variant only."""
        return Claim(
            name=self.name,
            version="1",
            dtype=self.dtype,
            processes=self.processes,
            capabilities=self.capabilities,
            **self.narrowed,
        )

    def build(self, process: Process) -> SimpleNamespace:
        """Return the methods of one process."""
        return SimpleNamespace(**self.make(process))


@final
class Family:
    """Variants of one topic, in the order in which they are defined."""

    def __init__(self, topic: str) -> None:
        """Make an empty collection."""
        self.topic = topic
        self._found: dict[str, Variant] = {}

    def __iter__(self) -> Iterator[Variant]:
        """Iterate over the variants."""
        return iter(self._found.values())

    def __len__(self) -> int:
        """Return the number of variants."""
        return len(self._found)

    def add(
        self,
        make: Make,
        *capabilities: Capability,
        on: Claimed | tuple[Claimed, ...] = LINEAR,
        name: str = "",
        form: str = "",
        dtype: DType = "float32",
        breaks: str = "",
        **narrowed: Any,
    ) -> Make:
        """Add a variant; name and form are by default those of the function that makes it."""
        title = f"{self.topic}: {name or make.__name__.replace('_', ' ')}"
        if title in self._found:
            raise ValueError(f"expected names that differ, got {title!r} twice")
        unknown = set(capabilities) - set(METHODS)
        if unknown or not capabilities:
            raise ValueError(f"expected capabilities of the contract for {title!r}, got {capabilities}")
        self._found[title] = Variant(
            name=title,
            form=form or (make.__doc__ or "").strip(),
            make=make,
            capabilities=frozenset(capabilities),
            processes=on if isinstance(on, tuple) else (on,),
            dtype=dtype,
            narrowed=narrowed,
            breaks=frozenset(breaks.split()),
        )
        return make

    def of(self, *capabilities: Capability, **options: Any) -> Callable[[Make], Make]:
        """Decorate a function that makes the methods of a process: `add` with it."""
        return lambda make: self.add(make, *capabilities, **options)
