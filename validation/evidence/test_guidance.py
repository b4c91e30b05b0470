"""Chapter 10: classifier-free guidance as algebra, over the rationals, and in each dtype."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.check import evidence
from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import DType

from ..expected.guided import guided
from ..oracles.symbolic import convert
from .rationals import over_rationals

PREDICTIONS = ("eps", "x_0", "v", "score")
rationals = st.fractions(min_value=-8, max_value=8, max_denominator=50)
FORMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "difference": lambda c, u, w: u + w * (c - u),
    "two products": lambda c, u, w: (type(w)(1) - w) * u + w * c,
    "of the paper": lambda c, u, w: (type(w)(1) + (w - type(w)(1))) * c - (w - type(w)(1)) * u,
}
"""u + w (c - u), each operation in the dtype of c, u and w."""


@evidence("SMP-9", kind="symbolic")
@pytest.mark.parametrize("source", PREDICTIONS)
@pytest.mark.parametrize("to", PREDICTIONS)
def test_guided_and_converted_is_converted_and_guided(source: str, to: str) -> None:
    """SMP-9: guidance commutes with each conversion, whatever w is."""
    if source == to:
        return
    c, u, w = sp.symbols("c u w", real=True)
    converted = [convert(source, to, value) for value in (u + w * (c - u), c, u)]
    assert sp.simplify(converted[0] - (converted[2] + w * (converted[1] - converted[2]))) == 0


@evidence("SMP-9", kind="property")
@over_rationals
@given(c=rationals, u=rationals, w=rationals)
def test_forms_of_guidance_are_one(c: Fraction, u: Fraction, w: Fraction) -> None:
    """SMP-9: 1 is the conditional and 0 the unconditional prediction; the paper's w is one less; a swap differs."""
    found = {form(c, u, w) for form in FORMS.values()}
    assert found == {u + w * (c - u)}
    assert FORMS["difference"](c, u, 1) == c
    assert FORMS["difference"](c, u, 0) == u
    assert FORMS["difference"](c, c, w) == c
    assert c == u or FORMS["difference"](c, u, w + 1) not in found
    assert c == u or 2 * w == 1 or FORMS["difference"](u, c, w) not in found


@evidence("SMP-9", kind="property")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_forms_of_guidance_are_within_tolerance(dtype: DType) -> None:
    """SMP-9: three forms, each operation rounded in the dtype, are within the tolerance for w from 0 to 30."""
    fmt, rng = FORMATS[dtype], np.random.default_rng(0)
    for scale in (0.0, 0.3, 1.0, 1.7, 7.5, 30.0):
        c, u = (fmt.rounded(rng.standard_normal(2000) * 2.0 ** rng.integers(-8, 4, 2000)) for _ in range(2))
        expected = guided(c, u, scale, fmt)
        for form in FORMS.values():
            got = form(c, u, fmt.storage.type(scale)).astype(np.float64)
            assert np.all(np.abs(got - expected.value - np.asarray(expected.residual)) <= expected.tolerance)
