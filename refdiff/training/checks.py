"""Checks for the most frequent faults of a training run, before its first step and during it (TRN-12).

| check | reports |
|---|---|
| final noise level | alpha_bar(t_max) is so large that x_t is far from N(0, I), where sampling starts |
| time embedding | its features hardly vary over the range of times |
| gradients | a parameter gets no gradient |
| loss | it stays at the loss of predicting 0 |

The scale of the data is checked when it is read, and gradients are checked to be finite in every step. A sparse one is
refused before the first.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refdiff.errors import ConfigError
from refdiff.loss import Objective
from refdiff.marginal import marginal
from refdiff.nn import TimeEmbedding
from refdiff.tensors import Data
from refdiff.times import TimeSampler
from refdiff.training import build
from refdiff.training.labels import conditioned

KL_PER_FEATURE = 0.01
"""Largest KL divergence of x_t at the last time from N(0, I), nats per feature; the default linear has 2.2e-5."""
MOVES = 0.2
"""Smallest standard deviation over time, averaged over embedding features; 0.02 with unscaled time, 0.49 scaled."""
STUCK = 0.98
"""Fraction of the trivial loss above which the loss counts as stuck."""
PATIENCE = 500
"""Number of steps before the loss is checked."""
ROUNDS = 64
"""Times per example in the trivial loss: with one, 64 examples estimate 103 where inverse_snr on eps has 411."""


def before(
    model: nn.Module, objective: Objective, times: TimeSampler, examples: Data, label: Tensor | None = None
) -> Iterator[str]:
    """Yield the findings before the first step; examples: a small batch on the model's device; label: its labels."""
    yield from _noise(objective, times, examples)
    yield from _embedding(model, times, examples.device)
    yield from _gradients(model, objective, times, examples, label)


def stuck(loss: float, trivial: float, step: int) -> Iterator[str]:
    """Yield a finding if the mean loss has not fallen below that of predicting 0."""
    if step >= PATIENCE and loss > STUCK * trivial:
        yield (
            f"the loss is {loss:.4g} after {step} steps, and predicting 0 gives {trivial:.4g}: check the learning "
            "rate, and that the network uses t"
        )


def trivial(objective: Objective, times: TimeSampler, examples: Data) -> float:
    """Return the mean loss of predicting 0, as before training."""
    drawn, losses = torch.Generator(examples.device).manual_seed(0), []
    for i in range(ROUNDS):
        t = _everywhere(times, examples, (i + 0.5) / ROUNDS)
        eps = torch.randn(examples.shape, generator=drawn, device=examples.device).to(examples.dtype)
        losses.append(objective(lambda x_t, _: torch.zeros_like(x_t), examples, eps, t).mean())
    return float(torch.stack(losses).mean())


def _noise(objective: Objective, times: TimeSampler, examples: Data) -> Iterator[str]:
    alpha_bar = float(marginal(objective.process, times.last).alpha) ** 2
    # KL(N(alpha x_0, sigma^2) | N(0, 1)) = (alpha_bar x_0^2 - alpha_bar - log(1 - alpha_bar))/2, averaged over x_0.
    square = float(examples.double().square().mean())
    divergence = 0.5 * (alpha_bar * (square - 1.0) - float(torch.log1p(torch.tensor(-alpha_bar, dtype=torch.float64))))
    if not divergence <= KL_PER_FEATURE:
        yield (
            f"alpha_bar is {alpha_bar:.3g} at the last time, {divergence:.3g} nats per feature from the N(0, I) where "
            "sampling starts: use more noise (larger beta_max or beta_end, more steps) or a later t_max"
        )


def _embedding(model: nn.Module, times: TimeSampler, device: torch.device) -> Iterator[str]:
    everywhere = times.at((torch.arange(256, dtype=torch.float64) + 0.5) / 256).to(device)
    for name, part in model.named_modules():
        if isinstance(part, TimeEmbedding):
            moves = float(part(everywhere).std(0).mean())
            if not moves >= MOVES:
                yield (
                    f"the features of {name or 'the embedding'} have standard deviation {moves:.2g} over all times, "
                    f"expected at least {MOVES}: check that time is scaled, by 1000 for t in [0, 1]"
                )


def _gradients(
    model: nn.Module, objective: Objective, times: TimeSampler, examples: Data, label: Tensor | None
) -> Iterator[str]:
    few, denoiser = examples[:2], conditioned(model, None if label is None else label[:2])
    # In evaluation mode, so that no dropout mask is drawn and no running mean is updated.
    with build.evaluating(model):
        loss = objective(denoiser, few, torch.ones_like(few), _everywhere(times, few)).sum()
    if loss.requires_grad:
        torch.autograd.backward(loss)
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    sparse = [name for name, value in model.named_parameters() if value.grad is not None and value.grad.is_sparse]
    model.zero_grad(set_to_none=True)
    if sparse:  # no finding that a user may overrule: torch takes no norm of them
        raise ConfigError(f"expected dense gradients, got a sparse one of {sparse[0]} (TRN-8)")
    if without:
        shown = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
        yield f"parameters without a gradient ({len(without)}): {shown}"


def _everywhere(times: TimeSampler, examples: Data, within: float = 0.5) -> Tensor:
    """Return one time per example, in equal parts of the range; `within` is the position inside each part."""
    n = len(examples)
    t = times.at((torch.arange(n, dtype=torch.float64) + within) / n).to(examples.device)
    return t.to(examples.dtype) if t.is_floating_point() else t
