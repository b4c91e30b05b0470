"""Wrong variants fail the clauses that they break; they may fail others too."""

from __future__ import annotations

import pytest

from tests.meta import test_blind_spots, test_judge
from tests.meta.variants.family import WRONG
from tests.meta.variants.judging import SUITE_ITSELF, failing, judged
from tests.meta.variants.variant import Variant
from validation.faults.catalogue import FAULTS

SEED = 0


@pytest.mark.parametrize("variant", WRONG, ids=lambda variant: variant.name)
def test_wrong_variant_breaks_its_clauses(variant: Variant) -> None:
    """The clauses that its fault breaks are among those that fail, and there is no suite error."""
    outcomes = judged(variant, SEED)
    failed = failing(outcomes) | failing(outcomes, "SHOULD")
    assert variant.breaks <= set(failed), failed
    assert not [o.reason for o in outcomes if SUITE_ITSELF in o.reason]


def test_wrong_targets_cover_every_chapter() -> None:
    """There are at least 60 wrong targets, in this folder and in the fault catalogue, for every chapter with checks."""
    older = [clauses for _, clauses in test_judge.WRONG.values()]
    older += [{clause} for _, clause in test_blind_spots.FAULTS.values()]
    older += [set(fault.breaks) for fault in FAULTS]
    assert len(WRONG) + len(older) >= 60
    broken = set().union(*older, *(variant.breaks for variant in WRONG))
    assert {clause[:3] for clause in broken} >= {
        *("CON", "DIS", "LOS", "MAR", "NOT", "PAR", "SCH", "SDE", "SMP", "TIM", "TRN"),
    }
