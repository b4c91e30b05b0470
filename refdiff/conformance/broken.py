"""Rules of the contract that calls broke, told for each method."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

from refdiff.conformance.outcome import Outcome

AGAIN = ", and is not called again"
"""Ends the sentence on a call that was not made, as the one before it hung or ended the process."""
RULES = ("CON-2", "CON-3", "CON-4", "CON-5")
"""Rules that one call can break."""
EVENTS = (
    "the claim field `events` says which shapes of events the library serves, such as `events=((3, 8, 8),)`; "
    "without it, the suite sends events of any rank."
)
_WITH_EVENTS = frozenset(
    {"perturb", "drift", "convert", "loss", "step", "posterior", "guide", "fit", "sample", "denoiser"}
)
"""Methods that are given arrays (batch, *event)."""
_OF_A_SHAPE = re.compile(
    r"\bshaped?\b|\bshapes\b|\bsizes?\b|\bdim(?:ension)?s?\b|\bndim\b|-dimensional|\b[0-9]D\b|broadcast|\bchannels\b"
    r"|too many indices|values to unpack|axes don't match",
    re.I,
)
"""Words of the errors on shapes of NumPy, torch, JAX, einops and Python."""
_RAISED = re.compile(r" raised (?P<kind>\w+)")


@final
@dataclass(frozen=True, slots=True)
class Broken:
    """A rule of the contract that a call broke."""

    clause: str
    sentence: str
    method: str
    reproducer: str = ""
    """Python that repeats the call."""


@final
@dataclass(frozen=True, slots=True)
class First:
    """The first failure of one method under one rule."""

    method: str
    process: str
    sentence: str
    more: int
    """How many more failures of the method there are."""

    @property
    def head(self) -> str:
        """The failure with its process."""
        return f"{self.process}: {self.sentence}"

    @property
    def line(self) -> str:
        """The failure with its process, and the number of further ones of the method."""
        plural = "s" if self.more > 1 else ""
        return self.head + (f" (and {self.more} more failure{plural} of {self.method})" if self.more else "")

    def as_json(self) -> dict[str, Any]:
        """Return a mapping that JSON can carry."""
        return asdict(self)


def by_method(clause: str, outcomes: Iterable[Outcome]) -> tuple[First, ...]:
    """Return the first failure of each method under a rule of the contract; of other clauses, none.

    Calls that were not made, as one before them hung or ended the process, are left out.
    """
    if clause not in RULES:
        return ()
    found: dict[str, list[tuple[str, str]]] = {}
    for result in (result for outcome in outcomes for result in outcome.results):
        for rule, method, line in zip(result.broken, result.methods, result.failures, strict=False):
            sentence = line.removesuffix(f" ({rule})")
            if rule == clause and not (sentence.endswith(AGAIN) or " is not called: " in sentence):
                found.setdefault(method, []).append((result.process, sentence))
    return tuple(First(method, *lines[0], len(lines) - 1) for method, lines in found.items())


def told(reason: str, firsts: Iterable[First]) -> list[str]:
    """Return the lines on a failure: its reason, or where several methods broke the rule, one line for each."""
    found = list(firsts)
    if len(found) < 2:
        return [reason]
    if reason.startswith(found[0].head):
        return [first.line for first in found]
    return [reason, *(first.line for first in found if first.head not in reason)]


def advice(firsts: Iterable[First], *, has_events: bool) -> str:
    """Return a hint for calls that raise an error on shapes; none, if the claim lists the shapes of events."""
    found = [first for first in firsts if first.method in _WITH_EVENTS and is_of_a_shape(first.sentence)]
    if not found or has_events:
        return ""
    names = " and ".join(first.method for first in found)
    return f"{names} raised an error on a shape: {EVENTS}"


def is_of_a_shape(sentence: str) -> bool:
    """Say whether a sentence reports an exception that is plainly about a shape."""
    match = _RAISED.search(sentence)
    if match is None or "Memory" in match["kind"]:
        return False
    return "Shape" in match["kind"] or _OF_A_SHAPE.search(sentence, match.end()) is not None
