"""A right target that refuses some calls fails no MUST clause, and does not pass a clause by refused calls (CON-5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Cosine, Linear, Parameterization, Rule, Weighting
from refdiff.conformance.weightings import FIRST
from tests.meta.targets.refusing import Refusing, musts, outcomes

pytestmark = pytest.mark.usefixtures("unhooked")
"""These tests are about the suite, so they run refdiff without runtime type checks, which is several times faster."""

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
SHORT = Chain(betas=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75))
PREDICTIONS = get_args(Parameterization)
PAIRS = [(source, to) for source in PREDICTIONS for to in PREDICTIONS if source != to]
ONLY = {("eps", "x_0"): "PAR-1", ("x_0", "eps"): "PAR-2"}
"""Pairs of parameterizations that a clause consists of."""
PARTS = ("PAR-1", "PAR-2", "PAR-3", "PAR-4", "PAR-6", "PAR-7", "CON")
ON_GRIDS = ("LOS-3", "LOS-5", "LOS-7", "LOS-8", "LOS-9", "LOS-10")
"""Clauses of losses at fixed times; those at random times use the same calls, and take longer."""


def refused(found: list[Any]) -> bool:
    """Return whether the report shows a refusal."""
    return any("refused for the test" in line for outcome in found for line in (*outcome.skipped, outcome.reason))


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_refused_conversion(pair: tuple[str, str]) -> None:
    """A refused pair fails nothing; a clause that consists of this pair is unsupported."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == "convert" and a[3:] == pair), PARTS)
    assert musts(found) == {}
    assert refused(found)
    for outcome in found:
        assert outcome.clause != ONLY.get(pair) or outcome.status == "unsupported"


@pytest.mark.parametrize("weight", FIRST)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_refused_prediction_with_a_weight(prediction: str, weight: str) -> None:
    """A refused loss, of one prediction and one weight, fails nothing."""

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        return method == "loss" and (arguments[1], arguments[5]) == (prediction, weight)

    found = outcomes(Refusing((LINEAR,), refuse), ON_GRIDS)
    assert musts(found) == {}
    assert refused(found)


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_refused_prediction(prediction: str, *, only: bool) -> None:
    """If one prediction is refused, or all but one, the losses pass by the others."""
    processes = (Cosine(s=0.008), SHORT)
    found = outcomes(Refusing(processes, lambda m, a: m == "loss" and (a[1] != prediction) == only), ("LOS", "CON"))
    assert musts(found) == {}
    assert refused(found)
    judged = {outcome.clause for outcome in found if outcome.status == "pass"}
    assert judged >= {"LOS-1", "LOS-2", "LOS-4", "LOS-7", "LOS-8"}


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("weight", get_args(Weighting))
def test_refused_weight(weight: str, *, only: bool) -> None:
    """If one weight is refused, of any gamma, its clause is unsupported; if all others are, its clause passes."""

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        return method == "loss" and (str(arguments[5]).partition("(")[0] != weight) == only

    found = outcomes(Refusing((LINEAR,), refuse), ("LOS", "CON"))
    assert musts(found) == {}
    clauses = {"inverse_snr": 7, "min_snr": 8, "likelihood": 10, "snr": 16, "snr_plus_one": 17}
    clause = f"LOS-{clauses[weight]}" if weight in clauses else None
    statuses = {outcome.status for outcome in found if outcome.clause == clause}
    assert clause is None or statuses == {"pass" if only else "unsupported"}


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_refused_rank_of_events(rank: int) -> None:
    """Refused events of one rank fail nothing."""

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        data = arguments[2] if method == "loss" else arguments[0] if arguments else None
        return method != "coefficients" and isinstance(data, np.ndarray) and data.ndim == 1 + rank

    found = outcomes(Refusing((LINEAR,), refuse), ("NOT", "MAR-1", "MAR-4", "MAR-5", "PAR-1", "LOS-1", "LOS-2"))
    assert musts(found) == {}
    assert refused(found)


@pytest.mark.parametrize("kind", [Linear, Cosine, Chain])
def test_refused_kind_of_process(kind: type) -> None:
    """If one kind of process is refused, the clause about it is unsupported, and the other kinds are judged."""
    processes = (LINEAR, Cosine(s=0.008), SHORT)
    found = outcomes(Refusing(processes, lambda m, a: m == "build" and isinstance(a[0], kind)), ("SCH", "MAR-1", "DIS"))
    assert musts(found) == {}
    about = {Linear: "SCH-2", Cosine: "SCH-5", Chain: "DIS-1"}[kind]
    assert {outcome.status for outcome in found if outcome.clause == about} == {"unsupported"}


@pytest.mark.parametrize("rule", get_args(Rule))
def test_refused_sampler(rule: str) -> None:
    """If the steps of one sampler are refused, the rules of the contract are judged by another, and pass."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == "step" and a[5] == rule), ("CON",))
    assert {outcome.status for outcome in found} == {"pass"}


@pytest.mark.parametrize("method", ["coefficients", "perturb", "convert", "drift", "diffusion", "loss", "posterior"])
def test_refused_method(method: str) -> None:
    """If one method refuses every call, nothing fails."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == method), ("NOT", "SCH", "MAR-3", "SDE", "PAR-5", "LOS-4"))
    assert musts(found) == {}
    assert refused(found)


ENDS: dict[str, Callable[[Any], bool]] = {
    "t = 0": lambda t: bool((np.asarray(t) == 0).any()),
    "t = 1": lambda t: bool((np.asarray(t) == 1).any()),
}


@pytest.mark.parametrize("end", ENDS)
def test_refused_end_of_time(end: str) -> None:
    """If t = 0 or t = 1 is refused, all clauses pass by the other times, except those about an end."""
    place = {"coefficients": 0, "perturb": 2, "convert": 2, "drift": 1, "diffusion": 0, "loss": 4}

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        return method in place and ENDS[end](arguments[place[method]])

    found = outcomes(Refusing((LINEAR,), refuse), ("SCH", "MAR-1", "MAR-4", "SDE-1", "PAR-3", "LOS-1", "LOS-8"))
    assert musts(found) == {}
    assert refused(found)
    judged = [outcome for outcome in found if outcome.status != "not_claimed"]  # some checks are of other processes
    assert {outcome.status for outcome in judged if outcome.clause not in ("SCH-1", "SCH-4", "SCH-5")} == {"pass"}
