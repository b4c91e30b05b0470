"""refdiff.training.neighbours: what collapse, copies and noise look like, beside NumPy pair by pair."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refdiff.training.config import PreprocessConfig
from refdiff.training.data import load, split
from refdiff.training.neighbours import Nearest, duplicates, level, near_copies, nearest, neighbourhoods


def by_pairs(samples: Tensor, examples: Tensor, k: int) -> dict[str, float]:
    """Return the four shares, pair by pair."""
    made, known = samples.double().numpy(), examples.double().numpy()

    def radius(x: np.ndarray, i: int) -> float:
        return float(sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1])

    of_known = [radius(known, i) for i in range(len(known))]
    of_made = [radius(made, i) for i in range(len(made))]
    inside = np.array([[np.linalg.norm(s - e) <= r for e, r in zip(known, of_known, strict=True)] for s in made])
    reached = [any(np.linalg.norm(s - e) <= r for s, r in zip(made, of_made, strict=True)) for e in known]
    return {
        "precision": float(np.mean([any(row) for row in inside])),
        "recall": float(np.mean(reached)),
        "density": float(inside.sum(1).mean()) / k,
        "coverage": float(np.mean([any(column) for column in inside.T])),
    }


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(7, 30), st.integers(7, 30), st.integers(1, 5))
def test_shares_are_those_pair_by_pair(seed: int, n: int, m: int, k: int) -> None:
    """TRN-13: precision, recall, density and coverage of two sets that overlap in part."""
    drawn = torch.Generator().manual_seed(seed)
    samples, examples = (torch.randn(rows, 2, generator=drawn, dtype=torch.float64) for rows in (n, m))
    found = asdict(neighbourhoods(samples + 0.7, examples, k))
    assert found == pytest.approx(by_pairs(samples + 0.7, examples, k), abs=1e-12)


def test_worked_example_on_a_line() -> None:
    """TRN-13: examples 0, 1, 3 and samples 0.5, 0.6, 9 with k = 1, by hand.

    The radii of the examples are 1, 1, 2, so 0.5 and 0.6 are in the balls of 0 and 1 each, and 9 in none; the balls of
    the samples have the radii 0.1, 0.1, 8.4 and hold 1 and 3 (9 - 8.4 = 0.6), but not 0.
    """
    examples, samples = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [0.6], [9.0]])
    found = asdict(neighbourhoods(samples, examples, k=1))
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "density": 4 / 3, "coverage": 2 / 3})


def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Return training digits, held-out digits, and half of the training digits in place of good samples."""
    training, held_out = split(load("digits", PreprocessConfig()), 297, 0)
    known = training.take(slice(None))
    return known[500:], held_out.take(slice(None)), known[:500]


def shares(samples: Tensor, known: Tensor, held_out: Tensor) -> dict[str, float]:
    """Return every measure of samples."""
    found = nearest(samples, known)
    return asdict(neighbourhoods(samples.flatten(1), held_out.flatten(1))) | {
        "duplicates": duplicates(found, level(known)),
        "near copies": near_copies(found, nearest(held_out, known)),
    }


def test_each_failure_has_its_pattern() -> None:
    """TRN-13: on digits; collapse loses recall and coverage, noise precision, and copies are counted as such."""
    known, held_out, good = digits()
    noise = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    right = shares(good, known, held_out)
    assert min(right[name] for name in ("precision", "recall", "coverage")) > 0.8
    assert right["duplicates"] == 0.0
    assert right["near copies"] < 0.05

    one = shares(good[:1] + 0.05 * noise, known, held_out)
    assert one["precision"] > 0.9
    assert max(one["recall"], one["coverage"]) < 0.1

    # Three of ten classes: the nearest to three different digits, as far as to the median of all distances.
    centres = known[torch.tensor([0, 1, 2])]
    away = torch.cdist(good.flatten(1), centres.flatten(1))
    few = shares(good[away.min(1).values.argsort()[:150]], known, held_out)
    assert few["precision"] > 0.8
    assert few["coverage"] < 0.7 * right["coverage"]
    assert few["recall"] < 0.8 * right["recall"]

    copied = known[:250] + 0.4 * level(known) * (noise[:250] > 0.0)
    half = shares(torch.cat([copied, good[:250]]), known, held_out)
    assert half["duplicates"] == 0.5
    assert half["near copies"] >= 0.5
    assert half["coverage"] > 0.8

    wrong = shares(noise, known, held_out)
    assert max(wrong["precision"], wrong["coverage"], wrong["near copies"], wrong["duplicates"]) < 0.05


def test_level_is_the_least_step_of_the_values() -> None:
    """TRN-13: 1/8 for the 17 levels of digits, 2/255 for bytes, 0 for a constant."""
    assert level(torch.arange(17) / 8.0 - 1.0) == 0.125
    bytes_ = torch.arange(256, dtype=torch.float32) / 127.5 - 1.0
    assert level(bytes_) == pytest.approx(2.0 / 255.0, rel=1e-4)
    assert level(torch.zeros(3)) == 0.0


def test_duplicates_differ_by_at_most_half_a_level() -> None:
    """TRN-13: half a level rounds to the example; more, in one number, is another image."""
    found = Nearest(torch.zeros(4), torch.tensor([0.0, 0.0624, 0.0626, 1.0]))
    assert duplicates(found, 0.125) == 0.5


def test_near_copies_are_nearer_than_held_out_examples() -> None:
    """TRN-13: than their 1% quantile; of the held-out examples themselves it is 1%."""
    held_out = Nearest(torch.arange(1, 101, dtype=torch.float64), torch.zeros(100))
    assert near_copies(held_out, held_out) == 0.01
    assert near_copies(Nearest(torch.tensor([0.5, 1.5, 3.0, 50.0]), torch.zeros(4)), held_out) == 0.5
