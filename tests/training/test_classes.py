"""refdiff.training.classes: which labels are sampled, and whether samples look like them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refdiff.training.classes import agreement, agreement_row, by_frequency, rows
from refdiff.training.data import Examples
from refdiff.training.labels import Labels


def examples(index: list[int], classes: int = 3) -> Examples:
    """Return points whose two coordinates tell their class."""
    label = np.array(index, dtype=np.int64)
    raw = np.stack([label - 1.0, 1.0 - label], axis=1) + np.random.default_rng(0).uniform(-0.1, 0.1, (len(label), 2))
    return Examples(raw, np.arange(len(label)), -2.0, 2.0, labels=Labels(label, tuple("abc"[:classes])))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 60))
def test_labels_of_an_evaluation_have_the_frequencies_of_the_examples(index: list[int], count: int) -> None:
    """TRN-13: of each class as many as its share, to within one."""
    label = by_frequency(examples(index), count)
    assert label is not None
    assert len(label) == count
    for one in range(3):
        assert abs(int((label == one).sum()) - count * index.count(one) / len(index)) <= 1.0


@pytest.mark.parametrize(("classes", "count", "columns"), [(3, 64, 21), (3, 3, 1), (5, 2, 1)])
def test_picture_has_a_row_for_each_class(classes: int, count: int, columns: int) -> None:
    """TRN-13: in order, and no more images than asked for."""
    label, found = rows(classes, count)
    assert label is not None
    assert found == columns
    assert label.reshape(-1, columns).tolist() == [[i] * columns for i in range(min(classes, count))]


def test_agreement_is_that_of_the_nearest_example() -> None:
    """TRN-13: copies agree with their own label, and with no other."""
    known = examples([0, 1, 2, 0, 1, 2])
    x, label = known.take(slice(None)), known.label(slice(None))
    assert label is not None
    assert agreement(x, label, x, label).all()
    assert not agreement(x, (label + 1) % 3, x, label).any()


def test_row_has_both_shares_by_class() -> None:
    """TRN-13: samples of class 0 that are copies of class 1 agree nowhere; a class without samples has no share."""
    training, held_out = examples([0, 1, 2, 0, 1, 2]), examples([0, 1, 1])
    made = training.take(np.array([1, 4, 2]))
    row = agreement_row(made, torch.tensor([0, 0, 2]), held_out, training, np.arange(6), None)
    assert row == {
        "class_agreement": pytest.approx(1.0 / 3.0),
        "class_agreement_held_out": 1.0,
        "by_class_agreement": [0.0, None, 1.0],
        "by_class_agreement_held_out": [1.0, 1.0, None],
    }


def test_examples_without_labels_have_neither() -> None:
    """TRN-13: nothing is asked of a network without labels."""
    plain = Examples(np.eye(3), np.arange(3), -1.0, 1.0)
    assert (by_frequency(plain, 5), rows(0, 64)) == (None, (None, None))
    assert agreement_row(torch.eye(3), None, plain, plain, np.arange(3), None) == {}
