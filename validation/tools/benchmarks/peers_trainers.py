"""The trainers that `peers` compares, behind one interface; each is built from settings that the record states.

| class | trains with | as shown by |
|---|---|---|
| `Refdiff` | `Loop.step`, and the monitor that logs it | the defaults of `Config` |
| `DenoisingDiffusion` | `Trainer` of denoising-diffusion-pytorch, reading a folder of images | its README |
| `Diffusers` | UNet2DModel, DDPMScheduler, AdamW and accelerate | its tutorial "Train a diffusion model" |

diffusers has no trainer, so its tutorial's loop is written here. Each library initialises, shuffles, noises, optimises,
averages and samples with its own code. Libraries are imported when a trainer is built, so that this module can be
imported without them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final
from unittest.mock import patch

import torch
from torch import Tensor, nn

from refdiff.nn import Architecture
from refdiff.training import generate
from refdiff.training.config import Config, RuntimeConfig
from refdiff.training.data import Examples
from refdiff.training.distributed import World
from refdiff.training.monitor import Monitor
from refdiff.training.step import Loop

from .peers_rows import Sampler

Settings: TypeAlias = Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained: the same for each library."""

    data: Examples
    """Training digits."""
    steps: int
    """Optimizer steps that fit the budget."""
    seed: int
    folder: Path
    """An empty folder, for what a library writes."""


class Trainer(Protocol):
    """A trainer of one library, built from settings and a plan."""

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""

    def advance(self, steps: int) -> None:
        """Take so many optimizer steps."""

    def samples(self, count: int, sampler: Sampler) -> Tensor:
        """Return samples of the trained network, (count, 1, 8, 8) in [-1, 1]."""


@final
class Refdiff:
    """refdiff's loop and monitor, as `run.train` calls them."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        """Build the loop of the default config, with another network."""
        how = Config(runtime=RuntimeConfig(device="cpu"), network=Architecture(**settings["network"]))
        self.how = replace(how, steps=plan.steps, seed=plan.seed)
        self.loop = Loop.build(self.how, plan.data, world=World(device=torch.device("cpu")))
        self.monitor = Monitor(plan.folder, self.loop.world, self.loop.state.times, how.monitor.buckets, None, 1.0)
        self.network = self.loop.state.model

    def advance(self, steps: int) -> None:
        """Take so many optimizer steps, and log as often as the config says."""
        state = self.loop.state
        for _ in range(steps):
            self.monitor.record(self.loop.step())
            if state.step % self.how.monitor.log_every == 0:
                self.monitor.write(self.monitor.summary(state.step, state.optimizer.param_groups[0]["lr"]))

    def samples(self, count: int, sampler: Sampler) -> Tensor:
        """Return samples of the averaged weights."""
        loop = self.loop
        return generate.samples(
            loop.state.ema.module, loop.objective, loop.state.times, loop.data.event, count,
            seed=self.how.seed, sampler="ddim", steps=sampler.steps,
        )  # fmt: skip


@final
class DenoisingDiffusion:
    """`Trainer` of denoising-diffusion-pytorch."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        """Write the digits as images, and build the trainer; its learning rate does not depend on the steps."""
        os.environ["ACCELERATE_USE_CPU"] = "true"
        library: Any = import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
        torch.manual_seed(plan.seed)
        self.seed, self.network = plan.seed, library.Unet(channels=1, **settings["network"])
        diffusion = library.GaussianDiffusion(self.network, image_size=plan.data.event[-1], **settings["diffusion"])
        write_images(plan.data, plan.folder / "digits")
        # Workers would load images beside the one thread of which the CPU time is counted.
        with patch.object(library, "cpu_count", lambda: 0), _quiet():
            self.trainer: Any = library.Trainer(
                diffusion, str(plan.folder / "digits"), results_folder=str(plan.folder / "results"),
                convert_image_to="F", calculate_fid=False, save_and_sample_every=10**12, **settings["trainer"],
            )  # fmt: skip

    def advance(self, steps: int) -> None:
        """Take so many optimizer steps."""
        self.trainer.train_num_steps = self.trainer.step + steps
        with _quiet():
            self.trainer.train()

    def samples(self, count: int, sampler: Sampler) -> Tensor:
        """Return samples of the averaged weights."""
        averaged = self.trainer.ema.ema_model.eval()
        averaged.sampling_timesteps = sampler.steps
        averaged.is_ddim_sampling = sampler.steps < averaged.num_timesteps
        torch.manual_seed(self.seed)
        with _quiet():
            made: Tensor = averaged.sample(batch_size=count)
        return (made * 2.0 - 1.0).clamp(-1.0, 1.0).clone()


@final
class Diffusers:
    """The training loop of diffusers' tutorial, without pictures, uploads and logs."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        """Build network, noise scheduler, optimizer and schedule of the learning rate over the planned steps."""
        library: Any = import_module("diffusers")
        optimization: Any = import_module("diffusers.optimization")
        accelerate: Any = import_module("accelerate")
        torch.manual_seed(plan.seed)
        side = plan.data.event[-1]
        network = library.UNet2DModel(sample_size=side, in_channels=1, out_channels=1, **settings["network"])
        self.library, self.seed, self.noising = library, plan.seed, library.DDPMScheduler(**settings["scheduler"])
        optimizer = torch.optim.AdamW(network.parameters(), **settings["optimizer"])
        schedule = optimization.get_cosine_schedule_with_warmup(
            optimizer=optimizer, num_warmup_steps=settings["warmup"], num_training_steps=plan.steps
        )
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(plan.data.take(slice(None))), batch_size=settings["batch"], shuffle=True
        )
        self.accelerator: Any = accelerate.Accelerator(mixed_precision="no", cpu=True)
        self.network, self.optimizer, self.loader, self.schedule = self.accelerator.prepare(
            network, optimizer, loader, schedule
        )
        self.average = _average(settings["average"], self.network)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            yield from (batch for (batch,) in self.loader)

    def advance(self, steps: int) -> None:
        """Take so many optimizer steps: predict noise, or v, at uniform timesteps, with the mean squared error."""
        last = self.noising.config.num_train_timesteps
        for x_0 in (next(self.batches) for _ in range(steps)):
            eps, timestep = torch.randn(x_0.shape), torch.randint(0, last, (len(x_0),))
            x_t = self.noising.add_noise(x_0, eps, timestep)
            is_v = self.noising.config.prediction_type == "v_prediction"
            target = self.noising.get_velocity(x_0, eps, timestep) if is_v else eps
            with self.accelerator.accumulate(self.network):
                loss = nn.functional.mse_loss(self.network(x_t, timestep, return_dict=False)[0], target)
                self.accelerator.backward(loss)
                self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
            if self.average is not None:
                self.average.step(self.network.parameters())

    def samples(self, count: int, sampler: Sampler) -> Tensor:
        """Return samples of the pipeline of this name, of the averaged weights if there are any."""
        if self.average is not None:
            self.average.store(self.network.parameters())
            self.average.copy_to(self.network.parameters())
        scheduler = getattr(self.library, f"{sampler.name}Scheduler").from_config(self.noising.config)
        pipeline = getattr(self.library, f"{sampler.name}Pipeline")(
            unet=self.accelerator.unwrap_model(self.network), scheduler=scheduler
        )
        pipeline.set_progress_bar_config(disable=True)
        drawn = torch.Generator().manual_seed(self.seed)
        made = pipeline(batch_size=count, generator=drawn, num_inference_steps=sampler.steps, output_type="np").images
        if self.average is not None:
            self.average.restore(self.network.parameters())
        return torch.from_numpy(made).permute(0, 3, 1, 2).float() * 2.0 - 1.0


def _average(settings: Settings, network: nn.Module) -> Any:
    """Return diffusers' moving average of the weights; None for no settings, as in the tutorial."""
    library: Any = import_module("diffusers.training_utils")
    return library.EMAModel(network.parameters(), **settings) if settings else None


def write_images(data: Examples, folder: Path) -> None:
    """Write examples as TIFF of floats in [0, 1], which the library rescales to [-1, 1]; bytes would round them."""
    from PIL import Image  # lazy import: only needed here

    folder.mkdir(parents=True)
    for i, digit in enumerate(((data.take(slice(None)) + 1.0) / 2.0).numpy()):
        Image.fromarray(digit[0]).save(folder / f"{i:04d}.tiff")


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what a library prints."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        yield
