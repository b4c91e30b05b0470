"""refdiff.training.step: a loop is built from settings, data and a network, and from nothing else."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from refdiff.chain import DiscreteChain
from refdiff.training.config import BatchConfig, Config, RuntimeConfig
from refdiff.training.data import Examples
from refdiff.training.distributed import World
from refdiff.training.step import Loop

from . import runs

CPU = World(device=torch.device("cpu"))


def build(config: Config, **more: object) -> Loop:
    """Return a loop over points."""
    raw = np.random.default_rng(0).uniform(-1.0, 1.0, (20, 2))
    return Loop.build(config, Examples(raw, np.arange(20), -1.0, 1.0), world=CPU, **more)  # type: ignore[arg-type]  # keyword arguments of `build`


def weights(loop: Loop) -> torch.Tensor:
    """Return all weights in one vector."""
    return nn.utils.parameters_to_vector(loop.state.model.parameters())


def test_seed_determines_the_first_weights() -> None:
    """TRN-9: whatever was drawn before; the default generator is left as it was."""
    config = Config(batch=BatchConfig(size=8, shards=2))
    before = torch.get_rng_state()
    one = build(config, factory=runs.Affine)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(weights(build(config, factory=runs.Affine)), weights(one))
    assert not torch.equal(weights(build(Config(seed=1), factory=runs.Affine)), weights(one))


def test_built_loop_follows_its_settings() -> None:
    """A given process replaces that of the settings; dtype, order and sizes are those of the settings."""
    config = Config(seed=3, batch=BatchConfig(size=8, shards=2), runtime=RuntimeConfig(precision="float64"))
    chain = DiscreteChain.cosine(20)
    loop = build(config, process=chain)
    assert loop.objective.process is chain
    assert weights(loop).dtype == torch.float64
    assert (loop.order.seed, loop.order.examples, loop.order.batch, loop.order.shards) == (3, 20, 8, 2)
    x_0, _, t, _ = loop.draw([0, 1])
    assert (x_0.dtype, len(x_0)) == (torch.float64, 8)
    assert ((t >= 1) & (t <= 20)).all()
    assert not t.is_floating_point()
    assert loop.step().loss.shape == (8,)
    assert loop.state.step == 1
