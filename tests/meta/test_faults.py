"""The fault catalogue: each fault fails the clauses that it names, and the right target fails none."""

from __future__ import annotations

from collections import Counter

import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import DType
from validation.checks.suite import checks
from validation.faults.catalogue import FAULTS
from validation.faults.fault import DTYPES, Fault
from validation.faults.matrix import failing, judged

CASES = [
    pytest.param(fault, dtype := fault.dtypes[place % len(fault.dtypes)], id=f"{fault.name}-{dtype}")
    for place, fault in enumerate(FAULTS)
]
"""Each fault in one of its formats, in turn: `python -m validation.faults --check` judges both, by every clause."""
SUITE_ITSELF = "the suite itself failed"


@pytest.mark.parametrize(("fault", "dtype"), CASES)
def test_fault_fails_the_clauses_that_it_names(fault: Fault, dtype: DType) -> None:
    """The clauses that a fault breaks are among those that fail, with no suite error."""
    # Whatever check a call is made in, it may break a rule of the contract.
    only = frozenset[str]() if any(clause.startswith("CON") for clause in fault.breaks) else fault.breaks
    outcomes = judged(fault.target(dtype), only)
    assert fault.breaks <= set(failing(outcomes))
    assert not [outcome.reason for outcome in outcomes if SUITE_ITSELF in outcome.reason]


def test_names_are_unique() -> None:
    """No two faults have the same name."""
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


def test_every_clause_is_tripped() -> None:
    """Every clause that has a check is broken by a fault that names it."""
    checked = {check.clause for check, _ in checks()}
    assert checked - set().union(*(fault.breaks for fault in FAULTS)) == set()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_has_a_source_and_clauses(fault: Fault) -> None:
    """A fault has a public source or is called plausible, breaks clauses that exist, and says what is meant."""
    assert "https://" in fault.seen or "plausible" in fault.seen
    assert fault.wrong
    assert fault.meant
    assert fault.breaks
    assert fault.breaks <= set(clauses())
    assert set(fault.dtypes) <= set(DTYPES)
    assert fault.dtypes
