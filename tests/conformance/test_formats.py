"""The formats say what NumPy and torch say (NUM-1, NUM-2)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refdiff.conformance.formats import FORMATS
from refdiff.conformance.interface import DType

NUMPY: tuple[DType, ...] = ("float16", "float32", "float64")
TORCH: dict[DType, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@pytest.mark.parametrize("name", TORCH)
def test_constants(name: DType) -> None:
    """Unit roundoff and the ends of the range are torch's."""
    info, fmt = torch.finfo(TORCH[name]), FORMATS[name]
    assert fmt.u == info.eps / 2
    assert fmt.smallest_normal == info.smallest_normal
    assert fmt.largest == info.max
    assert fmt.smallest == info.smallest_normal * info.eps


@pytest.mark.parametrize("name", NUMPY)
@given(data=st.data())
def test_ulp_is_spacing(name: DType, data: st.DataObject) -> None:
    """An ulp is NumPy's spacing, subnormals included."""
    fmt = FORMATS[name]
    x = fmt.storage.type(data.draw(st.floats(allow_nan=False, allow_infinity=False, width=16)))
    assert float(fmt.ulp(float(x))) == float(np.spacing(np.abs(x)))


@given(st.floats(width=32))
def test_bfloat16_rounds_as_torch_does(x: float) -> None:
    """Rounding to bfloat16 is torch's, ties, subnormals and overflow included."""
    want = torch.tensor(x, dtype=torch.float32).to(torch.bfloat16).float().numpy()
    got = FORMATS["bfloat16"].rounded(np.array(x))
    assert got.dtype == np.float32
    assert np.array_equal(got, want, equal_nan=True)


@pytest.mark.parametrize("name", TORCH)
def test_holds(name: DType) -> None:
    """A format holds what it rounds to, and not what lies between."""
    fmt = FORMATS[name]
    assert fmt.holds(fmt.rounded(np.array([0.1, np.inf, -0.0, np.nan, 1e-40])))
    if name == "bfloat16":
        assert not fmt.holds(np.array([1.0 + 2.0**-9], dtype=np.float32))
