"""What the right target gives, and how far rounding may move it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from refdiff.conformance.formats import FORMATS, Format
from refdiff.conformance.interface import Claim, Own, Process
from refdiff.conformance.recorder import Recorded

from ..clean.target import Clean
from .outputs import UNBUILT, Floats, Inapplicable, Outputs, replayed
from .own import Ask, known

SHAKES = ((2.0, 2.0), (-2.0, -2.0), (2.0, -2.0))
"""Relative changes of times, and absolute ones of log alpha_bar, in units of u: 1 - alpha_bar has an error of u."""

BITS = 2.0**-9
"""Noise in units of u at which two numbers agree if they are equal to the bit."""
DIFFERENCES = 1e-3
"""Error of a rate that is known by differences of log alpha_bar."""


class Shaken(Clean):
    """The right target with the scales moved as rounding may move them."""

    u: float
    shake: tuple[float, float]

    def log_alpha_bar(self, t: Any) -> Any:
        """Return log alpha_bar of a time that is rounded, with an absolute error besides."""
        moved = t if self.is_chain else np.asarray(t, dtype=np.float64) * (1.0 + self.shake[0] * self.u)
        found = super().log_alpha_bar(moved)
        steps = np.asarray(t) if self.is_chain else 0.0
        error = self.shake[1] * self.u * (1.0 + np.abs(found) + 0.5 * steps)
        return np.minimum(np.where(np.isfinite(found), found + error, found), 0.0)

    def log_snr(self, t: Any) -> Any:
        """Return the log-SNR from log alpha_bar."""
        log = self.log_alpha_bar(t)
        return log - np.log(-np.expm1(log))

    def rate(self, t: Any) -> Any:
        """Return the rate of a time that is rounded; of the library's own process it is known by differences."""
        factor = 1.0 + self.shake[0] * self.u
        found = super().rate(np.asarray(t, dtype=np.float64) * factor) * factor
        return found + np.sign(self.shake[1]) * DIFFERENCES * (1.0 + found) if isinstance(self.process, Own) else found


@final
@dataclass(slots=True)
class Right:
    """The right target for one process of a claim."""

    claim: Claim
    process: Process
    tight: bool = False
    """Whether the target is compared to the bit, and everything else computes in its format too."""
    ask: Ask | None = None
    _known_as: Process = field(init=False)
    _base: type[Clean] = field(init=False)
    _clean: Any = field(init=False)
    _shaken: list[Any] = field(init=False)
    _known: dict[int, tuple[Outputs, Outputs]] = field(default_factory=dict)
    _reached: dict[int, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build it, and those that rounding has moved. Raises Inapplicable for a process that nobody knows."""
        self._known_as, self._base = known(self.claim, self.process, self.ask)
        wide = self._computing
        self._clean = self._base(self._known_as, wide)
        self._shaken = [] if self.tight else [self._moved(wide, shake) for shake in SHAKES]

    @property
    def format(self) -> Format:
        """The target's format."""
        return FORMATS[self.claim.dtype]

    @property
    def _computing(self) -> Claim:
        return self.claim if self.tight else replace(self.claim, dtype="float64")

    def _moved(self, claim: Claim, shake: tuple[float, float]) -> Any:
        made: Any = type("Moved", (Shaken, self._base), {})(self._known_as, claim)
        made.u, made.shake = self.format.u, shake
        return made

    def fault(self, formula: str, by: Callable[..., Any]) -> Any:
        """Return the built object with one formula replaced, or UNBUILT. Raises Inapplicable."""
        try:
            return type("Built", (self._base,), {formula: by})(self._known_as, self._computing)
        except AssertionError:
            raise Inapplicable from None
        except Exception:  # noqa: BLE001  # a fault may do anything
            return UNBUILT

    def noise_of(self, formula: str, by: Callable[..., Any], call: Recorded, given: Outputs) -> Outputs:
        """Return by how much rounding may move what a fault gives. Raises Inapplicable."""
        if self.tight:
            return {}
        moved = []
        for i, shake in enumerate(SHAKES):
            try:
                made: Any = type("Moved", (Shaken, self._base), {formula: by})(self._known_as, self._computing)
            except Exception:  # noqa: BLE001  # a fault may do anything
                return {}
            made.u, made.shake = self.format.u, shake
            moved.append(self.replay(made, _nudged(call, self.format.u, i)))
        return {name: self._noise(name, value, moved) for name, value in given.items()}

    def reaches(self, call: Recorded, formula: str) -> bool:
        """Say whether a formula has a part in a call: what replaces another one changes nothing."""
        if id(call) not in self._reached:
            traced = type("Traced", (self._base,), {"__getattribute__": _noted})(self._known_as, self._computing)
            reached: set[str] = {"__init__"}
            traced.__dict__[_REACHED] = reached
            self.replay(traced, call)
            self._reached[id(call)] = frozenset(reached)
        return formula in self._reached[id(call)] or call.method == "build"

    def replay(self, built: Any, call: Recorded) -> Outputs:
        """Return what an object gives in place of the target. Raises Inapplicable."""
        return replayed(built, call, self.format, is_wide=not self.tight)

    def outputs(self, call: Recorded) -> tuple[Outputs, Outputs]:
        """Return what is right, and by how much rounding may move it. Raises Inapplicable."""
        if id(call) not in self._known:
            right = self.replay(self._clean, call)
            moved = [self.replay(built, _nudged(call, self.format.u, i)) for i, built in enumerate(self._shaken)]
            self._known[id(call)] = right, {name: self._noise(name, value, moved) for name, value in right.items()}
        return self._known[id(call)]

    def _noise(self, name: str, value: Floats, moved: list[Outputs]) -> Floats:
        size = np.where(np.isfinite(value), np.abs(value), 0.0)
        noise = (BITS if self.tight else 2.0) * self.format.u * size + self.format.smallest
        for other in moved:
            if name in other and other[name].shape == value.shape:
                off = np.abs(other[name] - value)
                noise = np.maximum(noise, np.where(np.isnan(off), 0.0, off))
        return np.asarray(noise)


_REACHED = "_reached"


def _noted(self: Any, name: str) -> Any:
    """Return an attribute, and note its name."""
    found = object.__getattribute__(self, name)
    if (reached := object.__getattribute__(self, "__dict__").get(_REACHED)) is not None:
        reached.add(name)
    return found


def _nudged(call: Recorded, u: float, key: int) -> Recorded:
    """Return a call whose data is rounded differently; times stay as they are."""
    rng = np.random.default_rng(key)

    def nudge(x: Any) -> Any:
        if not (isinstance(x, np.ndarray) and x.dtype.kind == "f"):
            return x
        return x.astype(np.float64) * (1.0 + 2.0 * u * rng.choice([-1.0, 1.0], size=x.shape))

    times = TIMES.get(call.method, ())
    arguments = tuple(x if i in times else nudge(x) for i, x in enumerate(call.arguments))
    answers = tuple(replace(a, value=nudge(a.value)) for a in call.answers)
    return replace(call, arguments=arguments, answers=answers)


TIMES: Mapping[str, tuple[int, ...]] = {
    "coefficients": (0,),
    "perturb": (2,),
    "drift": (1,),
    "diffusion": (0,),
    "convert": (2,),
    "loss": (4,),
    "step": (2, 3),
    "posterior": (2, 3),
    "sample": (2,),
    "fit": (0,),
}
"""By method: the places of the arguments that are not nudged."""
