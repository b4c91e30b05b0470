"""A right library that refuses one thing fails no MUST clause, and does not pass by what it refused (CON-5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from refdiff.conformance.interface import Chain, Cosine, Linear, Parameterization, Rule, Weighting
from tests.meta.targets.refusing import Refusing, musts, outcomes

pytestmark = pytest.mark.usefixtures("unhooked")
"""Here the suite is tested, and not the types of what it judges: without them refdiff is several times faster."""

LINEAR = Linear(beta_min=0.1, beta_max=20.0)
SHORT = Chain(betas=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75))
PREDICTIONS = get_args(Parameterization)
PAIRS = [(source, to) for source in PREDICTIONS for to in PREDICTIONS if source != to]
ONLY = {("eps", "x_0"): "PAR-1", ("x_0", "eps"): "PAR-2"}
"""Pairs that are the whole of a clause."""
PARTS = ("PAR-1", "PAR-2", "PAR-3", "PAR-4", "PAR-6", "PAR-7", "CON")
ON_GRIDS = ("LOS-3", "LOS-5", "LOS-7", "LOS-8", "LOS-9", "LOS-10")
"""Losses that are asked at certain times; those that are drawn take the same way to be served, and longer."""


def refused(found: list[Any]) -> bool:
    """Say whether a refusal is shown."""
    return any("refused for the test" in line for outcome in found for line in (*outcome.skipped, outcome.reason))


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_a_pair(pair: tuple[str, str]) -> None:
    """Each conversion is refused in turn."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == "convert" and a[3:] == pair), PARTS)
    assert musts(found) == {}
    assert refused(found)
    for outcome in found:
        assert outcome.clause != ONLY.get(pair) or outcome.status == "unsupported"


@pytest.mark.parametrize("weight", get_args(Weighting))
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_prediction_with_a_weight(prediction: str, weight: str) -> None:
    """Each loss is refused in turn."""

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        return method == "loss" and (arguments[1], arguments[5]) == (prediction, weight)

    found = outcomes(Refusing((LINEAR,), refuse), ON_GRIDS)
    assert musts(found) == {}
    assert refused(found)


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_prediction(prediction: str, *, only: bool) -> None:
    """Each prediction is refused in turn, and then all but that."""
    processes = (Cosine(s=0.008), SHORT)
    found = outcomes(Refusing(processes, lambda m, a: m == "loss" and (a[1] != prediction) == only), ("LOS", "CON"))
    assert musts(found) == {}
    assert refused(found)
    judged = {outcome.clause for outcome in found if outcome.status == "pass"}
    assert judged >= {"LOS-1", "LOS-2", "LOS-4", "LOS-7", "LOS-8"}


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("weight", get_args(Weighting))
def test_a_weight(weight: str, *, only: bool) -> None:
    """Each weight is refused in turn, and then all but that."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == "loss" and (a[5] != weight) == only), ("LOS", "CON"))
    assert musts(found) == {}
    clause = {"inverse_snr": "LOS-7", "min_snr": "LOS-8", "likelihood": "LOS-10"}.get(weight)
    statuses = {outcome.status for outcome in found if outcome.clause == clause}
    assert clause is None or statuses == {"pass" if only else "unsupported"}


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_rank_of_events(rank: int) -> None:
    """Events of each rank are refused in turn."""

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        data = arguments[2] if method == "loss" else arguments[0] if arguments else None
        return method != "coefficients" and isinstance(data, np.ndarray) and data.ndim == 1 + rank

    found = outcomes(Refusing((LINEAR,), refuse), ("NOT", "MAR-1", "MAR-4", "MAR-5", "PAR-1", "LOS-1", "LOS-2"))
    assert musts(found) == {}
    assert refused(found)


@pytest.mark.parametrize("kind", [Linear, Cosine, Chain])
def test_a_process(kind: type) -> None:
    """Each kind of process is refused in turn: the others are judged, and that is shown."""
    processes = (LINEAR, Cosine(s=0.008), SHORT)
    found = outcomes(Refusing(processes, lambda m, a: m == "build" and isinstance(a[0], kind)), ("SCH", "MAR-1", "DIS"))
    assert musts(found) == {}
    about = {Linear: "SCH-2", Cosine: "SCH-5", Chain: "DIS-1"}[kind]
    assert {outcome.status for outcome in found if outcome.clause == about} == {"unsupported"}


@pytest.mark.parametrize("rule", get_args(Rule))
def test_a_rule(rule: str) -> None:
    """Each rule of a step is refused in turn: the contract's own rules are judged by another."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == "step" and a[5] == rule), ("CON",))
    assert {outcome.status for outcome in found} == {"pass"}


@pytest.mark.parametrize("method", ["coefficients", "perturb", "convert", "drift", "diffusion", "loss", "posterior"])
def test_a_method(method: str) -> None:
    """Each method refuses every call in turn: what needs it is not judged, and nothing fails."""
    found = outcomes(Refusing((LINEAR,), lambda m, a: m == method), ("NOT", "SCH", "MAR-3", "SDE", "PAR-5", "LOS-4"))
    assert musts(found) == {}
    assert refused(found)


ENDS: dict[str, Callable[[Any], bool]] = {
    "t = 0": lambda t: bool((np.asarray(t) == 0).any()),
    "t = 1": lambda t: bool((np.asarray(t) == 1).any()),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end(end: str) -> None:
    """Either end of time is refused: the rest is judged, in every clause but those about an end."""
    place = {"coefficients": 0, "perturb": 2, "convert": 2, "drift": 1, "diffusion": 0, "loss": 4}

    def refuse(method: str, arguments: tuple[Any, ...]) -> bool:
        return method in place and ENDS[end](arguments[place[method]])

    found = outcomes(Refusing((LINEAR,), refuse), ("SCH", "MAR-1", "MAR-4", "SDE-1", "PAR-3", "LOS-1", "LOS-8"))
    assert musts(found) == {}
    assert refused(found)
    assert {outcome.status for outcome in found if outcome.clause not in ("SCH-1", "SCH-4", "SCH-5")} == {"pass"}
