"""The gallery shows what the suite says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from refdiff.conformance.clauses import clauses
from refdiff.conformance.interface import Claim
from validation.faults import record
from validation.faults.catalogue import named
from validation.faults.clean.target import EVERYTHING, CleanTarget
from validation.faults.fault import LINEAR
from validation.tools.gallery.curves import order
from validation.tools.gallery.exhibits import EXHIBITS, Exhibit
from validation.tools.gallery.page import drawn, plot, section

FOLDER = Path(__file__).parents[1] / "validation"
PAGE = (FOLDER / "gallery.md").read_text(encoding="utf-8")


def test_ten_bugs_of_the_catalogue() -> None:
    """There are ten, each with a plot."""
    assert len(EXHIBITS) == 10
    assert {path.stem for path in (FOLDER / "gallery").iterdir()} == {named(exhibit.fault).name for exhibit in EXHIBITS}


@pytest.mark.parametrize("number", range(1, len(EXHIBITS) + 1), ids=lambda n: EXHIBITS[n - 1].fault)
def test_section_is_what_the_suite_says_now(number: int) -> None:
    """Code, clauses and lines of the report are those of today."""
    assert "\n".join(section(number, EXHIBITS[number - 1])) in PAGE


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.fault)
def test_sentence_names_clauses_that_fail(exhibit: Exhibit) -> None:
    """A clause that the sentence says to fail does, by the kill matrix; one that it says to pass does too."""
    rows = [row for row in record.read().rows if row.fault == exhibit.fault]
    killed, passed = ({x for row in rows for x in getattr(row, name)} for name in ("killed_by", "passed"))
    for clause, verb in re.findall(r"([A-Z]{3}-\d+) (fails|passes|says)", exhibit.looks):
        assert clause in (passed if verb == "passes" else killed)
    assert {clauses()[clause].level for clause in killed} >= {"SHOULD" if "SHOULD" in exhibit.looks else "MUST"}


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.fault)
def test_plot_shows_an_error(exhibit: Exhibit) -> None:
    """The curve leaves 0, and the same curve is the same file."""
    curve = drawn(exhibit)
    assert np.nanmax(np.abs(curve.y)) > 1e-3
    assert plot(curve) == plot(curve)


def test_right_target_has_no_error() -> None:
    """A curve of the right target beside itself is 0, or falls as the order of its sampler says."""
    claim = Claim(**EVERYTHING, dtype="float64", processes=(LINEAR,))
    right = CleanTarget(claim).build(LINEAR)
    for exhibit in EXHIBITS:
        if LINEAR in named(exhibit.fault).processes:
            assert np.nanmax(np.abs(exhibit.measure(right, right).y)) < 1e-4  # of rounding, or of 10^5 times
    curve = order("heun")(right, right)
    assert np.polyfit(np.log(curve.x[2:]), np.log(curve.y[2:]), 1)[0] == pytest.approx(-2.0, abs=0.2)
