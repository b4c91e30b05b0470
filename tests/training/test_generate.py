"""refdiff.training.generate: what samples depend on, and how they are shown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from refdiff.errors import RefdiffError
from refdiff.nn import Architecture, UNet
from refdiff.training import build, checkpoint, config
from refdiff.training.errors import CheckpointError
from refdiff.training.generate import AT_ONCE, Trained, png, samples, write

TINY = config.Config(network=Architecture(width=4, multipliers=(1,), groups=2, dropout=0.5))


def net(seed: int = 0) -> UNet:
    """Return a network that predicts something."""
    drawn = torch.Generator().manual_seed(seed)
    made = UNet(1, TINY.network)
    for value in made.parameters():
        value.data = 0.2 * torch.randn(value.shape, generator=drawn)
    return made


def made(model: nn.Module, count: int, seed: int = 0, rule: Any = "ddim", kind: Any = "cosine") -> Tensor:
    """Return samples of two steps."""
    noise = build.process(config.ProcessConfig(kind=kind))
    times = build.times(config.TimesConfig(), noise, torch.float32)
    objective = build.objective(config.ObjectiveConfig(), noise)
    return samples(model, objective, times, (1, 4, 4), count, seed=seed, sampler=rule, steps=2)


@pytest.mark.parametrize("rule", ["ddim", "ddpm"])
def test_full_batches_do_not_depend_on_the_count(rule: str) -> None:
    """TRN-13: noise belongs to a part of 256, so that more samples begin with the same parts, to the bit."""
    model = net()
    some, more = made(model, 2 * AT_ONCE, rule=rule), made(model, 2 * AT_ONCE + 3, rule=rule)
    assert more.shape == (2 * AT_ONCE + 3, 1, 4, 4)
    assert torch.equal(more[: 2 * AT_ONCE], some)
    assert len(torch.unique(more, dim=0)) == len(more)


def test_seed_determines_the_samples() -> None:
    """TRN-13: the same again with the same, whatever torch's own generator; others with another."""
    model = net()
    one = made(model, 20)
    torch.rand(1)
    assert torch.equal(made(model, 20), one)
    assert not bool((made(model, 20, seed=1) == one).flatten(1).all(1).any())
    assert bool((one.abs() <= 1.0).all())


def test_mode_of_the_model_is_restored() -> None:
    """TRN-13: the mode of each part, also after an error; dropout has no part in a sample."""
    model = net().train()
    model.middle.eval()
    before = [part.training for part in model.modules()]
    made(model, 2)
    assert [part.training for part in model.modules()] == before
    with pytest.raises(RefdiffError):
        made(model, 2, rule="ode", kind="linear_chain")
    assert [part.training for part in model.modules()] == before
    assert not any(value.grad is not None for value in model.parameters())


@pytest.mark.parametrize("rule", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["v", "x_0"])
def test_chains_with_zero_terminal_snr_are_sampled(prediction: Any, rule: Any) -> None:
    """DIS-6: from an end without signal, of which the first step makes finite data."""
    noise = build.process(config.ProcessConfig(kind="linear_chain", steps=30, zero_terminal_snr=True))
    times = build.times(config.TimesConfig(), noise, torch.float32)
    objective = build.objective(config.ObjectiveConfig(prediction=prediction), noise)
    got = samples(net(), objective, times, (1, 4, 4), 3, seed=0, sampler=rule, steps=5)
    assert float(noise.alpha(torch.tensor([30]))) == 0.0
    assert bool(got.isfinite().all())
    assert len(torch.unique(got, dim=0)) == 3


def test_labels_are_written_beside_their_samples(tmp_path: Path) -> None:
    """SMP-9: int64, and a row of the picture for each."""
    write(tmp_path, torch.zeros(6, 1, 8, 8), torch.tensor([4, 4, 4, 1, 1, 1]))
    label = np.load(tmp_path / "labels.npy")
    assert (label.dtype, label.tolist()) == (np.int64, [4, 4, 4, 1, 1, 1])
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (3 * 34 + 2, 2 * 34 + 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 9, 10])
def test_every_image_is_in_the_picture(channels: int, n: int) -> None:
    """TRN-13: in rows, in order, enlarged; -1 is 0 and 1 is 255; grey between and in places left empty."""
    images = torch.linspace(-1.0, 1.0, n * channels * 64).reshape(n, channels, 8, 8)
    shown = np.asarray(Image.open(io.BytesIO(png(images))))
    columns = int(np.ceil(np.sqrt(n)))
    assert shown.shape[:2] == (-(-n // columns) * 34 + 2, columns * 34 + 2)
    assert (shown[:2] == 96).all()
    for i in range(n):
        tile = shown[2 + i // columns * 34 :, 2 + i % columns * 34 :][:32:4, :32:4].reshape(8, 8, channels)
        wanted = np.round((np.moveaxis(images[i].numpy(), 0, -1) + 1.0) * 127.5)
        assert np.abs(tile - wanted).max() <= 1.0
    if n == 5:
        assert (shown[36:68, 70:102] == 96).all()
    assert (shown[2, 2].min(), shown.max()) == (0, 255)


def test_samples_are_written_as_numbers_and_a_picture(tmp_path: Path) -> None:
    """TRN-11: float32; two channels have no picture."""
    write(tmp_path / "a", torch.zeros(2, 1, 4, 4, dtype=torch.float64))
    assert np.load(tmp_path / "a" / "samples.npy").dtype == np.float32
    assert (tmp_path / "a" / "samples.png").exists()
    write(tmp_path / "b", torch.zeros(2, 2, 4, 4))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["samples.npy"]


def test_exported_network_gives_the_same_samples(tmp_path: Path) -> None:
    """TRN-11: what an exported file samples is what the network sampled."""
    model = net().eval()
    checkpoint.export(tmp_path / "ema.safetensors", model, TINY, (1, 4, 4), 1)
    trained = Trained(tmp_path)
    assert torch.equal(trained.samples(3, seed=0, sampler="ddim", steps=2), made(model, 3))
    own = Trained(tmp_path, lambda event: UNet(event[0], TINY.network))
    assert torch.equal(own.samples(3, seed=0, sampler="ddim", steps=2), made(model, 3))
    for count, walk in ((0, 1), (1, 0)):
        with pytest.raises(RefdiffError, match=r"^expected at least 1 sample and 1 step.* \(SMP-6\)$"):
            trained.samples(count, seed=0, sampler="ddim", steps=walk)


@pytest.mark.parametrize(
    "plan",
    [
        Architecture(width=8, multipliers=(1,)), Architecture(width=2**20, multipliers=(1,)),
        Architecture(width=4, multipliers=(1,), groups=2, blocks=1000),
    ],
    ids=["other", "vast", "endless"],
)  # fmt: skip
def test_weights_of_another_network_are_refused(tmp_path: Path, plan: Architecture) -> None:
    """TRN-11: in one sentence, without room or time for the network that the file promises."""
    path = tmp_path / "a.safetensors"
    checkpoint.export(path, net(), config.Config(network=plan), (1, 4, 4), 1)
    with pytest.raises(CheckpointError, match=r"^expected weights of this network, got [^\n]+ \(TRN-11\)$"):
        Trained(path)
