"""Calls into a target that may do anything, each turned into a result or one clear line (CON-1 to CON-5)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final, get_args

import numpy as np
import numpy.typing as npt

from refdiff.conformance.deadline import Overrun, deadline
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import Array, Parameterization, Quantity, Times, Unsupported
from refdiff.errors import RefdiffError

AnyArray = npt.NDArray[Any]


@final
class Misbehaviour(RefdiffError):
    """A target broke a rule of the contract."""

    def __init__(self, clause: str, cause: str) -> None:
        """Say which rule, and what happened."""
        super().__init__(cause)
        self.clause = clause
        """The rule that was broken."""


@final
class NotClaimed(RefdiffError):
    """The target does not say that it has this."""


def one_line(error: BaseException) -> str:
    """Return the kind of an exception and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def guarded(what: str, seconds: float, call: Callable[[], Any], clause: str = "CON-5") -> Any:
    """Return call(), or raise Misbehaviour under `clause` if it raises or outlasts the limit.

    Unsupported and KeyboardInterrupt pass through. Warnings and NumPy's floating-point errors are the
    target's affair, whatever the filters of the session are.
    """
    try:
        with deadline(seconds), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return call()
    except (Unsupported, KeyboardInterrupt):
        raise
    except Overrun:
        raise Misbehaviour("CON-5", f"{what} did not return within {seconds:g} s") from None
    except BaseException as error:  # noqa: BLE001  # SystemExit and pytest's own outcomes are BaseExceptions too
        if isinstance(error, ValueError) and "read-only" in str(error):
            raise Misbehaviour("CON-3", f"{what} writes to its input ({one_line(error)})") from None
        raise Misbehaviour(clause, f"{what} raised {one_line(error)}") from None


@final
@dataclass(slots=True)
class Call:
    """The last call, for the reproducer."""

    method: str = ""
    arguments: tuple[object, ...] = ()


@final
@dataclass(slots=True)
class Built:
    """What a target built for one process, behind the guard. Arrays in and out are of the claimed format."""

    made: object
    format: Format
    seconds: float
    is_chain: bool
    last: Call = field(default_factory=Call)
    _hung: dict[str, str] = field(default_factory=dict)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Return the quantities that the target has at t, each shaped as t."""
        result = self.call("coefficients", t)
        if not isinstance(result, Mapping):
            raise Misbehaviour("CON-2", f"coefficients returned {type(result).__name__}, wants a mapping")
        if unknown := [name for name in result if name not in get_args(Quantity)]:
            raise Misbehaviour(
                "CON-2", f"coefficients has {unknown[0]!r}, which is none of {', '.join(get_args(Quantity))}"
            )
        if self.is_chain and "beta" in result:
            raise Misbehaviour("CON-2", "coefficients has 'beta' for a chain, where there is no rate")
        return {name: self._array(f"coefficients[{name!r}]", value, t.shape) for name, value in result.items()}

    def quantity(self, name: Quantity, t: Times) -> Array:
        """Return one quantity at t, or raise NotClaimed if the library does not have it."""
        found = self.coefficients(t)
        if name not in found:
            raise NotClaimed(f"coefficients has no {name}")
        return found[name]

    def perturb(self, x_0: Array, eps: Array, t: Times) -> Array:
        """Return x_t, shaped as x_0."""
        return self._array("perturb", self.call("perturb", x_0, eps, t), x_0.shape)

    def convert(self, value: Array, x_t: Array, t: Times, source: Parameterization, to: Parameterization) -> Array:
        """Return the value in another parameterisation, shaped as x_t."""
        return self._array("convert", self.call("convert", value, x_t, t, source, to), x_t.shape)

    def posterior(self, x_t: Array, x_0: Array, t: Times, s: Times) -> tuple[Array, Array]:
        """Return the mean, shaped as x_0, and the variance, shaped as t, of q(x_s | x_t, x_0)."""
        result = self.call("posterior", x_t, x_0, t, s)
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misbehaviour("CON-2", f"posterior returned {_described(result)}, wants (mean, variance)")
        return (
            self._array("posterior mean", result[0], x_0.shape),
            self._array("posterior variance", result[1], t.shape),
        )

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method on copies, and see that it returns in time and leaves them alone."""
        if method in self._hung:
            raise Misbehaviour("CON-5", f"{self._hung[method]}, and is not called again")
        function = getattr(self.made, method, None)
        if not callable(function):
            raise Misbehaviour("CON-1", f"what build returned has no method {method}, which the claim promises")
        self.last = Call(method, arguments)
        sent = [_locked(x) if isinstance(x, np.ndarray) else x for x in arguments]
        try:
            result = guarded(method, self.seconds, lambda: function(*sent))
        except Misbehaviour as error:
            if "did not return" in str(error):
                self._hung[method] = str(error)
            raise
        for position, (before, after) in enumerate(zip(arguments, sent, strict=True), start=1):
            if isinstance(before, np.ndarray) and before.tobytes() != np.asarray(after).tobytes():
                raise Misbehaviour("CON-3", f"{method} changed its argument number {position} in place")
        return result

    def _array(self, what: str, value: object, shape: tuple[int, ...]) -> Array:
        if not isinstance(value, np.ndarray):
            raise Misbehaviour("CON-2", f"{what} is {_described(value)}, wants a numpy.ndarray of shape {shape}")
        if value.shape != shape:
            raise Misbehaviour("CON-2", f"{what} has shape {value.shape}, wants {shape}")
        if value.dtype != self.format.carrier:
            raise Misbehaviour("CON-2", f"{what} has dtype {value.dtype}, wants {self.format.carrier}")
        if not self.format.holds(value):
            raise Misbehaviour("CON-2", f"{what} has values that are not {self.format.name}")
        return value.copy()


def _locked(array: AnyArray) -> AnyArray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _described(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
