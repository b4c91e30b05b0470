"""refdiff.nn.embedding: what tells times apart, and how far."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from refdiff.errors import DomainError
from refdiff.nn import TimeEmbedding

INDICES = torch.arange(1, 1001)
U = 2.0**-24  # of float32, to nearest

channels = st.integers(1, 40).map(lambda half: 2 * half)
times = st.floats(0.0, 1.0)


def frequencies(n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return w_i, evenly in log w, of n channels."""
    return np.array([1e-4]) if n == 2 else np.geomspace(1.0, 1e-4, n // 2)


def distinct(embedded: Tensor) -> int:
    """Return how many rows differ."""
    return len(torch.unique(embedded.double(), dim=0))


@given(channels, times, times, st.sampled_from([1.0, 10.0, 1000.0]))
def test_the_distance_of_two_times_is_the_formula(n: int, t: float, s: float, scale: float) -> None:
    """NET-1: |e(t) - e(s)| = 2 sqrt(sum sin^2(c w_i (t - s)/2)): of t - s alone, within rounding to float32."""
    one, other = TimeEmbedding(n, scale=scale)(torch.tensor([t, s], dtype=torch.float64)).double()
    wanted = 2.0 * np.sqrt(np.sum(np.sin(scale * frequencies(n) * (t - s) / 2.0) ** 2))
    # Each of n numbers is rounded once, by U at most, at both times; phases up to 1000 in float64 add nothing.
    assert abs(float((one - other).norm()) - wanted) <= 2.0 * U * np.sqrt(n) + 1e-12


@given(channels, times)
def test_every_time_is_on_the_sphere(n: int, t: float) -> None:
    """NET-1: |e(t)|^2 is the number of frequencies; at t = 0 sines are 0 and cosines 1."""
    embedding = TimeEmbedding(n)
    squared = float(embedding(torch.tensor([t], dtype=torch.float64)).double().square().sum())
    assert squared == pytest.approx(n / 2, abs=2.0 * U * n)
    assert embedding(torch.zeros(1))[0].tolist() == [0.0] * (n // 2) + [1.0] * (n // 2)


@pytest.mark.parametrize("n", [2, 4, 8, 32, 128])
def test_all_indices_differ(n: int) -> None:
    """NET-1: the 1000 indices of a chain have 1000 embeddings, with few channels too."""
    embedded = TimeEmbedding(n, scale=1.0)(INDICES)
    assert embedded.shape == (1000, n)
    assert embedded.dtype == torch.float32
    assert distinct(embedded) == 1000


@pytest.mark.parametrize("n", [8, 32, 128])
def test_all_indices_differ_when_rounded_to_bfloat16(n: int) -> None:
    """NET-1: what is rounded is the embedding, not the phase: of phases in bfloat16 506 of 1000 would differ."""
    assert distinct(TimeEmbedding(n, scale=1.0)(INDICES).bfloat16()) == 1000
    assert distinct(INDICES.bfloat16()[:, None]) == 506


@pytest.mark.parametrize("steps", [1, 10, 1000, 4000])
def test_the_indices_of_a_chain_are_seen_as_its_times(steps: int) -> None:
    """NET-1: k in 1..N with scale 1000/N is t = k/N with scale 1000."""
    k = torch.arange(1, steps + 1)
    chain, schedule = TimeEmbedding(16, scale=1000.0 / steps), TimeEmbedding(16)
    assert torch.allclose(chain(k), schedule(k.double() / steps), rtol=0.0, atol=2.0 * U)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_converted_network_keeps_its_phases(dtype: torch.dtype) -> None:
    """NET-1: converting a network that holds the embedding changes nothing of it."""
    held = nn.ModuleList([TimeEmbedding(32)])
    before = held[0](INDICES.double() / 1000)
    assert torch.equal(held.to(dtype)[0](INDICES.double() / 1000), before)
    assert not list(held.state_dict())


@pytest.mark.parametrize("n", [0, 1, 3, 63, -2])
def test_odd_channels_are_refused(n: int) -> None:
    """NET-1: an odd number loses a channel, or divides by 0."""
    with pytest.raises(DomainError, match=rf"^expected an even number of channels, at least 2, got {n} \(NET-1\)$"):
        TimeEmbedding(n)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_scales_without_meaning_are_refused(scale: float) -> None:
    """NET-1: NaN too."""
    with pytest.raises(DomainError, match=r"^expected a scale of time in \(0, inf\), got.* \(NET-1\)$"):
        TimeEmbedding(8, scale=scale)
