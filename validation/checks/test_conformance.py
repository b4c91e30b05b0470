"""Chapter 12: does a target keep the rules of the contract (CON-1 to CON-5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from refdiff.conformance.case import Case
from refdiff.conformance.check import ANY, check
from refdiff.conformance.guard import ContractViolation
from refdiff.conformance.interface import (
    BARE,
    METHODS,
    Array,
    Capability,
    NoProcess,
    Sampler,
    Times,
    Unsupported,
    Weight,
)
from refdiff.conformance.predictions import PREDICTIONS, converts
from refdiff.conformance.reproducer import Predicts

from ..expected.conversions import BY_ALPHA, BY_SIGMA, TERMS
from .grids import event_of, middle
from .losses import gammas
from .runs import samplers_of
from .serving import label

Kind = TypeVar("Kind")


def _sample(case: Case, key: int) -> tuple[Times, Times, Array, Array]:
    """Return five times, an earlier one for each, and data and noise for them; key: another one, other numbers."""
    rng, fmt = np.random.default_rng([case.seed, key]) if key else case.rng(), case.format
    share = rng.uniform(0.25, 0.75, size=5)
    t = middle(case, share)
    before: Times = t - 1 if case.steps else middle(case, share / 2.0)
    event = event_of(case, (2,))
    return t, before, fmt.rounded(rng.standard_normal((5, *event))), fmt.rounded(rng.standard_normal((5, *event)))


def _calls(case: Case, key: int = 0) -> dict[str, Callable[[], tuple[Array, ...]]]:
    """Return one call for each capability that this suite can exercise, by its name; key: another one, other inputs."""
    t, s, x, y = _sample(case, key)
    built = case.built
    # Without a divisor first: at the times of some processes alpha or sigma is 0 in the format.
    pairs = sorted((p for p in TERMS if converts(case.claim, p)), key=lambda pair: pair in BY_ALPHA | BY_SIGMA)
    weights: tuple[Weight, ...] = (*(w for w in case.claim.weights if not isinstance(w, type)), *gammas(case))
    kinds = [(prediction, weight) for weight in weights for prediction in case.claim.predictions or PREDICTIONS]
    order = ("ddim", "ddpm", "em", "ode")
    steps = sorted(case.claim.steps, key=lambda step: (order.index(step.kind), step.prediction != "eps"))
    known: dict[str, Callable[[], tuple[Array, ...]]] = {
        "schedule": lambda: tuple(built.coefficients(t).values()),
        "perturb": lambda: (built.perturb(x, y, t),),
        "convert": lambda: _first(pairs, lambda pair: built.convert(x, y, t, *pair)),
        "sde": lambda: (built.drift(x, t), built.diffusion(t)),
        "loss": lambda: _first(kinds, lambda kind: built.loss(Predicts(y), kind[0], x, y, t, kind[1])),
        "times": lambda: _untyped(*built.times(5, case.seed)),
        "step": lambda: _first(steps, lambda step: built.step(x, y, t, s, x, step)),
        "posterior": lambda: built.posterior(x, y, t, s),
        "grid": lambda: _untyped(_grid(case)),
        "sample": lambda: _first(samplers_of(case), lambda sampler: _run(case, sampler, t, s, x, y)),
        "ema": lambda: (built.ema(0.9, x.reshape(len(t), -1)),),
        "guide": lambda: (built.guide(x, y, 2.0),),
    }
    return {name: call for name, call in known.items() if name in asked_of(case)}


def asked_of(case: Case) -> frozenset[Capability]:
    """Return the claimed capabilities that the process has to serve: without a process, those that need none."""
    return case.capabilities & BARE if isinstance(case.process, NoProcess) else case.capabilities


def _run(case: Case, sampler: Sampler, t: Times, s: Times, x: Array, y: Array) -> Array:
    """Return the result of a run whose denoiser predicts y."""
    pair: Times = np.concatenate([t[:1], s[:1]])
    times = _grid(case) if sampler.times == "grid" else pair
    return case.built.sample(Predicts(y), x, times, case.seed, sampler.name)


def _grid(case: Case) -> Times:
    """Return a grid of two steps, or of as many as a chain has, if it has fewer or the library refuses two."""
    counts = [n for n in (2, case.steps) if n and not 0 < case.steps < n]
    (grid,) = _first(counts, lambda n: _untyped(case.built.grid(n))[0])
    return grid


def _first(kinds: Sequence[Kind], call: Callable[[Kind], Array]) -> tuple[Array, ...]:
    """Return the result of the first kind that is served. Raises Unsupported if none is."""
    refusals: list[str] = []
    for kind in kinds:
        try:
            return (call(kind),)
        except Unsupported as refusal:
            refusals.append(f"{label(kind)}: {refusal}")
    raise Unsupported("; ".join(refusals))


def _untyped(*arrays: Any) -> tuple[Array, ...]:
    """Return the arrays: those of a chain's times are int64."""
    return arrays


def _keeps(case: Case, *rules: str) -> None:
    """Exercise every capability, and record only what breaks one of these rules; raise if no call was served.

    After a hang or the end of the process no more is called: the checks of other clauses call the rest.
    """
    calls, refusals = _calls(case), []
    for call in calls.values():
        try:
            call()
        except ContractViolation as failure:
            if failure.clause not in rules:
                continue
            if failure.fatal:
                raise
            case.breaks(failure)
        except Unsupported as refusal:
            refusals.append(str(refusal))
    if calls and len(refusals) == len(calls):
        raise Unsupported("; ".join(dict.fromkeys(refusals)))


@check("CON-1", on=ANY, compares=False)
def test_methods_are_there(case: Case) -> None:
    """CON-1: what `build` returns has the methods of every claimed capability."""
    for capability in sorted(asked_of(case)):
        for method in METHODS[capability]:
            if not case.built.has(method):
                raise ContractViolation(
                    "CON-1", f"the claim lists {method!r}, but build() returned an object without it"
                )


@check("CON-2", on=ANY, compares=False)
def test_shapes_and_dtypes(case: Case) -> None:
    """CON-2: results have the dtype claimed and the shape that the call defines."""
    _keeps(case, "CON-2")


@check("CON-3", on=ANY, compares=False)
def test_inputs_untouched(case: Case) -> None:
    """CON-3: a call leaves its inputs as they were."""
    _keeps(case, "CON-3")


@check("CON-4", on=ANY, compares=False)
def test_same_call_same_result(case: Case) -> None:
    """CON-4: the same call gives the same result, to the bit, after a call with other inputs too."""
    others = _calls(case, key=1)
    for name, call in _calls(case).items():
        try:
            first = call()
            with suppress(ContractViolation, Unsupported):  # what comes between is judged elsewhere
                others[name]()
            second = call()
        except (ContractViolation, Unsupported):
            continue
        if [x.tobytes() for x in first] != [x.tobytes() for x in second]:
            raise ContractViolation("CON-4", f"{METHODS[name][0]} gives another result when called again")  # type: ignore[index]  # the keys of _calls are capabilities


@check("CON-5", on=ANY, compares=False)
def test_calls_return(case: Case) -> None:
    """CON-5: a call on valid input returns in time and does not raise."""
    _keeps(case, "CON-5")
