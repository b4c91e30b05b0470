"""A small part of the fuzz: whatever is wrong is refused in one sentence."""

from __future__ import annotations

import pytest

from refdiff.errors import RefdiffError
from tests.training import fuzz


@pytest.mark.parametrize(("kind", "counts"), [("configs", (20, 0, 0)), ("data", (0, 40, 0)), ("files", (0, 0, 40))])
def test_random_wrong_input_is_refused_in_one_sentence(kind: str, counts: tuple[int, int, int]) -> None:
    """TRN-8: no traceback, no hang, no wrong setting or data that is accepted."""
    n_configs, n_data, n_files = counts
    found = [case for _, case in fuzz.cases(0, n_configs=n_configs, n_data=n_data, n_files=n_files)]
    assert len(found) == sum(counts)
    assert [case for case in found if case.fault] == []


def test_the_fuzz_sees_faults() -> None:
    """A traceback, a message of two lines, and a wrong result are each reported."""

    def fail() -> str:
        raise KeyError("a")

    def mumble() -> str:
        raise RefdiffError("expected a,\ngot b")

    assert fuzz.judged("a", fail).fault.startswith("traceback: ")
    assert fuzz.judged("a", mumble).fault.startswith("no sentence: ")
    assert fuzz.judged("a", lambda: "was accepted").fault == "was accepted"
    assert fuzz.judged("a", lambda: "").fault == ""
