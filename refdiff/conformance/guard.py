"""Calls into a target that may do anything, each turned into a result or one clear line (CON-1 to CON-5)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final, get_args

import numpy as np
import numpy.typing as npt

from refdiff.conformance.deadline import Overrun, deadline
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import (
    Array,
    Denoiser,
    Parameterization,
    Quantity,
    Reduction,
    Rule,
    Times,
    Unsupported,
    Weighting,
)
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


_LONGEST = 300
"""Characters of somebody else's message that a line of ours repeats."""


def one_line(error: BaseException) -> str:
    """Return the kind of an exception and the first line of what it says."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001  # an exception that cannot say what it is
        text = []
    line = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def guarded(what: str, seconds: float, call: Callable[[], Any], clause: str = "CON-5", *, patient: bool = False) -> Any:
    """Return call(), or raise Misbehaviour under `clause` if it raises or outlasts the limit.

    patient: as of `deadline`. Unsupported and KeyboardInterrupt pass through. Warnings and NumPy's
    floating-point errors are the target's affair, whatever the filters of the session are.
    """
    started = time.monotonic()
    late = Misbehaviour("CON-5", f"{what} did not return within {seconds:g} s")
    try:
        with deadline(seconds, patient=patient), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = call()
    except KeyboardInterrupt:
        raise
    except Unsupported as refusal:
        raise Unsupported(one_line(refusal).removeprefix("Unsupported: ")) from None
    except Overrun:
        raise late from None
    except BaseException as error:  # noqa: BLE001  # SystemExit and pytest's own outcomes are BaseExceptions too
        if isinstance(error, ValueError) and str(error) in _READ_ONLY:
            raise Misbehaviour("CON-3", f"{what} writes to its input ({one_line(error)})") from None
        hint = "; for a call that is not served, raise Unsupported" if isinstance(error, NotImplementedError) else ""
        raise Misbehaviour(clause, f"{what} raised {one_line(error)}{hint}") from None
    if not patient and time.monotonic() - started > seconds + 1.0:
        raise late  # It swallowed the alarm, and came back in its own time.
    return result


_READ_ONLY = ("assignment destination is read-only", "output array is read-only")
"""What NumPy says to who writes to a locked array."""


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
    reduction: Reduction = "none"
    last: Call = field(default_factory=Call)
    _hung: dict[str, str] = field(default_factory=dict)
    _names: frozenset[str] = frozenset()
    _fitted: dict[tuple[bytes, int, float], Any] = field(default_factory=dict)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Return the quantities that the target has at t, each shaped as t."""
        result = self.call("coefficients", t, then=lambda made: dict(made) if isinstance(made, Mapping) else made)
        if not isinstance(result, dict):
            raise Misbehaviour("CON-2", f"coefficients returned {type(result).__name__}, wants a mapping")
        if not result:
            raise Misbehaviour("CON-2", "coefficients is empty, although the claim has schedule")
        if (names := frozenset(map(str, result))) != (self._names or names):
            raise Misbehaviour("CON-2", f"coefficients has {sorted(names)}, and had {sorted(self._names)} before")
        self._names = names
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

    def drift(self, x: Array, t: Times) -> Array:
        """Return f(x, t), shaped as x."""
        return self._array("drift", self.call("drift", x, t), x.shape)

    def diffusion(self, t: Times) -> Array:
        """Return g(t), shaped as t."""
        return self._array("diffusion", self.call("diffusion", t), t.shape)

    def loss(
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weighting
    ) -> Array:
        """Return the loss, reduced as the claim says: (batch,) sums over the event, or one number."""
        result = self.call("loss", denoiser, prediction, x_0, eps, t, weight)
        if isinstance(result, np.generic):
            result = np.asarray(result)
        if self.reduction != "none":
            return self._array("loss", result, ())
        if getattr(result, "shape", None) == x_0.shape:
            return np.asarray(self._array("loss", result, x_0.shape).astype(np.float64).reshape(len(t), -1).sum(1))
        return self._array("loss", result, t.shape)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return n times, or indices, and n weights."""
        result = self.call("times", n, seed)
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misbehaviour("CON-2", f"times returned {_described(result)}, wants (t, weight)")
        if not self.is_chain:
            return self._array("times", result[0], (n,)), self._array("weight", result[1], (n,))
        k = result[0]
        if not isinstance(k, np.ndarray) or k.shape != (n,) or k.dtype != np.int64:
            got = f"{k.dtype} {k.shape}" if isinstance(k, np.ndarray) else _described(k)
            raise Misbehaviour("CON-2", f"times of a chain is {got}, wants int64 {(n,)}")
        return k.copy(), self._array("weight", result[1], (n,))

    def density(self, t: Times) -> Array:
        """Return the declared density of the times, up to a constant factor, shaped as t."""
        return self._array("density", self.call("density", t), t.shape)

    def step(self, x_t: Array, eps_hat: Array, t: Times, s: Times, noise: Array, rule: Rule) -> Array:
        """Return x_s, shaped as x_t."""
        return self._array("step", self.call("step", x_t, eps_hat, t, s, noise, rule), x_t.shape)

    def ema(self, decay: float, history: Array) -> Array:
        """Return the average after each row, shaped as history."""
        return self._array("ema", self.call("ema", decay, history), history.shape)

    def fit(self, data: Array, seed: int, seconds: float) -> Denoiser:
        """Return the denoiser that the target trains, behind the guard too; asked for the same again, the same one."""
        key = (data.tobytes(), seed, seconds)
        if key not in self._fitted:
            # About so many seconds, on a machine that may be busy: ten times as many are no hang.
            made = self.call("fit", data, seed, seconds, more=10.0 * seconds, patient=True)
            if not callable(made):
                raise Misbehaviour("CON-2", f"fit returned {_described(made)}, wants a function of (x_t, t)")
            self._fitted[key] = made
        self.last = Call("fit", (data, seed, seconds))
        trained = self._fitted[key]

        def denoiser(x_t: Array, t: Times) -> Array:
            asked = guarded("the denoiser of fit", self.seconds, lambda: trained(_locked(x_t), _locked(t)))
            return self._array("the denoiser of fit", asked, x_t.shape)

        return denoiser

    def call(
        self,
        method: str,
        *arguments: object,
        then: Callable[[Any], Any] = lambda made: made,
        more: float = 0.0,
        patient: bool = False,
    ) -> Any:
        """Call a method on copies, and see that it returns in time and leaves them alone.

        then: what to make of the result while the guard still stands; more: seconds beyond the limit of any call;
        patient: as of `deadline`.
        """
        if method in self._hung:
            raise Misbehaviour("CON-5", f"{self._hung[method]}, and is not called again")
        function = getattr(self.made, method, None)
        if not callable(function):
            raise Misbehaviour("CON-1", f"what build returned has no method {method}, which the claim promises")
        self.last = Call(method, arguments)
        sent = [_locked(x) if isinstance(x, np.ndarray) else x for x in arguments]
        try:
            result = guarded(method, self.seconds + more, lambda: then(function(*sent)), patient=patient)
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
        return np.array(value, subok=False)


def _locked(array: AnyArray) -> AnyArray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _described(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
