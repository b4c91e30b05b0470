"""The pure comparison of an output with its expected value."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from refdiff.conformance.comparison import Expected, compare


@pytest.mark.parametrize(
    ("got", "value", "tolerance", "ratio"),
    [
        (1.0, 1.0, 0.0, 0.0),
        (1.5, 1.0, 1.0, 0.5),
        (3.0, 1.0, 1.0, 2.0),
        (1.0, 0.0, 0.0, inf),
        (inf, inf, 0.0, 0.0),
        (-inf, inf, 1.0, inf),
        (inf, 1.0, 1.0, inf),
        (1.0, 2.0, inf, 0.0),
        (nan, 1.0, 1.0, inf),
        (1.0, nan, 1.0, inf),
        (1.0, 1.0, nan, inf),
        (nan, 1.0, inf, inf),
    ],
)
def test_ratio_is_error_over_tolerance(got: float, value: float, tolerance: float, ratio: float) -> None:
    """Above 1 is a violation; NaN always is; an error of 0, or an infinite tolerance, is none."""
    found = compare([got], Expected(value, tolerance))
    assert found.ratio[0] == ratio
    assert found.violations[0] == (ratio > 1.0)


def test_any_number_is_accepted_outside_the_domain() -> None:
    """But not NaN."""
    found = compare([5.0, 5.0, nan, inf], Expected(1.0, 1.0, domain=[True, False, False, False]))
    assert found.violations.tolist() == [True, False, True, False]
    assert found.tolerance.tolist() == [1.0, inf, inf, inf]


def test_residual_continues_the_value() -> None:
    """The exact value is value + residual: 1 + 2^-60 is not 1."""
    tiny = 2.0**-60
    assert compare([1.0], Expected(1.0, tiny, residual=tiny)).ratio[0] == 1.0
    assert compare([1.0], Expected(1.0, 0.5 * tiny, residual=tiny)).violations.all()


def test_worst_element_and_failing_examples() -> None:
    """The worst has the largest ratio, not the largest error; an example fails by any of its elements."""
    expected = Expected(np.zeros((3, 2)), np.array([[1.0, 1.0], [1.0, 1.0], [10.0, 10.0]]))
    found = compare([[0.0, 0.5], [2.0, 0.0], [9.0, 0.0]], expected)
    assert found.worst == (1, 0)
    assert found.failing.tolist() == [False, True, False]
    assert compare(2.0, Expected(0.0, 1.0)).failing.tolist() == [True]


def test_float16_is_compared_in_float64() -> None:
    """60000 - (-60000) overflows float16."""
    assert compare(np.array([6e4], dtype=np.float16), Expected(-6e4, 1.0)).error[0] == pytest.approx(1.2e5, rel=1e-3)


def test_rows_and_widened_keep_the_other_fields() -> None:
    """Indices select and order examples, and a scalar field serves them all."""
    whole = Expected([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], domain=[True, False, True], residual=0.5)
    some = whole.rows(np.array([2, 0]))
    assert (some.value.tolist(), some.tolerance.tolist(), some.domain.tolist()) == ([3.0, 1.0], [0.3, 0.1], [True] * 2)
    wide = some.widened(2.0, more=1.0)
    assert wide.tolerance.tolist() == [1.6, 1.2]
    assert (wide.value.tolist(), float(wide.residual)) == ([3.0, 1.0], 0.5)
