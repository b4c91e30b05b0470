"""A few lines of Python that repeat a call, and print what was expected of it, for readers of a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from refdiff.conformance.guard import Call
from refdiff.conformance.interface import Array, MinSNR, NoProcess, Times
from refdiff.conformance.loading import Member
from refdiff.conformance.outcome import Worst
from refdiff.conformance.step import Step

_LARGEST = 65
"""Numbers in an argument, beyond which a literal helps nobody: the times of 64 steps are 65."""


def reproducer(origin: str, member: Member, call: Call, example: int | None, rule: str = "") -> str:
    """Return code that makes the call again, with one example of its batch, or with the whole of it.

    What is too large to print is stood for by zeros of its shape. rule: the clause of the contract that the call
    broke, which the code shows.
    """
    # A row of a history, of the data, or of the times of a run, by itself repeats nothing.
    batch = None if call.method in ("ema", "fit", "sample") else example
    arguments = ", ".join(_literal(x, batch) for x in call.arguments)
    return "\n".join(
        (
            "import numpy as np",
            f"from refdiff.conformance import {', '.join(_imported(member, call))}",
            *_target(origin, member.expression),
            *_shown(f"built.{call.method}", arguments, rule),
        )
    )


def _imported(member: Member, call: Call) -> list[str]:
    """Return the names that the code may use, in order."""
    names = {"Chain", "Cosine", "Linear", "Own"}
    names |= {type(x).__name__ for x in call.arguments if isinstance(x, MinSNR | Step)}
    return sorted(names | ({"NoProcess"} if isinstance(member.process, NoProcess) else set()))


def _shown(method: str, arguments: str, rule: str) -> tuple[str, ...]:
    """Return the lines that make the call and print what it returns, or what breaks the rule."""
    call = f"{method}({arguments})"
    if rule == "CON-2":
        kind = 'getattr(result, "dtype", type(result)), getattr(result, "shape", "")'
        return (f"result = {call}", f"print(result, {kind})")
    if rule == "CON-3":
        before, after = (f'print("the arguments {when}:", *given)' for when in ("before", "afterwards"))
        return (f"given = [{arguments}]", before, f"{method}(*given)", after)
    if rule == "CON-4":
        return (f'print(*({call} for _ in range(2)), sep="\\n\\n")',)
    return (f"print({call})",)


def expecting(code: str, worst: Worst) -> str:
    """Return a reproducer that also prints what the comparison expected, beside what came."""
    at = ", ".join(f"{name}={value:.9g}" for name, value in worst.at.items())
    want = f"{worst.quantity} = {worst.want:.9g} within {worst.bound:.3g}"
    return saying(code, f"expected at {at}: {want}; the suite got {worst.got:.9g}")


def saying(code: str, sentence: str) -> str:
    """Return a reproducer that first prints a sentence: what follows may raise."""
    if not code:
        return ""
    lines = code.splitlines()
    built = next(i for i, line in enumerate(lines) if "built = target.build(" in line)
    return "\n".join((*lines[: built + 1], f"print({sentence!r})", *lines[built + 1 :]))


def _target(origin: str, process: str) -> tuple[str, str]:
    """Return the lines that make the target, which may be a program, and build a process."""
    if origin.startswith("$ "):
        return (
            "from refdiff.conformance.remote import Launch, Remote",
            f"target = Remote(Launch(command={origin[2:]!r})); built = target.build({process})",
        )
    module, _, attribute = origin.partition(":")
    return (
        f"from {module or 'your_module'} import {attribute or 'your_factory'} as factory",
        f"target = factory(); built = target.build({process})",
    )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Predicts:
    """A denoiser that returns a given prediction, records its inputs, and can be printed as one that prints them."""

    prediction: Array
    asked: list[tuple[Array, Any]] = field(default_factory=list)
    """The (x_t, t) of every call."""

    def __call__(self, x_t: Array, t: Times) -> Array:
        """Return the prediction, whatever x_t is."""
        self.asked.append((np.array(x_t), np.array(t)))
        return self.prediction.copy()


def _literal(value: object, example: int | None) -> str:
    if isinstance(value, Predicts):
        show = 'print("the denoiser is given", x_t, t)'
        return f"lambda x_t, t: {show} or {_literal(value.prediction, example)}"
    if not isinstance(value, np.ndarray):
        return repr(value)
    one = value if example is None or not value.shape else value[example : example + 1]
    if one.size > _LARGEST:
        return f"np.zeros({one.shape}, np.{one.dtype})"
    return f"np.array({one.tolist()}, np.{one.dtype})"
