"""Bounded records of the calls of a target, from which a failure is diagnosed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, final

import numpy as np

from refdiff.conformance.step import Step
from refdiff.conformance.weightings import MinSNR

ENDS = 3
"""Calls of one kind that are kept: so many of the first, and of the last."""
DRAWS = 32
"""The same of `times`, whose distribution shows in many calls only."""
KINDS = 96
"""Kinds of call that are kept of one check."""
LARGEST = 400_000
"""Numbers in the arguments, the answers and the result of a call; a larger one is not kept."""
Kind: TypeAlias = tuple[object, ...]


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """One call of the denoiser that the suite gave to a target."""

    x: Any
    t: Any
    value: Any


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One call of a target, and what became of it."""

    method: str
    arguments: tuple[Any, ...]
    result: Any = None
    refused: str = ""
    """`Unsupported`, or the clause of the contract that the call broke; empty if it returned."""
    answers: tuple[Answer, ...] = ()
    """Calls of the denoiser, in order."""

    @property
    def kind(self) -> Kind:
        """What the call has in common with others: the method, and the names among its arguments."""
        named = (str, Step, MinSNR, int) if self.method in ("times", "grid") else (str, Step, MinSNR)
        of = self.arguments[:1] if self.method in ("times", "grid") else self.arguments
        return (self.method, *(x for x in of if isinstance(x, named)))

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        values = [*self.arguments, *_parts(self.result), *(x for a in self.answers for x in (a.x, a.value))]
        return sum(x.size for x in values if isinstance(x, np.ndarray))


@final
@dataclass(slots=True)
class Watched:
    """A denoiser, with what it was given and what it returned."""

    denoiser: Callable[[Any, Any], Any]
    answers: list[Answer] = field(default_factory=list)
    numbers: int = 0

    def __call__(self, x: Any, t: Any) -> Any:
        """Return what the denoiser returns."""
        given = np.array(x), np.array(t)
        value = self.denoiser(x, t)
        self.numbers += 2 * given[0].size
        if self.numbers <= LARGEST:
            self.answers.append(Answer(*given, np.array(value)))
        return value


@final
@dataclass(slots=True)
class Recorder:
    """Calls of one built object: of each kind the first few and the last few, and the one that was worst."""

    worst: Recorded | None = None
    _first: dict[Kind, list[Recorded]] = field(default_factory=dict)
    _last: dict[Kind, deque[Recorded]] = field(default_factory=dict)
    _latest: Recorded | None = None

    def note(self, call: Recorded) -> None:
        """Take one call."""
        kind = call.kind
        if (kind not in self._first and len(self._first) >= KINDS) or call.size > LARGEST:
            self._latest = None
            return
        first = self._first.setdefault(kind, [])
        most = DRAWS if call.method == "times" else ENDS
        call = self._latest = replace(call, result=_copied(call.result))
        if len(first) < most:
            first.append(call)
        else:
            self._last.setdefault(kind, deque(maxlen=most)).append(call)

    def blame(self) -> None:
        """Keep the latest call, of which a comparison is the worst so far."""
        self.worst = self._latest

    def drain(self) -> list[Recorded]:
        """Return what was kept, each call once, and forget it."""
        kept = [call for kind, first in self._first.items() for call in (*first, *self._last.get(kind, ()))]
        if self.worst is not None and not any(call is self.worst for call in kept):
            kept.append(self.worst)
        self.worst = self._latest = None
        self._first, self._last = {}, {}
        return kept


def _parts(result: Any) -> tuple[Any, ...]:
    if isinstance(result, Mapping):
        return tuple(result.values())
    return result if isinstance(result, tuple) else (result,)


def _copied(result: Any) -> Any:
    """Return a result of which the target holds no part."""
    if isinstance(result, np.ndarray):
        return np.array(result)
    if isinstance(result, dict):
        return {name: _copied(value) for name, value in result.items()}
    return tuple(map(_copied, result)) if type(result) is tuple else result
