"""The committed trials of the diagnosis meet their bars."""

from __future__ import annotations

import json

from validation.faults.catalogue import FAULTS
from validation.faults.diagnosis.__main__ import RECORD, summary
from validation.faults.diagnosis.trial import Trial

MADE = json.loads(RECORD.read_text(encoding="utf-8"))
TRIALS = [
    Trial(**{**one, **{name: tuple(one[name]) for name in ("faults", "first", "found")}}) for one in MADE["trials"]
]
ALONE = [trial for trial in TRIALS if len(trial.faults) == 1]
TWO = [trial for trial in TRIALS if len(trial.faults) == 2]


def test_single_faults_are_named_first() -> None:
    """At least 90 % of single faults are the first suspect, in both formats, with other parameters too."""
    counts = summary(ALONE, TWO)
    assert counts == MADE["summary"]
    assert counts["named first"] >= 0.9 * counts["that fail a check"] > 0
    assert counts["another named with confidence"] == 0
    assert {trial.dtype for trial in ALONE} == {"float32", "float64"}
    assert {trial.moved for trial in ALONE} == {False, True}


def test_no_pair_is_reported_as_one_fault_with_confidence() -> None:
    """Of at least 30 pairs of faults none has a confident answer."""
    assert len(TWO) >= 30
    assert not [trial for trial in TWO if trial.confident]


def test_trials_are_of_the_catalogue() -> None:
    """Every fault of the record is one of the catalogue."""
    assert {name for trial in TRIALS for name in trial.faults} <= {fault.name for fault in FAULTS}
