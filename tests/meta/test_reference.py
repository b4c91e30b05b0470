"""refdiff as a target: it conforms in both tiers, in every dtype, and does what the contract says."""

from __future__ import annotations

from functools import partial

import pytest

from refdiff.conformance.interface import DType, Own, Target, Unsupported
from refdiff.conformance.reference import target, target_bfloat16, target_float16, target_float64
from tests.meta.test_judge import judged

pytestmark = pytest.mark.usefixtures("unhooked")
"""Here the suite is tested, and not the types of what it judges: without them refdiff is several times faster."""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_reference_conforms(dtype: DType) -> None:
    """Every clause that has a check passes, MUST and SHOULD; `pytest validation` shows the same of float32."""
    report = judged(target(dtype), seed=1)
    assert report.verdict == "conforming"
    # In half precision some bounds are as large as what they bound, times repeat, and a walk is not judged.
    others = {row.clause.id for row in report.rows if row.status not in ("pass", "no_check")}
    half = {"DIS-4", "MAR-7", "MAR-8", "SMP-2", "SMP-5", "SMP-6", "SMP-7", "TIM-7", "TRN-6"}
    half |= {"SMP-11", "SMP-12", "SMP-13"}
    assert others <= (set() if dtype == "float64" else half)
    assert not [line for row in report.rows for o in row.outcomes for line in o.skipped if "nothing lies" not in line]


@pytest.mark.parametrize("factory", [target, target_float16, target_bfloat16, target_float64])
def test_factories(factory: partial[Target]) -> None:
    """Each factory gives a target, and a process of a library's own is none of refdiff's."""
    made = factory()
    assert isinstance(made, Target)
    with pytest.raises(Unsupported):
        made.build(Own(label="another's"))
