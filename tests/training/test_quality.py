"""refdiff.training.quality: the Frechet distance and the nearest example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from refdiff.errors import DomainError
from refdiff.training.neighbours import nearest
from refdiff.training.quality import SUBSETS, RawPixels, baseline, frechet


def drawn(seed: int, n: int, *event: int) -> torch.Tensor:
    """Return correlated float32 data."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(n, int(np.prod(event)))) @ generator.normal(size=(int(np.prod(event)),) * 2)
    return torch.from_numpy(0.2 * mixed.reshape(n, *event) + 0.1 * seed % 1.0).float()


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(12, 60), st.integers(12, 60))
def test_frechet_distance_matches_the_formula(seed: int, n: int, m: int) -> None:
    """TRN-13: |m - m'|^2 + tr(C + C' - 2 sqrt(C C')), by scipy's matrix root; symmetric, 0 of a set from itself."""
    one, other = drawn(seed, n, 1, 3, 3), drawn(seed + 1, m, 1, 3, 3)
    x, y = (part.flatten(1).double().numpy() for part in (one, other))
    c_x, c_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(sqrtm(c_x @ c_y))
    wanted = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c_x + c_y - 2.0 * root)
    # Roots of eigenvalues near 0 lose half of the digits.
    assert frechet(one, other) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert frechet(other, one) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert abs(frechet(one, one)) <= 1e-6


def test_baseline_is_the_distance_of_typical_examples() -> None:
    """TRN-13: the mean over random sets of examples, within 4 standard errors; not that of the first rows."""
    examples, held_out = drawn(1, 400, 1, 2, 2), drawn(1, 900, 1, 2, 2)[400:]
    examples[:100] = examples[0]  # of one kind, as rows of a sorted file are
    found = baseline(examples, held_out, 100, drawn=torch.Generator().manual_seed(0))
    rows = np.random.default_rng(0)
    others = [frechet(examples[rows.choice(400, 100, replace=False)], held_out) for _ in range(200)]
    assert abs(found.mean - np.mean(others)) <= 4.0 * np.std(others) * (1 / SUBSETS + 1 / 200) ** 0.5
    # chi-square of 15 degrees of freedom, 1e-4 on either side
    assert 0.4 <= found.deviation / np.std(others) <= 1.75
    assert frechet(examples[:100], held_out) > 2.0 * found.mean


def test_baseline_of_all_examples_has_no_deviation() -> None:
    """TRN-13: as many examples as samples, or fewer, are one set."""
    examples, held_out = drawn(1, 50, 1, 2, 2), drawn(2, 40, 1, 2, 2)
    for count in (50, 60):
        found = baseline(examples, held_out, count, drawn=torch.Generator().manual_seed(0))
        assert found.mean == pytest.approx(frechet(examples, held_out), rel=1e-9)
        assert found.deviation == 0.0


def test_nearest_distance_of_a_copy_is_0() -> None:
    """TRN-13: a copy is at 0, exactly, among thousands of large examples; a shifted one at its shift."""
    examples = torch.rand(3000, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    copies = examples[::10].clone()
    assert nearest(copies, examples).distance.tolist() == [0.0] * 300
    copies[:, 0, 0, 0] += 0.25
    assert torch.allclose(nearest(copies, examples).distance, torch.full((300,), 0.25), rtol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40))
def test_nearest_distance_is_the_smallest(n: int, m: int) -> None:
    """TRN-13: by NumPy, pair by pair."""
    samples, examples = drawn(n, n, 1, 6, 6), drawn(m + 50, m, 1, 6, 6)
    x, y = samples.flatten(1).double().numpy(), examples.flatten(1).double().numpy()
    wanted = np.sqrt(((x[:, None] - y[None]) ** 2).sum(2)).min(1)
    assert np.allclose(nearest(samples, examples).distance.numpy(), wanted, rtol=1e-5, atol=0.0)


def test_invalid_inputs_are_refused() -> None:
    """TRN-13: one sample, two shapes, NaN."""
    good = drawn(0, 12, 1, 3, 3)
    bad = good.clone()
    bad[3] = torch.nan
    for one in (good[:1], drawn(0, 12, 1, 2, 2), bad):
        for pair in ((one, good), (good, one)):
            with pytest.raises(DomainError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-13\)$"):
                frechet(*pair)


@pytest.mark.parametrize(
    ("event", "features"),
    [
        ((1, 8, 8), 64),
        ((1, 32, 32), 1024),
        ((3, 32, 32), 768),
        ((3, 64, 64), 768),
        ((3, 256, 256), 768),
        ((5000,), 5000),
    ],
)
def test_large_images_are_average_pooled(event: tuple[int, ...], features: int) -> None:
    """TRN-13: the covariance stays small enough to take its spectrum; small images are judged as they are."""
    module = RawPixels(event)
    x = torch.rand(2, *event)
    assert module.num_features == features
    assert module(x).shape == (2, features)
    assert torch.allclose(module(x).mean(1), x.double().flatten(1).mean(1), atol=1e-6)
