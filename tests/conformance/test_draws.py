"""The examples of a law follow from the seed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from refdiff.conformance.draws import seeded

CONSTANTS = [0.7310585786300049, 0.11920292202211755, 314159, 271828]


def examples(seed: int) -> list[tuple[list[float], int]]:
    """Return what Hypothesis draws."""
    drawn: list[tuple[list[float], int]] = []
    settings = hypothesis.settings(max_examples=50, database=None, derandomize=False)

    def body(numbers: list[float], key: int) -> None:
        drawn.append((numbers, key))

    law = hypothesis.given(numbers=st.lists(st.floats(0.0, 1.0), min_size=4), key=st.integers(0, 2**20))(body)
    hypothesis.seed(seed)(settings(law))()
    return drawn


@pytest.fixture
def other_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that was never loaded, whose constants are in the ranges that are drawn from."""
    name = "constants_of_a_library"
    (tmp_path / f"{name}.py").write_text(f"NUMBERS = {CONSTANTS}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


@pytest.mark.parametrize("seed", range(3))
def test_examples_do_not_depend_on_the_modules_that_are_loaded(seed: int, other_module: str) -> None:
    """A seed gives the same examples before and after another module is loaded, and none of its constants."""
    with seeded():
        before = examples(seed)
    import_module(other_module)
    with seeded():
        after = examples(seed)
    assert before == after
    numbers = {x for row, key in after for x in (*row, key)}
    assert not numbers & set(CONSTANTS)
    assert examples(seed) != examples(seed + 1)
