"""refdiff.marginal: means and draws of transitions and posteriors."""

from __future__ import annotations

import pytest
import torch

from refdiff import (
    CosineSchedule,
    DomainError,
    LinearSchedule,
    Schedule,
    log_density,
    posterior,
    posterior_mean,
    transition,
)


@pytest.mark.parametrize("process", [LinearSchedule(), CosineSchedule()])
def test_distributions_have_a_mean_and_draws(process: Schedule) -> None:
    """MAR-6, MAR-7: a draw is the mean plus sigma noise, of a transition and of a posterior, whose sigma^2 is V."""
    t, s = (torch.tensor(times, dtype=torch.float64) for times in ([0.5, 0.9], [0.25, 0.0]))
    x, x_t, noise = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    later, earlier = transition(process, t=t, s=s), posterior(process, t=t, s=s)
    torch.testing.assert_close(
        later.sample(x, noise), later.mean(x) + later.sigma[:, None] * noise, rtol=1e-15, atol=1e-15
    )
    assert torch.equal(earlier.mean(x_0=x, x_t=x_t), posterior_mean(process, x_t, x, t=t, s=s))
    drawn = earlier.sample(noise, x_0=x, x_t=x_t)
    assert torch.equal(drawn, earlier.mean(x_0=x, x_t=x_t) + earlier.variance.sqrt()[:, None] * noise)
    assert torch.equal(earlier.sigma, earlier.variance.sqrt())
    with pytest.raises(DomainError, match=r"expected x and noise of one shape and one dtype"):
        later.sample(x, noise.float())
    with pytest.raises(DomainError, match=r"expected noise and x_0 of one shape and one dtype"):
        earlier.sample(noise.float(), x_0=x, x_t=x_t)


@pytest.mark.parametrize("process", [LinearSchedule(), CosineSchedule()])
def test_a_density_of_one_example_is_that_in_a_batch(process: Schedule) -> None:
    """MAR-9: log q of a batch is that of each example by itself, whatever the size of the batch."""
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x_0, x_t = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = log_density(process, x_t, x_0, t)
    alone = torch.cat([log_density(process, x_t[i : i + 1], x_0[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-14, atol=0.0)
    assert log_density(process, x_t[:0], x_0[:0], t[:0]).shape == (0,)
