"""One call of a target's code, turned into its result or into one clear line (CON-1, CON-3, CON-5).

Used by the suite for a target in its own process, and by `refdiff.conformance.host` for one in another: the rules are
evaluated beside the target, wherever that is.
"""

from __future__ import annotations

import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, final

import numpy as np
import numpy.typing as npt

from refdiff.conformance.deadline import Overrun, deadline
from refdiff.conformance.interface import Unsupported
from refdiff.errors import RefdiffError

AnyArray = npt.NDArray[Any]
Refusals = tuple[type[Exception], ...]
REFUSALS: Refusals = (NotImplementedError,)
"""Default of `Claim.refusals`."""


@final
class ContractViolation(RefdiffError):
    """A target violated a rule of the contract."""

    def __init__(self, clause: str, cause: str, *, fatal: bool = False, method: str = "") -> None:
        """Store the clause, the cause, whether repeating the same call would be pointless, and the method."""
        super().__init__(cause)
        self.clause = clause
        """The rule that was broken."""
        self.fatal = fatal
        """Whether the call hung, or ended the process."""
        self.method = method
        """The method that was called; empty where it is not known."""


_LONGEST = 300
"""Characters of somebody else's message that a line of ours repeats."""


def printable(text: str, longest: int = _LONGEST) -> str:
    """Return text in one line of bounded length, with what a terminal might obey written as escapes."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: longest + 1])
    return line if len(line) <= longest else f"{line[:longest]}..."


def one_line(error: BaseException) -> str:
    """Return the kind of an exception and the first line of what it says."""
    try:
        text = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001  # an exception that cannot say what it is
        text = []
    return printable(f"{type(error).__name__}: {text[0]}" if text else type(error).__name__)


def hidden(refusal: BaseException, refusals: Refusals, ambient: BaseException | None) -> BaseException | None:
    """Return the exception that a refusal hides, or None (CON-5).

    A refusal hides an exception if it was raised while that one was being handled, `from None` or not, unless it was
    raised from a type by which the library itself refuses. ambient: what was being handled before the call.
    """
    cause, context = refusal.__cause__, refusal.__context__
    if cause is not None and isinstance(cause, refusals):
        return None
    error = cause if cause is not None else context
    if error is None or error is ambient:
        return None
    return hidden(error, refusals, ambient) if isinstance(error, Unsupported) else error


def guarded(
    what: str, seconds: float | None, call: Callable[[], Any], clause: str = "CON-5", refusals: Refusals = REFUSALS
) -> Any:
    """Return call(), or raise ContractViolation under `clause` if it raises or outlasts the limit; None is no limit.

    Unsupported and KeyboardInterrupt pass through. Warnings and NumPy's floating-point errors are the
    target's affair, whatever the filters of the session are.
    """
    started = time.monotonic()
    ambient = sys.exc_info()[1]
    late = ContractViolation("CON-5", f"{what} did not return within {seconds or 0.0:g} s", fatal=True)
    try:
        limit = nullcontext() if seconds is None else deadline(seconds)
        with limit, warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = call()
    except KeyboardInterrupt:
        raise
    except Unsupported as refusal:
        reason = one_line(refusal).removeprefix("Unsupported: ")
        if error := hidden(refusal, refusals, ambient):
            raise ContractViolation(
                "CON-5",
                f"{what} raised Unsupported while it handled {one_line(error)}; a refusal hides no exception, but one "
                f"it is raised `from`, of the claim's refusals ({', '.join(kind.__name__ for kind in refusals)})",
            ) from None
        raise Unsupported(reason) from None
    except Overrun:
        raise late from None
    except BaseException as error:  # noqa: BLE001  # SystemExit and pytest's own outcomes are BaseExceptions too
        if isinstance(error, ValueError) and str(error) in _READ_ONLY:
            raise ContractViolation("CON-3", f"{what} writes to its input ({one_line(error)})") from None
        hint = "; for a call that is not served, raise Unsupported" if isinstance(error, NotImplementedError) else ""
        raise ContractViolation(clause, f"{what} raised {one_line(error)}{hint}") from None
    if seconds is not None and time.monotonic() - started > seconds + 1.0:
        raise late  # It swallowed the alarm, and came back in its own time.
    return result


_READ_ONLY = ("assignment destination is read-only", "output array is read-only")
"""Message of NumPy's error on writing to a read-only array."""


class Callee(ABC):
    """Object of a target whose methods are called, in this process or another."""

    @abstractmethod
    def has(self, method: str) -> bool:
        """Say whether it has a method of this name."""

    @abstractmethod
    def ask(self, what: str, method: str, arguments: Sequence[object], seconds: float | None) -> Any:
        """Return what the method returns, its arguments being left as they were.

        what: the call, in messages. Raises Unsupported, ContractViolation (CON-1, CON-3, CON-5).
        """


@final
class Local(Callee):
    """An object of this process, as a callee."""

    def __init__(self, made: object, refusals: Refusals = REFUSALS) -> None:
        """Take what a target made, and the exceptions by which its library refuses."""
        self.made = made
        self.refusals = refusals

    def has(self, method: str) -> bool:
        """Say whether it has a method of this name."""
        return callable(self._method(method))

    def ask(self, what: str, method: str, arguments: Sequence[object], seconds: float | None) -> Any:
        """Call the method on locked copies, and see that it returns in time and leaves them alone."""
        function = self._method(method)
        if not callable(function):
            raise ContractViolation("CON-1", f"the claim lists {method!r}, but build() returned an object without it")
        sent = [_locked(x) if isinstance(x, np.ndarray) else x for x in arguments]
        result = guarded(what, seconds, lambda: _settled(method, function(*sent)), refusals=self.refusals)
        for position, (before, after) in enumerate(zip(arguments, sent, strict=True), start=1):
            if isinstance(before, np.ndarray) and before.tobytes() != np.asarray(after).tobytes():
                raise ContractViolation("CON-3", f"{what} changed its argument number {position} in place")
        return result

    def _method(self, method: str) -> Any:
        try:
            return getattr(self.made, method, None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a property may do anything
            raise ContractViolation("CON-5", f"reading {method} raised {one_line(error)}", method=method) from None


@final
class Trained:
    """The function that `fit` returned, as an object with one method."""

    def __init__(self, denoiser: Callable[..., Any]) -> None:
        """Take the function."""
        self.denoiser = denoiser


@final
class Stranger:
    """A value of another process that is none of the contract's: its type, in words."""

    def __init__(self, kind: str) -> None:
        """Take the name of the type."""
        self.kind = kind


def described(value: object) -> str:
    """Return the type of a value, in words."""
    if isinstance(value, Stranger):
        return value.kind
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _settled(method: str, result: object) -> object:
    """Return a result with what is lazy or odd in it made plain, while the guard still stands."""
    if method == "coefficients" and isinstance(result, Mapping):
        return dict(result)
    if method == "loss" and isinstance(result, np.generic):
        return np.asarray(result)
    return result


def _locked(array: AnyArray) -> AnyArray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
