"""No MUST clause fails on right code, in whatever form it is written, and each form is judged by something."""

from __future__ import annotations

import pytest

from refdiff.conformance.clauses import clauses
from tests.meta.variants.family import FAMILIES, RIGHT
from tests.meta.variants.judging import SUITE_ITSELF, failing, judged, passing
from tests.meta.variants.variant import Variant

SEED = 0
"""`python -m tests.meta.variants --seeds 10` judges by more."""


@pytest.mark.parametrize("variant", RIGHT, ids=lambda variant: variant.name)
def test_right_variant_fails_no_must_clause(variant: Variant) -> None:
    """Judged by the clauses of its capabilities; some clause beside those of the contract passes."""
    outcomes = judged(variant, SEED)
    assert failing(outcomes) == {}
    assert not [o.reason for o in outcomes if SUITE_ITSELF in o.reason]
    assert {clause for clause in passing(outcomes) if clauses()[clause].id[:3] not in ("CON", "NOT")}


def test_family_is_as_large_as_is_promised() -> None:
    """100 at least, of every topic, in three array libraries, two dtypes, eager and compiled."""
    assert len(RIGHT) >= 100
    assert all(len(family) >= 9 for family in FAMILIES)
    assert {variant.dtype for variant in RIGHT} == {"float32", "float64"}
    for library in ("numpy", "torch", "torch compiled", "jax"):
        assert any(f", {library}" in variant.name for variant in RIGHT), library
    assert all(variant.form.endswith(".") for variant in RIGHT)
    assert any(variant.claim.events for variant in RIGHT)
    assert any(variant.claim.t_min > 0.0 for variant in RIGHT)
    assert any(variant.claim.t_max < 1.0 for variant in RIGHT)
