"""refdiff.variational: the terms against the oracle's integrals and closed forms."""

from __future__ import annotations

from math import e, log, log1p

import numpy as np
import pytest
import torch

from refdiff.chain import DiscreteChain
from refdiff.errors import DomainError
from refdiff.marginal import marginal, posterior
from refdiff.schedule import CosineSchedule, LinearSchedule
from refdiff.variational import decoder_term, prior_term, step_term
from validation.oracles import objectives

CHAIN = DiscreteChain.linear(1000)


def test_prior_term() -> None:
    """LOS-13: 2.16e-5 nats for x_0 = 1 of the linear default; 0 at the end of cosine; summed over the event."""
    assert abs(prior_term(LinearSchedule(), torch.ones(1), torch.ones(1)).item() - 2.16e-5) < 1e-7
    assert prior_term(CosineSchedule(), torch.ones(1, 3), torch.ones(1)).item() == 0.0
    x_0 = torch.randn(2, 3, dtype=torch.float64)
    whole = prior_term(CHAIN, x_0, torch.tensor([900, 1000]))
    parts = sum(prior_term(CHAIN, x_0[:, j], torch.tensor([900, 1000])) for j in range(3))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("steps", [(1, 2), (499, 500), (100, 900)])
def test_step_term_is_the_gap_of_snr(steps: tuple[int, int]) -> None:
    """LOS-14: (SNR_s - SNR_t)/2 |gap|^2; with the large variance the general divergence of two Gaussians."""
    s, t = (torch.tensor([k]) for k in steps)
    x_0, x_0_hat = torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.tensor([[0.1, 2.0]], dtype=torch.float64)
    snr = [((q := marginal(CHAIN, k)).alpha / q.sigma).item() ** 2 for k in (s, t)]
    gap = (x_0_hat - x_0).square().sum().item()
    # The difference of two SNRs keeps 2^-50 of the larger.
    assert (
        abs(step_term(CHAIN, x_0, x_0_hat, t=t, s=s).item() - 0.5 * (snr[0] - snr[1]) * gap) <= 2.0**-48 * snr[0] * gap
    )
    p = posterior(CHAIN, t=t, s=s)
    small, large = p.variance.item(), 1.0 - torch.exp(CHAIN.log_decay(t=t, s=s)).item()
    want = 0.5 * (2 * log(large / small) + (2 * small + p.on_x_0.item() ** 2 * gap) / large - 2)
    assert abs(step_term(CHAIN, x_0, x_0_hat, t=t, s=s, variance="large").item() - want) <= 1e-9 * (1.0 + want)


def test_perfect_prediction_leaves_only_the_variance() -> None:
    """LOS-14: with x_0_hat = x_0 the small term is exactly 0, the large one above 0."""
    x_0, t, s = torch.randn(1, 3), torch.tensor([500]), torch.tensor([400])
    assert step_term(CHAIN, x_0, x_0, t=t, s=s).item() == 0.0
    assert step_term(CHAIN, x_0, x_0, t=t, s=s, variance="large").item() > 0.0


@pytest.mark.parametrize("std", [1e-3, 0.02, 1.0])
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_masses_sum_to_one(std: float, levels: int) -> None:
    """LOS-15: over all levels, exp(-term) sums to 1 within 1e-12, and each agrees with the oracle to 1e-9 of it."""
    x = torch.linspace(-1.0, 1.0, levels, dtype=torch.float64)
    mean = torch.full_like(x, 0.2)
    term = decoder_term(x, mean, torch.full_like(x, std), levels=levels)
    assert abs(torch.exp(-term).sum().item() - 1.0) < 1e-12
    for level in (0, levels // 2, levels - 1):
        want = float(objectives.level_mass(level, levels, np.array(0.2), std))
        assert term[level].item() == pytest.approx(-want, rel=1e-9, abs=1e-12) or want < -700


def test_far_levels_keep_their_digits() -> None:
    """LOS-15: 1000 deviations away the term is about z^2/2, finite, and its gradient leads back."""
    mean = torch.tensor([[-0.5]], requires_grad=True)
    term = decoder_term(torch.tensor([[0.5]]), mean, torch.tensor([1e-3]))
    assert term.item() == pytest.approx(0.5 * ((1.0 - 1.0 / 255.0) / 1e-3) ** 2, rel=1e-3)
    (slope,) = torch.autograd.grad(term.sum(), mean)
    assert slope.item() < 0.0
    assert torch.isfinite(slope).all()


def test_arguments_outside_the_domain_are_refused() -> None:
    """S = 0, std = 0, data outside [-1, 1], fewer than two levels: one sentence each."""
    x = torch.zeros(1, 2)
    with pytest.raises(DomainError, match=r"expected s > 0.* \(LOS-14\)$"):
        step_term(CHAIN, x, x, t=torch.tensor([1]), s=torch.tensor([0]))
    with pytest.raises(DomainError, match=r"expected sigma > 0.* \(LOS-13\)$"):
        prior_term(LinearSchedule(), x, torch.zeros(1))
    with pytest.raises(DomainError, match=r"expected std > 0.* \(LOS-15\)$"):
        decoder_term(x, x, torch.zeros(1))
    with pytest.raises(DomainError, match=r"expected x_0 in \[-1, 1\].* \(LOS-15\)$"):
        decoder_term(x + 2.0, x, torch.ones(1))
    with pytest.raises(DomainError, match=r"expected levels >= 2.* \(LOS-15\)$"):
        decoder_term(x, x, torch.ones(1), levels=1)


def test_terms_of_one_example_are_those_in_a_batch() -> None:
    """LOS-13, LOS-14: a term of a batch is that of each example by itself, and a batch may be empty."""
    x_0, x_0_hat = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, s = torch.tensor([900, 600, 1000]), torch.tensor([2, 599, 100])

    def terms(some: slice) -> tuple[torch.Tensor, torch.Tensor]:
        large = step_term(CHAIN, x_0[some], x_0_hat[some], t=t[some], s=s[some], variance="large")
        return prior_term(CHAIN, x_0[some], t[some]), large

    for got, *alone in zip(terms(slice(None)), *(terms(slice(i, i + 1)) for i in range(3)), strict=True):
        torch.testing.assert_close(torch.cat(alone), got, rtol=1e-12, atol=0.0)
    assert [term.shape for term in terms(slice(0))] == [(0,), (0,)]


def test_prior_of_data_that_is_not_on_the_unit_circle() -> None:
    """LOS-13: with beta = 1 and t = 1, alpha^2 = 1/e: 1/2 (4/e - 1/e - log(1 - 1/e)) for x_0 = 2, and so for each."""
    schedule, x_0 = LinearSchedule(beta_min=1.0, beta_max=1.0), torch.tensor([[2.0], [0.5]], dtype=torch.float64)
    found = prior_term(schedule, x_0, torch.ones(2, dtype=torch.float64))
    want = [0.5 * (x**2 / e - 1.0 / e - log1p(-1.0 / e)) for x in (2.0, 0.5)]
    torch.testing.assert_close(found, torch.tensor(want, dtype=torch.float64), rtol=2.0**-48, atol=0.0)


def test_decoder_has_the_256_levels_of_bytes() -> None:
    """LOS-15: by default the levels are those of bytes."""
    x_0, mean, std = torch.tensor([[1.0 / 255.0]]), torch.tensor([[0.0]]), torch.tensor([0.01])
    assert torch.equal(decoder_term(x_0, mean, std), decoder_term(x_0, mean, std, levels=256))
    assert not torch.equal(decoder_term(x_0, mean, std), decoder_term(x_0, mean, std, levels=255))
