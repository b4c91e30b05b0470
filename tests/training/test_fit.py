"""The trainer without files."""

from __future__ import annotations

import numpy as np
import torch

from refdiff.schedule import LinearSchedule
from refdiff.training.fit import fit


def test_data_is_not_scaled() -> None:
    """TRN-4: numbers far outside [-1, 1] are neither scaled nor cut: of one point at 9 the noise is known exactly."""
    data = np.full((64, 1), 9.0, dtype=np.float32)
    denoiser = fit(data, LinearSchedule(), seed=0, seconds=0.5)
    schedule, t = LinearSchedule(), torch.tensor([0.5])
    x_t = schedule.alpha(t)[:, None] * 9.0 + schedule.sigma(t)[:, None]
    assert abs(float(denoiser(x_t, t)) - 1.0) < 0.3


def test_seed_determines_the_network() -> None:
    """TRN-9: the same seed gives the same bits, another seed others, and torch's own generator stays where it was."""
    data = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    x, t, before = torch.ones(1, 2), torch.tensor([0.5]), torch.get_rng_state()
    one, again, other = (fit(data, LinearSchedule(), seed=seed, seconds=0.05)(x, t) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
