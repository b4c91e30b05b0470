"""What goes wrong in training most often, looked for before the first step and on the way (TRN-12).

| check | says |
|---|---|
| noise at the end | alpha_bar(t_max) is so large that samples, which start at N(0, I), start elsewhere |
| times told apart | the embedding hardly moves over the range of times |
| gradients | a parameter has none |
| loss | it stays at what the prediction 0 has |

That data is scaled is checked where it is read, and that gradients are finite in every step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refdiff.loss import Objective
from refdiff.marginal import marginal
from refdiff.nn import TimeEmbedding
from refdiff.tensors import Data
from refdiff.times import Continuous, Discrete
from refdiff.training import build
from refdiff.training.floor import at

KL_PER_FEATURE = 0.01
"""Nats by which the law of x_t at the last time may differ from N(0, I), per feature; 2.2e-5 for the linear default."""
MOVES = 0.2
"""Least standard deviation of the features of time over its range, their mean; 0.02 without scaling, 0.49 with."""
STUCK = 0.98
"""Share of the trivial loss above which the loss is stuck."""
PATIENCE = 500
"""Steps after which it should not be."""
ROUNDS = 64
"""Times that each example is seen at for the trivial loss: at one, 64 examples say 103 for 411 of inverse_snr's eps."""


def before(model: nn.Module, objective: Objective, times: Continuous | Discrete, examples: Data) -> Iterator[str]:
    """Yield what is wrong before the first step; examples: a few, where the model is."""
    yield from _noise(objective, times, examples)
    yield from _embedding(model, times, examples.device)
    yield from _gradients(model, objective, times, examples)


def stuck(loss: float, trivial: float, step: int) -> Iterator[str]:
    """Yield what is wrong with a mean loss on the way."""
    if step >= PATIENCE and loss > STUCK * trivial:
        yield (
            f"the loss is {loss:.4g} after {step} steps, and the prediction 0 has {trivial:.4g}: is the learning rate "
            "too large or too small, does the network see the time?"
        )


def trivial(objective: Objective, times: Continuous | Discrete, examples: Data) -> float:
    """Return the mean loss of the prediction 0, which a network that learns nothing has."""
    drawn, losses = torch.Generator(examples.device).manual_seed(0), []
    for i in range(ROUNDS):
        t = _everywhere(times, examples, (i + 0.5) / ROUNDS)
        eps = torch.randn(examples.shape, generator=drawn, device=examples.device).to(examples.dtype)
        losses.append(objective(lambda x_t, _: torch.zeros_like(x_t), examples, eps, t).mean())
    return float(torch.stack(losses).mean())


def _noise(objective: Objective, times: Continuous | Discrete, examples: Data) -> Iterator[str]:
    last = (
        torch.tensor([times.steps]) if isinstance(times, Discrete) else torch.tensor([times.t_max], dtype=torch.float64)
    )
    alpha_bar = float(marginal(objective.process, last).alpha) ** 2
    # KL of N(alpha x_0, sigma^2) from N(0, 1): (alpha_bar x_0^2 - alpha_bar - log(1 - alpha_bar))/2, in the mean.
    square = float(examples.double().square().mean())
    divergence = 0.5 * (alpha_bar * (square - 1.0) - float(torch.log1p(torch.tensor(-alpha_bar, dtype=torch.float64))))
    if not divergence <= KL_PER_FEATURE:
        yield (
            f"alpha_bar is {alpha_bar:.3g} at the last time, {divergence:.3g} nats per feature from the N(0, I) where "
            "samples start: take more noise (a larger beta_max or beta_end, more steps) or a later t_max"
        )


def _embedding(model: nn.Module, times: Continuous | Discrete, device: torch.device) -> Iterator[str]:
    everywhere = at(times, (torch.arange(256, dtype=torch.float64) + 0.5) / 256).to(device)
    for name, part in model.named_modules():
        if isinstance(part, TimeEmbedding):
            moves = float(part(everywhere).std(0).mean())
            if not moves >= MOVES:
                yield (
                    f"the features of {name or 'the embedding'} have standard deviation {moves:.2g} over all times "
                    f"and want {MOVES}: is time scaled, by 1000 for t in [0, 1]?"
                )


def _gradients(model: nn.Module, objective: Objective, times: Continuous | Discrete, examples: Data) -> Iterator[str]:
    few = examples[:2]
    # In evaluation: no mask is drawn, and no running mean moves.
    with build.evaluating(model):
        loss = objective(model, few, torch.ones_like(few), _everywhere(times, few)).sum()
    if loss.requires_grad:
        torch.autograd.backward(loss)
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    model.zero_grad(set_to_none=True)
    if without:
        shown = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
        yield f"{len(without)} parameters get no gradient: {shown}"


def _everywhere(times: Continuous | Discrete, examples: Data, within: float = 0.5) -> Tensor:
    """Return one time per example, evenly over the range, each at a share of its own part."""
    n = len(examples)
    t = at(times, (torch.arange(n, dtype=torch.float64) + within) / n).to(examples.device)
    return t.to(examples.dtype) if t.is_floating_point() else t
