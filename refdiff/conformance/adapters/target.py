"""A target made of a claim and a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from refdiff.conformance.interface import Claim, Process


@final
@dataclass(frozen=True)
class Library:
    """A target: its claim, and the function or class that makes an adapter for a process.

    Example:
        >>> from refdiff.conformance import Claim, Linear
        >>> claim = Claim(name="mylib", version="1", dtype="float32", processes=(Linear,), capabilities=frozenset())
        >>> Library(claim, lambda process: process).build(Linear(beta_min=0.1, beta_max=20.0))
        Linear(beta_min=0.1, beta_max=20.0)
    """

    claim: Claim
    """The claim."""
    make: Callable[[Process], object]
    """Return an object with the methods of the claimed capabilities. May raise Unsupported."""

    def build(self, process: Process, /) -> object:
        """Return an adapter for one process. Raises Unsupported."""
        return self.make(process)
