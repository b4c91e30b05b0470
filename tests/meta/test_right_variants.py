"""No MUST clause fails on right code, in whatever form it is written, and each form is judged by something."""

from __future__ import annotations

import pytest

from refdiff.conformance.clauses import clauses
from tests.meta.variants.family import FAMILIES, RIGHT
from tests.meta.variants.judging import SUITE_ITSELF, failing, judged, passing
from tests.meta.variants.variant import Variant

SEED = 0
"""`python -m tests.meta.variants --seeds 10` uses more seeds."""


@pytest.mark.parametrize("variant", RIGHT, ids=lambda variant: variant.name)
def test_right_variant_fails_no_must_clause(variant: Variant) -> None:
    """Each variant fails no MUST clause of its capabilities, and passes at least one beside those of the contract."""
    outcomes = judged(variant, SEED)
    assert failing(outcomes) == {}
    assert not [o.reason for o in outcomes if SUITE_ITSELF in o.reason]
    assert {clause for clause in passing(outcomes) if clauses()[clause].id[:3] not in ("CON", "NOT")}


def test_family_covers_topics_libraries_and_dtypes() -> None:
    """There are at least 100 right variants, of every topic, in three array libraries and two dtypes.

    Those in torch are eager and compiled.
    """
    assert len(RIGHT) >= 100
    assert all(len(family) >= 9 for family in FAMILIES)
    assert {variant.dtype for variant in RIGHT} == {"float32", "float64"}
    for library in ("numpy", "torch", "torch compiled", "jax"):
        assert any(f", {library}" in variant.name for variant in RIGHT), library
    assert all(variant.form.endswith(".") for variant in RIGHT)
    assert any(variant.claim.events for variant in RIGHT)
    assert any(variant.claim.t_min > 0.0 for variant in RIGHT)
    assert any(variant.claim.t_max < 1.0 for variant in RIGHT)
