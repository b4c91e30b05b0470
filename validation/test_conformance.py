"""Chapter 12: does a target keep the rules of the contract (CON-1 to CON-5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refdiff.conformance.check import check
from refdiff.conformance.guard import Misbehaviour
from refdiff.conformance.interface import METHODS, Array, Chain, Times, Unsupported
from refdiff.conformance.reproducer import Predicts
from refdiff.conformance.subject import Subject


def _sample(subject: Subject) -> tuple[Times, Array, Array]:
    """Return five times, and data and noise for them."""
    rng, fmt = subject.rng(), subject.format
    if isinstance(subject.process, Chain):
        t: Times = rng.integers(1, len(subject.process.betas) + 1, size=5)
    else:
        t = fmt.rounded(rng.uniform(0.25, 0.75, size=5))
    return t, fmt.rounded(rng.standard_normal((5, 2))), fmt.rounded(rng.standard_normal((5, 2)))


def _calls(subject: Subject) -> dict[str, Callable[[], tuple[Array, ...]]]:
    """Return one call for each capability that this suite can exercise, by the name of its method."""
    t, x, y = _sample(subject)
    before = np.maximum(t - 1, 0) if isinstance(subject.process, Chain) else subject.format.rounded(t / 2)
    known: dict[str, Callable[[], tuple[Array, ...]]] = {
        "schedule": lambda: tuple(subject.built.coefficients(t).values()),
        "perturb": lambda: (subject.built.perturb(x, y, t),),
        "convert": lambda: (subject.built.convert(x, y, t, "eps", "x_0"),),
        "sde": lambda: (subject.built.drift(x, t), subject.built.diffusion(t)),
        "loss": lambda: (subject.built.loss(Predicts(y), "eps", x, y, t, "uniform"),),
        "times": lambda: _untyped(*subject.built.times(5, subject.seed)),
        "step": lambda: (subject.built.step(x, y, t, before, x, "ddim"),),
        "posterior": lambda: subject.built.posterior(x, y, t, before),
    }
    return {name: call for name, call in known.items() if name in subject.capabilities}


def _untyped(*arrays: Any) -> tuple[Array, ...]:
    """Return the arrays: those of a chain's times are int64."""
    return arrays


def _keeps(subject: Subject, *rules: str) -> None:
    """Exercise every capability, and raise only what breaks one of these rules, or that no call was served."""
    calls, refusals = _calls(subject), []
    for call in calls.values():
        try:
            call()
        except Misbehaviour as failure:
            if failure.clause in rules:
                raise
        except Unsupported as refusal:
            refusals.append(str(refusal))
    if calls and len(refusals) == len(calls):
        raise Unsupported("; ".join(dict.fromkeys(refusals)))


@check("CON-1", compares=False)
def test_methods_are_there(subject: Subject) -> None:
    """CON-1: what `build` returns has the methods of every claimed capability."""
    for capability in sorted(subject.capabilities):
        for method in METHODS[capability]:
            if not subject.built.has(method):
                raise Misbehaviour("CON-1", f"what build returned has no method {method}, which the claim promises")


@check("CON-2", compares=False)
def test_shapes_and_dtypes(subject: Subject) -> None:
    """CON-2: results have the dtype claimed and the shape that the call defines."""
    _keeps(subject, "CON-2")


@check("CON-3", compares=False)
def test_inputs_untouched(subject: Subject) -> None:
    """CON-3: a call leaves its inputs as they were."""
    _keeps(subject, "CON-3")


@check("CON-4", compares=False)
def test_same_call_same_result(subject: Subject) -> None:
    """CON-4: the same call gives the same result, to the bit."""
    for name, call in _calls(subject).items():
        try:
            first, second = call(), call()
        except (Misbehaviour, Unsupported):
            continue
        if [x.tobytes() for x in first] != [x.tobytes() for x in second]:
            raise Misbehaviour("CON-4", f"{METHODS[name][0]} gives another result when called again")  # type: ignore[index]  # the keys of _calls are capabilities


@check("CON-5", compares=False)
def test_calls_return(subject: Subject) -> None:
    """CON-5: a call on valid input returns in time and does not raise."""
    _keeps(subject, "CON-5")
