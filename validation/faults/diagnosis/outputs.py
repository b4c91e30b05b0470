"""Outputs of one recorded call by name: those of the target, and those of another built object on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Times, Unsupported
from refdiff.conformance.recorder import Answer, Recorded
from refdiff.conformance.step import STEPS

Floats = npt.NDArray[np.float64]
Outputs: TypeAlias = Mapping[str, Floats]
_REFUSED = ("Unsupported", "CON-1", "CON-2", "CON-3", "CON-4", "CON-5")
_READ_ONLY = "read-only"


UNBUILT: Any = object()
"""Stands for what could not be built."""


class Inapplicable(Exception):
    """The fault says nothing of this process, or of this call."""


def named(call: Recorded) -> str:
    """Return the name of what a call computes, as the report has it."""
    of = call.arguments
    match call.method:
        case "convert":
            return f"{of[4]} from {of[3]}"
        case "loss":
            return f"loss on {of[1]} with weight {of[5]}"
        case "step":
            return f"{of[5]} step"
        case "sample":
            return f"sampler {of[4]}"
        case "perturb":
            return "x_t"
        case "ema":
            return "average of weights"
        case "guide":
            return "guided prediction"
        case "fit":
            return "trained denoiser"
        case _:
            return call.method


def told(call: Recorded) -> Outputs:
    """Return what the target gave."""
    if call.method == "build":
        return _refusal(call, "CON-5")
    if call.refused:
        return _refusal(call, call.refused)
    if call.method == "fit":
        return {named(call): _plain(call.answers[0].value)}
    return {**_split(call, call.result, call.answers), **_odd(call)}


def _odd(call: Recorded) -> Outputs:
    """Return a mark if the result is of another type than the data, which no number shows."""
    kinds = {x.dtype for x in call.arguments if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    parts = call.result.values() if isinstance(call.result, Mapping) else call.result
    parts = tuple(parts) if isinstance(call.result, Mapping | tuple) else (parts,)
    right = all(isinstance(x, np.ndarray | np.generic) and (not kinds or x.dtype in kinds) for x in parts)
    return {} if right else {f"type of {named(call)}": np.ones(1)}


def steadiness(call: Recorded) -> str:
    """Return the name of what is wrong if a call gives another result when it is made again."""
    return f"{named(call)} of the same call, made twice"


def equal(one: Recorded, other: Recorded) -> bool:
    """Say whether two calls have the same method and arguments."""
    return one.method == other.method and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b
        for a, b in zip(one.arguments, other.arguments, strict=True)
    )


def same(one: Outputs, other: Outputs) -> bool:
    """Say whether two results are equal to the bit."""
    return one.keys() == other.keys() and all(np.array_equal(x, other[k], equal_nan=True) for k, x in one.items())


def replayed(built: Any, call: Recorded, form: Format, *, is_wide: bool) -> Outputs:
    """Return what another object gives, rounded once to the format. Raises Inapplicable.

    is_wide: whether it is given the inputs in float64, and computes in float64.
    """
    if call.method == "build" or built is UNBUILT:
        return _refusal(call, "CON-5") if built is UNBUILT else {}
    echo = Echo(call.answers, is_wide)
    try:
        with np.errstate(all="ignore"):
            found = _made(built, call, echo, is_wide)
    except Unsupported:
        return _refusal(call, "Unsupported")
    except (AssertionError, KeyError):
        raise Inapplicable from None
    except Exception as error:  # noqa: BLE001  # a fault may do anything
        return _refusal(call, "CON-3" if _READ_ONLY in str(error) else "CON-5")
    return {name: _rounded(value, form) for name, value in found.items()}


def _made(built: Any, call: Recorded, echo: Echo, is_wide: bool) -> Outputs:
    arguments = tuple(_locked(x, is_wide) for x in call.arguments)
    match call.method:
        case "fit":
            answer = call.answers[0]
            return {named(call): _plain(built.fit(*arguments)(_locked(answer.x, is_wide), answer.t))}
        case "loss":
            result = built.loss(echo, *arguments[1:])
        case "sample":
            result = built.sample(echo, *arguments[1:])
        case "step" if isinstance(arguments[5], str):
            result = built.step(*arguments[:5], *(step for step in STEPS if step.kind == arguments[5]))
        case _:
            result = getattr(built, call.method)(*arguments)
    if any(isinstance(x, np.ndarray) and x.flags.writeable for x in arguments):
        return _refusal(call, "CON-3")
    return _split(call, result, tuple(echo.asked))


@final
@dataclass(slots=True)
class Echo:
    """A denoiser that answers as the recorded one did, call by call; it notes what it is given."""

    answers: tuple[Answer, ...]
    is_wide: bool
    asked: list[Answer] = field(default_factory=list)

    def __call__(self, x: Array, t: Times) -> Array:
        """Return the next answer; after the last, the last one again."""
        if not self.answers:
            raise Inapplicable
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(Answer(np.array(x), np.array(t), answer.value))
        return np.asarray(_locked(answer.value, self.is_wide))


def _split(call: Recorded, result: Any, asked: tuple[Answer, ...]) -> Outputs:
    name = named(call)
    if isinstance(result, Mapping):
        return {str(key): _plain(value) for key, value in result.items()}
    if call.method == "posterior" and isinstance(result, tuple) and len(result) == 2:
        return {"posterior mean": _plain(result[0]), "posterior variance": _plain(result[1])}
    found = {name: _plain(result)}
    if call.method == "loss":
        found |= _given("loss", asked)
    if call.method == "sample":
        found |= _given(name, asked)
    return found


def _given(what: str, asked: tuple[Answer, ...]) -> dict[str, Floats]:
    """Return what the denoiser was given, call after call."""
    found = {f"number of calls of the denoiser in {what}": np.array([float(len(asked))])}
    if asked and len({np.shape(a.x) for a in asked}) == 1 and len({np.shape(a.t) for a in asked}) == 1:
        found[f"x_t given to the denoiser in {what}"] = np.stack([_plain(a.x) for a in asked])
        found[f"t given to the denoiser in {what}"] = np.stack([_plain(a.t) for a in asked])
    return found


def _refusal(call: Recorded, what: str) -> Outputs:
    return {f"exception of {call.method}": np.array([float(_REFUSED.index(what))])}


def _plain(value: Any) -> Floats:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def _locked(value: Any, is_wide: bool) -> Any:  # private, and passed on by position
    """Return an argument, read-only; is_wide: in float64, but for indices."""
    if not isinstance(value, np.ndarray):
        return value
    copy = np.array(value, dtype=np.float64 if is_wide and value.dtype.kind == "f" else value.dtype)
    copy.flags.writeable = False
    return copy


def _rounded(value: Floats, form: Format) -> Floats:
    with np.errstate(all="ignore"):
        return form.rounded(value).astype(np.float64)
