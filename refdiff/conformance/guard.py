"""Calls into a target that may do anything, each turned into a result or one clear line (CON-1 to CON-5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final, get_args

import numpy as np
import numpy.typing as npt

from refdiff.conformance.broken import AGAIN as AGAIN
from refdiff.conformance.calls import Callee as Callee
from refdiff.conformance.calls import ContractViolation as ContractViolation
from refdiff.conformance.calls import Local, Trained, described
from refdiff.conformance.calls import guarded as guarded
from refdiff.conformance.calls import one_line as one_line
from refdiff.conformance.formats import Format
from refdiff.conformance.interface import (
    Array,
    Denoiser,
    Parameterization,
    Quantity,
    Reduction,
    Times,
    Unsupported,
    Weight,
)
from refdiff.conformance.recorder import LARGEST, Answer, Recorded, Recorder, Watched
from refdiff.conformance.step import Step
from refdiff.errors import RefdiffError


@final
class NotClaimed(RefdiffError):
    """The target does not say that it has this."""


@final
@dataclass(slots=True)
class Call:
    """The last call, for the reproducer."""

    method: str = ""
    arguments: tuple[object, ...] = ()


@final
@dataclass(slots=True)
class Built:
    """Guarded access to the object that a target built for one process, with arrays of the claimed format."""

    made: object
    format: Format
    seconds: float
    is_chain: bool
    reduction: Reduction = "none"
    refusals: tuple[type[Exception], ...] = (NotImplementedError,)
    """Exceptions by which the library refuses."""
    contract: int = 1
    """Version of the contract that the object serves."""
    last: Call = field(default_factory=Call)
    calls: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By method, and of `step` by the name of each step too: how many calls were served, and how many refused."""
    recorder: Recorder = field(default_factory=Recorder)
    """Some of the calls, for a diagnosis."""
    _hung: dict[str, str] = field(default_factory=dict)
    """Calls that hung or ended the process, and how."""
    _names: frozenset[str] = frozenset()
    _fitted: dict[tuple[bytes, int, float], Callee] = field(default_factory=dict)
    _callee: Callee = field(init=False)

    def __post_init__(self) -> None:
        """Wrap the built object in the guard, if it lives in this process."""
        self._callee = self.made if isinstance(self.made, Callee) else Local(self.made, self.refusals)

    def coefficients(self, t: Times) -> dict[str, Array]:
        """Return the quantities that the target has at t, each shaped as t."""
        result = self.call("coefficients", t)
        if not isinstance(result, dict):
            raise ContractViolation("CON-2", f"expected coefficients to return a mapping, got {described(result)}")
        if not result:
            raise ContractViolation(
                "CON-2", "expected at least one coefficient, as the claim lists 'schedule', got none"
            )
        if (names := frozenset(map(str, result))) != (self._names or names):
            raise ContractViolation("CON-2", f"coefficients has {sorted(names)}, and had {sorted(self._names)} before")
        self._names = names
        if unknown := [name for name in result if name not in get_args(Quantity)]:
            raise ContractViolation(
                "CON-2", f"coefficients has {unknown[0]!r}, which is none of {', '.join(get_args(Quantity))}"
            )
        if self.is_chain and "beta" in result:
            raise ContractViolation("CON-2", "expected no 'beta' for a chain, which has no rate, got one")
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
            raise ContractViolation("CON-2", f"expected posterior to return (mean, variance), got {described(result)}")
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
        self, denoiser: Denoiser, prediction: Parameterization, x_0: Array, eps: Array, t: Times, weight: Weight
    ) -> Array:
        """Return the loss, reduced as the claim says: (batch,) sums or means over the event, or one number."""
        result = self.call("loss", denoiser, prediction, x_0, eps, t, weight)
        if self.reduction in ("batch_mean", "all_mean"):
            return self._array("loss", result, ())
        if self.reduction == "none" and getattr(result, "shape", None) == x_0.shape:
            return np.asarray(self._array("loss", result, x_0.shape).astype(np.float64).reshape(len(t), -1).sum(1))
        return self._array("loss", result, t.shape)

    def times(self, n: int, seed: int) -> tuple[Times, Array]:
        """Return n times, or indices, and n weights."""
        result = self.call("times", n, seed)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ContractViolation("CON-2", f"expected times to return (t, weight), got {described(result)}")
        if not self.is_chain:
            return self._array("times", result[0], (n,)), self._array("weight", result[1], (n,))
        k = result[0]
        if not isinstance(k, np.ndarray) or k.shape != (n,) or k.dtype != np.int64:
            got = f"{k.dtype} {k.shape}" if isinstance(k, np.ndarray) else described(k)
            raise ContractViolation("CON-2", f"expected times of a chain as int64 {(n,)}, got {got}")
        return k.copy(), self._array("weight", result[1], (n,))

    def density(self, t: Times) -> Array:
        """Return the declared density of the times, up to a constant factor, shaped as t."""
        return self._array("density", self.call("density", t), t.shape)

    def step(self, x_t: Array, value: Array, t: Times, s: Times, noise: Array, rule: Step) -> Array:
        """Return x_s, shaped as x_t; value: the prediction that the rule is given."""
        if self.contract == 1:
            return self._array("step", self.call("step", x_t, value, t, s, noise, rule.kind), x_t.shape)
        return self._array("step", self.call("step", x_t, value, t, s, noise, rule, kind=str(rule)), x_t.shape)

    def ema(self, decay: float, history: Array) -> Array:
        """Return the average after each row, shaped as history."""
        return self._array("ema", self.call("ema", decay, history), history.shape)

    def decays(self, decay: float, n: int) -> npt.NDArray[np.float64]:
        """Return d_1, ..., d_n of a declared warm-up."""
        found = self.call("decays", decay, n)
        if not isinstance(found, np.ndarray) or found.shape != (n,) or found.dtype != np.float64:
            got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else described(found)
            raise ContractViolation("CON-2", f"expected decays as float64 {(n,)}, got {got}")
        return np.array(found, subok=False)

    def guide(self, conditional: Array, unconditional: Array, scale: float) -> Array:
        """Return the guided prediction, shaped as the two."""
        return self._array("guide", self.call("guide", conditional, unconditional, scale), conditional.shape)

    def fit(self, data: Array, seed: int, seconds: float) -> Denoiser:
        """Return the denoiser that the target trains, guarded; the same arguments give the same denoiser."""
        key = (data.tobytes(), seed, seconds)
        if key not in self._fitted:
            # The machine may be busy, so that up to thirty times the seconds are allowed.
            made = self.call("fit", data, seed, seconds, more=30.0 * seconds)
            if isinstance(made, Callee):
                self._fitted[key] = made
            elif callable(made):
                self._fitted[key] = Local(Trained(made), self.refusals)
            else:
                raise ContractViolation(
                    "CON-2", f"expected fit to return a function of (x_t, t), got {described(made)}"
                )
        self.last = Call("fit", (data, seed, seconds))
        trained = self._fitted[key]

        def denoiser(x_t: Array, t: Times) -> Array:
            what = "the denoiser of fit"
            found = self._array(what, self._ask(trained, what, "denoiser", (x_t, t), self.seconds), x_t.shape)
            answers = (Answer(x_t, t, found),)
            self.recorder.note(Recorded(method="fit", arguments=(data, seed, seconds), answers=answers))
            return found

        return denoiser

    def grid(self, n: int) -> Times:
        """Return the times of a sampling run of n steps: floats, or indices; how many they are is judged (SMP-10)."""
        t, kind = self.call("grid", n), np.dtype(np.int64) if self.is_chain else self.format.storage
        if not isinstance(t, np.ndarray) or t.ndim != 1 or t.dtype != kind or t.size == 0:
            got = f"{t.dtype} {t.shape}" if isinstance(t, np.ndarray) else described(t)
            raise ContractViolation("CON-2", f"expected grid to return times, {kind} of shape {(n + 1,)}, got {got}")
        return t.copy() if self.is_chain else self._array("grid", t, t.shape)

    def sample(self, denoiser: Denoiser, x: Array, times: Times, seed: int, sampler: str) -> Array:
        """Return x at the last of the times, shaped as x."""
        return self._array("sample", self.call("sample", denoiser, x, times, seed, sampler), x.shape)

    def has(self, method: str) -> bool:
        """Return whether the built object has a method of this name."""
        return self._callee.has(method)

    def call(self, method: str, *arguments: object, more: float = 0.0, kind: str = "") -> Any:
        """Call a method on copies of the arguments. Raises ContractViolation on a timeout or if it changes them.

        more: seconds beyond the limit of any call; kind: a name under which the call is counted too.
        """
        if method not in self._hung and self.has(method):
            self.last = Call(method, arguments)
        given = tuple(Watched(x) if method in ("loss", "sample") and callable(x) else x for x in arguments)
        result, refused = None, "CON-5"
        try:
            result, refused = self._ask(self._callee, method, method, given, self.seconds + more), ""
        except Unsupported:
            self._count(method, kind, refused=1)
            refused = "Unsupported"
            raise
        except ContractViolation as error:
            self._count(method, kind, served=1)  # It answered, though not as the contract has it.
            refused = error.clause
            raise
        finally:
            if method != "fit":
                self._note(method, arguments, given, result, refused)
        self._count(method, kind, served=1)
        return result

    def _note(
        self, method: str, arguments: tuple[object, ...], given: tuple[object, ...], result: Any, refused: str
    ) -> None:
        """Record a call, unless its denoiser was called too often to keep all."""
        watched = [x for x in given if isinstance(x, Watched)]
        answers = tuple(answer for x in watched for answer in x.answers)
        plain = tuple(None if callable(x) else x for x in arguments)
        if sum(x.numbers for x in watched) <= LARGEST:
            self.recorder.note(
                Recorded(method=method, arguments=plain, result=result, refused=refused, answers=answers)
            )

    def _count(self, *names: str, served: int = 0, refused: int = 0) -> None:
        for name in filter(None, names):
            before = self.calls.get(name, (0, 0))
            self.calls[name] = (before[0] + served, before[1] + refused)

    def _ask(self, callee: Callee, what: str, method: str, arguments: tuple[object, ...], seconds: float) -> Any:
        """Make the call, unless the same call hung or ended the process before."""
        if what in self._hung:
            raise ContractViolation("CON-5", f"{self._hung[what]}{AGAIN}", method=method)
        try:
            return callee.ask(what, method, arguments, seconds)
        except ContractViolation as error:
            error.method = error.method or method
            if error.fatal:
                self._hung[what] = str(error)
            raise

    def _array(self, what: str, value: object, shape: tuple[int, ...]) -> Array:
        if not isinstance(value, np.ndarray):
            raise ContractViolation(
                "CON-2", f"expected {what} as a numpy.ndarray of shape {shape}, got {described(value)}"
            )
        if value.shape != shape:
            raise ContractViolation("CON-2", f"expected {what} of shape {shape}, got {value.shape}")
        if value.dtype != self.format.storage:
            raise ContractViolation("CON-2", f"expected {what} of dtype {self.format.storage}, got {value.dtype}")
        if not self.format.holds(value):
            raise ContractViolation("CON-2", f"expected {what} with values of {self.format.name}, got others")
        return np.array(value, subok=False)
