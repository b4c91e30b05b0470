"""What a failure of losses may follow from: a weight that is wrong, and never what is a consequence of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.loss_roots import WEIGHTS, weights_in
from refdiff.conformance.report import Report, assemble, described
from validation.faults.catalogue import FAULTS, named
from validation.faults.clean.target import EVERYTHING, CleanTarget
from validation.faults.fault import Fault
from validation.faults.matrix import judged

pytestmark = pytest.mark.usefixtures("unhooked")
"""These tests are about the suite, so they run refdiff without runtime type checks, which is several times faster."""

_RECORD = Path(__file__).parents[2] / "validation" / "records" / "faults.json"
KILLS = {
    row["fault"]: row["killed_by"]
    for row in json.loads(_RECORD.read_text(encoding="utf-8"))["rows"]
    if row["dtype"] == "float32"
}
"""By fault: the clauses that fail on it, by the record; the others need not be judged here."""
OF_WEIGHTS = [fault for fault in FAULTS if fault.name.startswith("weight-")]
_CLAUSE_OF = {"of_uniform": "LOS-1", **{f"of_{weight}": clause for weight, clause in WEIGHTS.items()}}
ALLOWED = {"weight-weight-of-mean-one": {"NOT-2"}, "weight-names-swapped": {"LOS-7", "LOS-8"}}
"""Further roots: a weight that depends on the batch breaks NOT-2 by itself, and two weights are wrong."""


def roots(fault: Fault) -> set[str]:
    """Return the clauses that a wrong weight makes wrong by itself."""
    formula = {_CLAUSE_OF[fault.formula]} if fault.formula in _CLAUSE_OF else set()
    return formula | ALLOWED.get(fault.name, set())


def report(fault: Fault, only: Iterable[str], *, wide: bool = False) -> Report:
    """Return the report on a fault, in some clauses; wide: under a claim of every weight."""
    claim = fault.claim("float32")
    if wide:
        claim = replace(claim, weights=EVERYTHING["weights"])
    found = judged(CleanTarget(claim, {fault.formula: fault.by}), only)
    return assemble(clauses().values(), found, target=described(claim, fault.name))


def causes(found: Report) -> dict[str, set[str]]:
    """Return by clause that fails what it may follow from."""
    return {row.clause.id: {cause.clause for cause in row.causes} for row in found.rows if row.status == "fail"}


@pytest.mark.parametrize("fault", OF_WEIGHTS, ids=lambda fault: fault.name)
def test_wrong_weight_is_the_root(fault: Fault) -> None:
    """Where one weight is wrong, every failure that may follow from another names the clause of the weight alone."""
    found = causes(report(fault, KILLS[fault.name]))
    assert set().union(*found.values()) <= roots(fault)
    assert any(not found[clause] for clause in roots(fault) & set(found))
    followed = {clause for clause in found if found[clause]}
    assert followed >= set(found) - roots(fault) - {"LOS-2"}
    assert "LOS-2" not in found or found["LOS-2"] or fault.formula == "of_uniform"


@pytest.mark.parametrize(("name", "root"), [("weight-eps-weight-on-v", "LOS-8"), ("weight-inverse-snr-on-v", "LOS-7")])
def test_wrong_weight_among_others_is_the_root(name: str, root: str) -> None:
    """The same under a claim of all weights, of which one is wrong."""
    only = ["LOS-1", "LOS-2", "LOS-3", "LOS-5", "LOS-7", "LOS-8", "LOS-9", "LOS-16"]
    found = causes(report(named(name), only, wide=True))
    assert len(found) > 2
    assert {clause for clause in found if not found[clause]} == {root}
    assert set().union(*found.values()) == {root}


@pytest.mark.parametrize("name", ["loss-v-negated", "loss-half-not-declared", "loss-mean-for-sum"])
def test_wrong_loss_is_the_root_of_wrong_weights(name: str) -> None:
    """Where the loss or its reduction is wrong with every weight, the weights follow, and LOS-1 and LOS-2 do not."""
    found = causes(report(named(name), ["LOS-1", "LOS-2", "LOS-7", "LOS-8", "LOS-17"], wide=True))
    assert found["LOS-1"] == found["LOS-2"] == set()
    assert found["LOS-7"] == found["LOS-8"] == found["LOS-17"] == {"LOS-1"}


@pytest.mark.parametrize(
    ("line", "weights"),
    [
        ("uniform eps loss at t=0.5 of p: got 1, expected 2", {"uniform"}),
        ("min_snr(gamma=2.5) v loss of the truth at t=0.5", {"min_snr"}),
        ("snr_plus_one x_0 loss against snr eps loss at t=0.5", {"snr_plus_one", "snr"}),
        ("x_t given to the denoiser of eps at t=0.5", set()),
    ],
)
def test_weights_are_read_from_what_was_compared(line: str, weights: set[str]) -> None:
    """A sentence names the weights of its losses."""
    assert weights_in(line) == weights
