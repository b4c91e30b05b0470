"""refdiff.training.plugins: the user's own code is called once before the first step, and its mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from refdiff.__main__ import main
from refdiff.training import checkpoint
from refdiff.training.quality import frechet

MODULE = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made, self.layer, self.num_features = made, nn.Linear(2, 2), 2
    def forward(self, x, t=None):
        return self.made(self.layer(x))

class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.inner = nn.Linear(2, 2), nn.Module()
        self.inner.weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    def forward(self, x, t=None):
        return torch.fft.irfft(torch.fft.rfft(self.layer(x)) * self.inner.weight, n=2)

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(2, 2, sparse=True)
    def forward(self, x, t=None):
        return self.rows((x[:, 0] > 0).long())

def right(event): return Net(lambda y: y)
def spectral(event): return Spectral()
def sparse(event): return Table()
def raises(event): raise KeyError("my own\\nmistake")
def leaves(event): sys.exit(0)
def returns_none(event): return None
def returns_class(event): return Net
def no_arguments(): return Net(lambda y: y)
def wide(event): return Net(lambda y: torch.cat([y, y], 1))
def whole(event): return Net(lambda y: y.long())
def infinite(event): return Net(lambda y: y / 0)
def pair(event): return Net(lambda y: (y, y))
def fails_inside(event): return Net(lambda y: y.nonsense)
def features(): return Net(lambda y: y)
def wide_features(): return Net(lambda y: torch.cat([y, y], 1))
def uncounted(): return nn.Identity()
"""
SMALL = ["--steps", "1", "--batch.size", "4", "--monitor.on-findings", "warn", "--monitor.picture-every", "0"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command of a small run, in a folder with modules of the user."""
    (tmp_path / "plugged.py").write_text(MODULE)
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "broken.py").write_text("def (\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    np.save(tmp_path / "points.npy", np.random.default_rng(0).uniform(-1.0, 1.0, (24, 2)))
    return ["train", "--out", str(tmp_path / "run"), "--data", str(tmp_path / "points.npy"), *SMALL]


@pytest.mark.parametrize(("wrong", "said"), [
    ("--denoiser leaving:f", r"leaving:f: SystemExit: 0 \(at .*leaving.py:2\)"),
    ("--denoiser broken:f", "broken:f: SyntaxError: "),
    ("--denoiser plugged:missing", "AttributeError: .*'missing'"),
    ("--denoiser plugged:raises", r"plugged:raises: KeyError: .*mistake.* \(at .*plugged.py:\d+\)"),
    ("--denoiser plugged:leaves", r"SystemExit: 0 \(at .*plugged.py:\d+\)"),
    ("--denoiser plugged:returns_none", "expected plugged:returns_none to return a torch.nn.Module, got NoneType"),
    ("--denoiser plugged:returns_class", "got the class Net"),
    ("--denoiser plugged:no_arguments", "TypeError: "),
    ("--denoiser plugged:wide", r"expected a tensor of shape \(2, 2\) from Net, got \(2, 4\)"),
    ("--denoiser plugged:whole", "expected floats from Net, got torch.int64"),
    ("--denoiser plugged:infinite", "expected finite values from Net"),
    ("--denoiser plugged:pair", "got tuple"),
    ("--denoiser plugged:fails_inside", r"AttributeError: .*nonsense.* \(at .*plugged.py:\d+\)"),
    ("--denoiser plugged:sparse", "expected dense gradients, got a sparse one of rows.weight"),
    ("--features plugged:wide_features", r"expected a tensor of shape \(2, 2\) from Net, got \(2, 4\)"),
    ("--features plugged:uncounted", "num_features, got None"),
    ("--features plugged:right", "TypeError: "),
])  # fmt: skip
def test_mistakes_of_a_plug_in_are_one_sentence(
    command: list[str], capsys: pytest.CaptureFixture[str], wrong: str, said: str
) -> None:
    """TRN-8: before the first step, with the name of the function and the line of the user's own code."""
    assert main([*command, *wrong.split()]) == 2
    line = capsys.readouterr().err
    assert re.fullmatch(r"refdiff: expected .+, got .+ \([A-Z]{3}-\d+\)\n", line)
    assert re.search(said, line)
    assert checkpoint.listed(Path(command[2])) == []


def test_right_plug_ins_train(command: list[str]) -> None:
    """TRN-8: the check refuses no network and no extractor that is right, and leaves the network as it was."""
    assert main([*command, "--denoiser", "plugged:right", "--features", "plugged:features"]) == 0
    assert checkpoint.listed(Path(command[2]))


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_complex_weights_are_trained(command: list[str], kind: str) -> None:
    """TRN-8, TRN-11: by each optimizer, though torch's fused ones take floats alone; and the run resumes."""
    train = [*command, "--denoiser", "plugged:spectral", "--optimizer.kind", kind]
    assert main(train) == 0
    assert main([*train, "--steps", "2", "--resume"]) == 0
    assert checkpoint.listed(Path(command[2]))


def test_features_of_either_dtype_give_the_distance() -> None:
    """TRN-13: the extractor's own weights are used, in their own dtype, and stay as they are."""
    linear = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.diag(torch.tensor([3.0, 3.0])))
    linear.num_features = 2  # type: ignore[assignment]  # torch's modules have any attribute
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    got, plain = frechet(x, x + 1.0, linear), frechet(x, x + 1.0)
    assert abs(got - 9.0 * plain) <= 1e-4 * got
    assert linear.weight.dtype == torch.float32
