"""A training run, from its first step or its newest valid checkpoint to its last step."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from refdiff.errors import ConfigError
from refdiff.training import build, checkpoint, checks, generate, quality
from refdiff.training.config import Config
from refdiff.training.data import Examples, Order, load, split
from refdiff.training.distributed import World, joined
from refdiff.training.errors import TrainingError
from refdiff.training.floor import floor, losses
from refdiff.training.generate import Factory
from refdiff.training.monitor import Monitor, Row
from refdiff.training.parsing import differences
from refdiff.training.randomness import generator, seed_default
from refdiff.training.state import State
from refdiff.training.step import DTYPES, Loop

End: TypeAlias = Literal["finished", "interrupted", "stopped early"]
CHANGEABLE = ("steps", "monitor")
"""Settings that may change on resuming. With another number of steps a cosine learning rate follows the new one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Result of a run: how it ended, its final state, and its metrics."""

    end: End
    state: State
    rows: list[Row]


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    denoiser: Factory | None = None,
    features: nn.Module | None = None,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Train a network, and write weights, checkpoints, metrics and pictures to `out`.

    denoiser: builds the network from the shape of one example, by default the U-Net; features: feature extractor of
    the Frechet distance; say: receives messages to the user, by default printed on stderr. Raises RefdiffError, with
    a message of one line, if the run cannot start or continue.
    """
    said = say or _to_stderr
    with joined(config.runtime.device) as world, _repeatable(world.device):
        run = _Run.prepare(config, out, world, resume, denoiser, features, said if world.first else lambda _: None)
        return run.go()


@final
@dataclass(slots=True, eq=False)
class _Run:
    config: Config
    out: Path
    world: World
    loop: Loop
    monitor: Monitor
    held_out: Examples
    features: nn.Module | None
    say: Callable[[str], None]
    yardstick: float | None = field(default=None)

    @staticmethod
    def prepare(
        config: Config,
        out: Path,
        world: World,
        resume: bool,
        denoiser: Factory | None,
        features: nn.Module | None,
        say: Callable[[str], None],
    ) -> _Run:
        """Build all parts of the run. Raises RefdiffError if they are invalid."""
        if checkpoint.listed(out) and not resume:
            raise ConfigError(
                f"expected an empty folder for a new run, got {out} with checkpoints: use --resume to continue (TRN-11)"
            )
        world.shards(config.batch.shards)
        _folder(out)
        if config.runtime.channels_last and world.device.type == "cpu":
            raise ConfigError("expected an accelerator for channels_last, got cpu, where torch 2.13 crashes (TRN-8)")
        noise = build.process(config.process)
        objective = build.objective(config.objective, noise)
        times = build.times(config.times, noise, DTYPES[config.runtime.precision])
        training, held_out = split(load(config.data, config.preprocess), config.preprocess.held_out, config.seed)
        if config.monitor.eval_every and len(held_out) < 2:
            need = "at least 2 held-out examples to evaluate samples, or --monitor.eval-every 0"
            raise ConfigError(f"expected {need}, got {len(held_out)} of {len(training) + len(held_out)} (TRN-13)")
        model = _new(config, training.event, denoiser or (lambda event: build.network(config, event, noise)))
        state = State.new(config, model, times, world)
        few = training.take(slice(0, 64)).to(world.device, DTYPES[config.runtime.precision])
        if resume:
            saved, content = checkpoint.newest(out, say)
            _same(saved, config)
            state.load_state_dict(content)
        else:
            _start(config, list(checks.before(state.model, objective, times, few)), say)
        compiled = torch.compile(state.model) if config.runtime.compile else state.model
        assert isinstance(compiled, nn.Module)
        network = world.wrap(compiled)
        order = Order(config.seed, len(training), config.batch.size, config.batch.shards)
        least = None
        if config.monitor.log_every:
            least = floor(objective, training, times, config.monitor.buckets, generator(config.seed, "floor"))
        monitor = Monitor(out, world, config.monitor.buckets, least, checks.trivial(objective, times, few))
        if resume:
            monitor.resume(state.step)
            say(f"resuming from step {state.step}")
        loop = Loop(config, world, training, objective, state, network, order)
        return _Run(config, out, world, loop, monitor, held_out, features, say)

    def go(self) -> Result:
        """Run the remaining steps, with logging, evaluation and checkpoints."""
        end: End = "finished"
        state, watch = self.loop.state, self.config.monitor
        bar = tqdm(total=self.config.steps, initial=state.step, disable=None if self.world.first else True, unit="step")
        with bar, _signals() as caught:
            while state.step < self.config.steps:
                seen = self.loop.step()
                if watch.log_every:
                    self.monitor.note(seen)
                bar.update()
                if _due(state.step, watch.log_every) or (watch.log_every and state.step == self.config.steps):
                    said = self._log()
                    if bar.disable:
                        self.say(f"step {state.step} of {self.config.steps}: {said}")
                    bar.set_postfix_str(said)
                if (
                    self.world.first
                    and _due(state.step, watch.picture_every)
                    and generate.is_image(self.loop.data.event)
                ):
                    self.monitor.picture(
                        f"samples/step-{state.step:09d}.png", generate.png(self._samples(watch.picture_samples))
                    )
                # Only rank 0 evaluates; all ranks stop together.
                if self._judging() and self.world.any(self.world.first and self._judge()):
                    end = "stopped early"
                    break
                if self.world.any(caught() is not None):
                    end = "interrupted"
                    break
                if _due(state.step, watch.save_every) and state.step < self.config.steps:
                    self._save()
            self._save()
        if end == "interrupted":
            self.say(f"interrupted; saved at step {state.step} of {self.config.steps}; continue with --resume")
        elif self.world.first:
            self._finish()
        self.world.wait()
        return Result(end, state, self.monitor.rows)

    def _log(self) -> str:
        """Write a row of metrics, report findings, and return the text of the progress bar."""
        state = self.loop.state
        row = self.monitor.summary(state.step, self.loop.state.optimizer.param_groups[0]["lr"])
        self.monitor.write(row)
        for finding in checks.stuck(row["loss"], row["trivial"], state.step):
            self.monitor.write({"kind": "finding", "step": state.step, "says": finding})
            self.say(f"TRN-12: {finding}")
        return f"loss {row['loss']:.4f}, gradient {row['gradient_norm']:.3g}"

    def _judging(self) -> bool:
        """Return whether samples are to be evaluated after this step."""
        step, every = self.loop.state.step, self.config.monitor.eval_every
        return _due(step, every) or (every > 0 and step == self.config.steps)

    def _samples(self, count: int) -> Tensor:
        state, watch, loop = self.loop.state, self.config.monitor, self.loop
        return generate.samples(
            state.ema.module, loop.objective, state.times, loop.data.event, count,
            seed=self.config.seed, rule=watch.sampler, walk=watch.sampling_steps,
        )  # fmt: skip

    def _judge(self) -> bool:
        """Evaluate samples, save the weights if they are the best, and return whether to stop early."""
        state, watch = self.loop.state, self.config.monitor
        row = self._quality()
        self.monitor.write(row)
        if row["frechet"] < state.early_stopping["best"]:
            state.early_stopping = {"best": row["frechet"], "at": state.step, "since": 0}
            self._export("best.safetensors", state.ema.module)
        else:
            state.early_stopping["since"] += 1
        return bool(watch.patience) and state.early_stopping["since"] >= watch.patience

    def _quality(self) -> Row:
        """Return the quality of samples from the averaged weights, with that of training examples as baseline."""
        watch, loop = self.config.monitor, self.loop
        unseen, made = self.held_out.take(slice(None)), self._samples(watch.eval_samples).float()
        # A random subset: neighbouring rows of a file may be similar, which would bias the baseline.
        drawn = torch.randperm(len(loop.data), generator=generator(self.config.seed, "split", 1))
        known = loop.data.take(drawn[:10_000].numpy())
        if self.yardstick is None:
            self.yardstick = quality.frechet(known[: watch.eval_samples], unseen, self.features)
        distance = quality.frechet(made, unseen, self.features)
        return {
            "kind": "quality",
            "step": loop.state.step,
            "frechet": distance,
            "yardstick": self.yardstick,
            "ratio": distance / self.yardstick if self.yardstick > 0.0 else None,
            "nearest_quartiles": _quartiles(quality.nearest(made, known)),
            "nearest_quartiles_held_out": _quartiles(quality.nearest(unseen, known)),
        }

    def _finish(self) -> None:
        """Write the held-out loss, the final samples and the plot."""
        loop, watch = self.loop, self.config.monitor
        if watch.log_every and len(self.held_out):
            held = losses(
                loop.objective, loop.state.ema.module, self.held_out, loop.state.times, watch.buckets,
                generator(self.config.seed, "floor"),
            )  # fmt: skip
            row = {"bucket_loss": held.loss, "bucket_loss_error": held.error}
            self.monitor.write({"kind": "held_out", "step": loop.state.step, **row})
        if watch.picture_every and generate.is_image(loop.data.event):
            self.monitor.picture("samples.png", generate.png(self._samples(watch.picture_samples)))
        if watch.log_every:
            self.monitor.plot()

    def _save(self) -> None:
        """Write a checkpoint and both networks."""
        state = self.loop.state
        if self.world.first:
            checkpoint.save(self.out, self.config, state.state_dict(), keep=self.config.monitor.keep)
            self._export("model.safetensors", state.model)
            self._export("ema.safetensors", state.ema.module)

    def _export(self, name: str, model: nn.Module) -> None:
        checkpoint.export(self.out / name, model, self.config, self.loop.data.event, self.loop.state.step)


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"expected a folder to write to, got {out}: {error.strerror} (TRN-11)") from None


def _new(config: Config, event: tuple[int, ...], factory: Factory) -> nn.Module:
    """Return a network with initial weights determined by the seed; torch's default generator is restored."""
    with torch.random.fork_rng(devices=[]):
        seed_default(config.seed, "weights")
        return factory(event)


def _same(saved: Config, config: Config) -> None:
    """Raise ConfigError if settings that must not change differ from those of the checkpoint."""
    changed = [name for name in differences(saved, config) if name.split(".")[0] not in CHANGEABLE]
    if changed:
        raise ConfigError(
            f"expected the settings of the checkpoint to resume, got other values for {', '.join(changed)} (TRN-11)"
        )


def _start(config: Config, findings: list[str], say: Callable[[str], None]) -> None:
    if findings and config.monitor.on_findings == "stop":
        raise TrainingError(f"TRN-12: {'; '.join(findings)} (use --monitor.on-findings warn to train anyway)")
    for finding in findings:
        say(f"TRN-12: {finding}")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _quartiles(distances: Tensor) -> list[float]:
    return [float(q) for q in np.quantile(distances.double().numpy(), [0.0, 0.25, 0.5, 0.75])]


def _to_stderr(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Use deterministic kernels on an accelerator; CPU kernels are deterministic for a fixed number of threads."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():  # dropout reseeds torch's default generators
        if device.type != "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


@contextmanager
def _signals() -> Iterator[Callable[[], int | None]]:
    """Defer SIGINT and SIGTERM to the end of the step; a second signal ends the process at once."""
    caught: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def hold(kind: int, _: FrameType | None) -> None:
        caught.append(kind)
        signal.signal(kind, before[signal.Signals(kind)])

    for kind in kinds:
        signal.signal(kind, hold)
    try:
        yield lambda: next(chain(caught), None)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
