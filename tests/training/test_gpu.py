"""What holds on the CPU holds on a GPU: `python -m validation.tools.gpu` runs these where there is one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from refdiff import ConfigError, CosineSchedule, LinearSchedule, perturb
from refdiff.training import generate
from refdiff.training.config import BatchConfig, ConditionConfig, Config, MonitorConfig, OptimizerConfig, RuntimeConfig
from refdiff.training.generate import Trained
from refdiff.training.run import train
from validation.tools import gpu

from . import runs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none"),
    # Inductor and cuBLAS warn of what they do not do.
    pytest.mark.filterwarnings("default"),
]
WAYS = {
    **gpu.WAYS,
    "compile": RuntimeConfig(device="cuda", compile=True),
    "float64": RuntimeConfig(device="cuda", precision="float64"),
}
of_every_way = pytest.mark.parametrize("machine", WAYS.values(), ids=WAYS)
of_every_schedule = pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()], ids=["linear", "cosine"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file of images."""
    return runs.images(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Multiply float32 as float32: TensorFloat32 has 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def _weights(out: Path) -> dict[str, Tensor]:
    """Return model and average."""
    return {
        f"{kind} {name}": value
        for kind in ("model", "ema")
        for name, value in load_file(out / f"{kind}.safetensors").items()
    }


def _same(one: Path, other: Path) -> bool:
    ours, theirs = _weights(one), _weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures("unhooked")
@of_every_way
def test_training_learns(tmp_path: Path, machine: RuntimeConfig) -> None:
    """TRN-8: in each precision and form 100 steps on the digits bring the loss down, and leave finite weights.

    On a CPU, from 0.74 over the first 20 steps to 0.45 over the last.
    """
    how = runs.config("digits", steps=100, runtime=machine, monitor=replace(runs.QUIET, log_every=20))
    losses = [row["loss"] for row in runs.run(how, tmp_path).rows if row["kind"] == "train"]
    assert losses[-1] < 0.75 * losses[0]
    assert all(bool(torch.isfinite(value).all()) for value in _weights(tmp_path).values())


@pytest.mark.usefixtures("unhooked")
@of_every_way
def test_two_runs_are_the_same_to_the_bit(data: str, tmp_path: Path, machine: RuntimeConfig) -> None:
    """TRN-9: on one GPU, in each precision and form."""
    how = runs.config(data, runtime=machine)
    for name in ("one", "other"):
        runs.run(how, tmp_path / name)
    assert _same(tmp_path / "one", tmp_path / "other")


@pytest.mark.usefixtures("unhooked")
@of_every_way
def test_resumed_is_uninterrupted_to_the_bit(data: str, tmp_path: Path, machine: RuntimeConfig) -> None:
    """TRN-9, TRN-11: half a run, and its other half, on one GPU."""
    how = runs.config(data, runtime=machine)
    runs.run(how, tmp_path / "whole")
    runs.run(replace(how, steps=10), tmp_path / "halves")
    runs.run(how, tmp_path / "halves", resume=True)
    assert _same(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_checkpoint_resumes_on_another_device(data: str, tmp_path: Path, first: str, then: str) -> None:
    """TRN-11: `runtime.device = "auto"` takes up on one device what another saved, its weights to the bit."""
    started = runs.config(data, steps=5, runtime=RuntimeConfig(device="auto"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: first == "cuda")
        runs.run(started, tmp_path)
    before = _weights(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: then == "cuda")
        taken = runs.run(started, tmp_path, resume=True)
        assert {value.device.type for value in taken.state.model.parameters()} == {then}
        assert all(torch.equal(before[name], value) for name, value in _weights(tmp_path).items())
        result = runs.run(replace(started, steps=10), tmp_path, resume=True)
    assert result.state.step == 10
    assert not any(torch.equal(before[name], value) for name, value in _weights(tmp_path).items())


def _apart(how: Config, folder: Path) -> float:
    """Return how far apart the weights are that a run ends with on CPU and GPU."""
    outs = {device: folder / device for device in ("cpu", "cuda")}
    for device, out in outs.items():
        runs.run(replace(how, runtime=replace(how.runtime, device=device)), out)
    return runs.distance(*(load_file(out / "model.safetensors") for out in outs.values()))


def test_first_weights_do_not_depend_on_the_device(data: str, tmp_path: Path) -> None:
    """TRN-9: weights are drawn on the CPU; a step, of a gradient of norm 1 at most, moves each by the rate at most."""
    still = OptimizerConfig(kind="sgd", lr=1e-30, warmup=0, lr_schedule="constant")
    assert _apart(runs.config(data, steps=1, optimizer=still), tmp_path) <= 2e-30


@of_every_schedule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_coefficients_are_those_of_the_cpu(schedule: LinearSchedule | CosineSchedule, dtype: torch.dtype) -> None:
    """MAR-1, MAR-2, MAR-4: within 4 u (1 + |x_0| + |eps|) of each other, what the clauses give a target of this dtype.

    Formats narrower than float64 are rounded from it, so that they may be an ulp apart where it is at a tie.
    """
    generator = torch.Generator().manual_seed(0)
    t = torch.cat([torch.tensor([0.0, 1.0]), torch.rand(4094, generator=generator, dtype=torch.float64)]).to(dtype)
    x_0, eps = (torch.randn(len(t), 3, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    u = torch.finfo(dtype).eps / 2
    for name in ("alpha", "sigma"):
        here, there = getattr(schedule, name)(t).double(), getattr(schedule, name)(t.cuda()).cpu().double()
        assert float((here - there).abs().max()) <= 4 * u
    here, there = perturb(schedule, x_0, eps, t), perturb(schedule, x_0.cuda(), eps.cuda(), t.cuda()).cpu()
    bound = 4 * u * (1.0 + x_0.double().abs() + eps.double().abs())
    assert bool(((here.double() - there.double()).abs() <= bound).all())


@of_every_schedule
def test_times_outside_the_domain_give_nan(schedule: LinearSchedule | CosineSchedule) -> None:
    """SCH, MAR-1, MAR-2: looking would wait for the device, so nothing is raised, and nothing plausible returned."""
    t = torch.tensor([-1e-3, 1.001, float("nan"), float("inf"), -float("inf"), 0.5], device="cuda")
    for name in ("alpha", "sigma", "log_snr", "beta"):
        assert torch.isnan(getattr(schedule, name)(t)).tolist() == [True] * 5 + [False], name
    x = torch.ones(6, 2, device="cuda")
    assert torch.isnan(perturb(schedule, x, x, t)).all(1).tolist() == [True] * 5 + [False]


def test_samples_are_those_of_the_cpu(data: str, tmp_path: Path) -> None:
    """SMP-6: from one checkpoint and the same noise, by ten steps of DDIM.

    Sums of float32 in another order differ by some 1e-6 of their size, which ten steps may add up.
    """
    runs.run(runs.config(data, runtime=RuntimeConfig(device="cuda")), tmp_path)
    noise, made = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), {}
    for device in ("cpu", "cuda"):
        trained = Trained(tmp_path, device=device)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", lambda *_, device, **__: noise.to(device))
            known = (trained.model, trained.objective, trained.times, trained.event)
            made[device] = generate.samples(*known, 16, seed=0, steps=10)
    torch.testing.assert_close(made["cuda"], made["cpu"], rtol=1e-4, atol=1e-4)


def test_pictures_evaluations_and_findings(tmp_path: Path) -> None:
    """TRN-13: a labelled run on the GPU draws, evaluates and saves as one on the CPU does."""
    watch = MonitorConfig(log_every=10, picture_every=10, eval_every=10, eval_samples=64, save_every=10, guidance=2.0)
    machine, labelled = RuntimeConfig(device="cuda"), ConditionConfig(labels=True)
    runs.run(runs.config("digits", runtime=machine, monitor=watch, condition=labelled), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"run.html", "samples.png", "metrics.jsonl", "ema.safetensors"}


def _said(*command: str) -> tuple[int, str]:
    """Return the exit code of a command, and what it wrote on stderr."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "launch", [("-m", "refdiff"), ("-m", "torch.distributed.run", "--nproc-per-node=1", "-m", "refdiff")]
)
def test_commands(tmp_path: Path, launch: tuple[str, ...]) -> None:
    """TRN-8 to TRN-13: train and sample choose the GPU by themselves, by hand and under torchrun."""
    code, said = _said(sys.executable, *launch, "train", "--out", str(tmp_path / "run"), "--steps", "20")
    assert code == 0, said
    assert "parameters on cuda:0" in said
    asked = ("--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "samples"), "--num", "4")
    code, said = _said(sys.executable, "-m", "refdiff", "sample", *asked)
    assert code == 0, said
    assert (tmp_path / "samples" / "samples.png").exists()


def test_a_failed_allocation_is_told(data: str, tmp_path: Path) -> None:
    """TRN-8: one sentence, where a batch fits in the memory, but not what the network needs for its gradient."""
    how = runs.config(data, runtime=RuntimeConfig(device="cuda"))
    with pytest.raises(ConfigError, match=r"^expected enough memory on cuda:0, got .* lower batch.size.*\(TRN-8\)$"):
        train(how, tmp_path, denoiser=lambda event: runs.Hungry(), say=runs.quiet)


def test_a_batch_that_does_not_fit_is_refused(data: str, tmp_path: Path) -> None:
    """TRN-8: before the first step, by the memory of the GPU."""
    free = torch.cuda.mem_get_info()[0]
    how = runs.config(data, steps=1, batch=BatchConfig(size=free // 64, shards=1), runtime=RuntimeConfig(device="cuda"))
    with pytest.raises(ConfigError, match=r"^expected at most the .* of memory available, got .*batch.size"):
        runs.run(how, tmp_path)
    assert not tmp_path.joinpath("checkpoints").exists()
