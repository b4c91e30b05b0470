"""A training run, from its first step or its newest valid checkpoint to its last step."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Never, TypeAlias, final

import torch
from torch import Tensor, nn
from tqdm import tqdm

from refdiff.errors import ConfigError, plain
from refdiff.training import checkpoint, checks, classes, folder, generate, labels, memory, plugins, sizes
from refdiff.training.agreement import agree, described
from refdiff.training.build import Factory
from refdiff.training.config import Config
from refdiff.training.data import Examples, left_out_of, load, split
from refdiff.training.distributed import World, joined
from refdiff.training.errors import TrainingError
from refdiff.training.evaluate import Evaluator
from refdiff.training.findings import Findings
from refdiff.training.identity import Identity
from refdiff.training.interrupts import deferred_signals
from refdiff.training.irreducible import BucketLosses, irreducible_loss
from refdiff.training.monitor import Monitor, Row
from refdiff.training.page import Course
from refdiff.training.parsing import differences
from refdiff.training.randomness import generator
from refdiff.training.rehearsal import rehearse
from refdiff.training.state import State
from refdiff.training.step import DTYPES, Loop

End: TypeAlias = Literal["finished", "interrupted", "stopped early"]
Say: TypeAlias = Callable[[str], None]
CHANGEABLE = ("steps", "monitor", "runtime.timeout")
"""Settings and tables that may change on resuming. A cosine learning rate follows a new number of steps."""
FITS = "this run: lower batch.size, network.width or monitor.eval_samples, or raise batch.accumulation"
"""What a run needs memory for, and what lowers it."""
CHECKED = 64
"""Number of examples in the checks before the first step."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Result of a run."""

    end: End
    """How it ended."""
    state: State
    """Its final state: `state.model` is the trained network, `state.ema.module` its average."""
    rows: list[Row]
    """Its metrics, the rows of `metrics.jsonl`."""


def train(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    denoiser: Factory | None = None,
    features: nn.Module | None = None,
    say: Say | None = None,
) -> Result:
    """Train a network, and write weights, checkpoints, metrics and sample pictures to a folder.

    Args:
        config: settings.
        out: output folder.
        resume: whether to continue from the newest checkpoint in `out` that loads.
        denoiser: builds the network from the shape of one example, and with labels from the keyword `classes`, their
            number; by default a U-Net for images, else a perceptron.
        features: feature extractor of the Frechet distance, with `num_features`; by default raw pixels.
        say: receives messages to the user; by default they are printed on stderr.

    Returns:
        How the run ended, its final state and its metrics.

    Raises:
        RefdiffError: the run cannot start or continue; the message is one line.
    """
    with (
        joined(config.runtime.device, config.runtime.timeout) as world,
        _repeatable(world.device),
        memory.explained(world.device, FITS),
    ):
        said = (say or _to_stderr) if world.first else _say_nothing
        _check_setup(config, world)
        with folder.held(out, world, said, resume=resume):
            training, held_out = _load_data(config)
            data, own = Identity.of(training, held_out), denoiser is not None
            sizes.check(config, training.event, world.device, processes=world.size, own_network=own)
            loop = Loop.build(config, training, world=world, factory=denoiser)
            few = training.take(slice(0, CHECKED)).to(world.device, DTYPES[config.runtime.precision])
            label = training.label(slice(0, CHECKED))
            label = None if label is None else label.to(world.device)
            _check_plugins(loop, few, label, features, own_network=own)
            if resume:
                _restore(loop, data, out, said)
            else:
                mistakes = checks.before(loop.state.model, loop.objective, loop.state.times, few, label)
                _react(list(mistakes), config.monitor.on_findings, said)
            evaluator = Evaluator(loop, held_out, features)
            if world.first:
                rehearse(evaluator)
            agree(world, described(config, training, data, few, loop.state.model, loop.state.step))
            monitor = _monitor(loop, out, trivial=checks.trivial(loop.objective, loop.state.times, few))
            findings = Findings()
            if resume:
                monitor.resume(loop.state.step)
                findings.resume(monitor.rows)
            said(_describe(loop, held_out))
            if left_out := left_out_of(config.data):
                said(left_out)
            return _Run(loop, monitor, evaluator, data, out, said, findings).go()


def _check_setup(config: Config, world: World) -> None:
    """Raise ConfigError if this run cannot be shared among these processes, or not run on this device."""
    world.shards(config.batch.shards)
    if config.runtime.channels_last and world.device.type == "cpu":
        raise ConfigError("expected an accelerator for channels_last, got cpu, where torch 2.13 crashes (TRN-8)")


def _check_plugins(
    loop: Loop, examples: Tensor, label: Tensor | None, features: nn.Module | None, *, own_network: bool
) -> None:
    """Call the user's network and feature extractor once. Raises ConfigError if they do not return what they should."""
    few = examples[:2]
    if own_network:
        t = loop.state.times.at(torch.full((len(few),), 0.5, dtype=torch.float64)).to(few.device)
        times = t.to(few.dtype) if t.is_floating_point() else t
        plugins.check_denoiser(loop.state.model, type(loop.state.model).__name__, few, times, label)
    if features is not None:
        plugins.check_features(features, type(features).__name__, few.float().cpu())


def _load_data(config: Config) -> tuple[Examples, Examples]:
    """Return training examples and held-out examples. Raises DataError, or ConfigError for too few held out."""
    examples = load(config.data, config.preprocess)
    if config.condition.labels:
        examples = replace(examples, labels=labels.read(config.data, config.condition, len(examples)))
    training, held_out = split(examples, config.preprocess.held_out, config.seed)
    if training.labels is not None:
        labels.check_trained(training.labels, training.rows)
    if config.monitor.eval_every and len(held_out) < 2:
        need = "at least 2 held-out examples to evaluate samples, or --monitor.eval-every 0"
        raise ConfigError(f"expected {need}, got {len(held_out)} of {len(training) + len(held_out)} (TRN-13)")
    return training, held_out


def _restore(loop: Loop, data: Identity, out: Path, say: Say) -> None:
    """Load the newest checkpoint that loads and fits.

    Raises ConfigError if settings that must not change differ from its own, DataError if the data does.
    """

    def accept(saved: checkpoint.Checkpoint) -> None:
        found = differences(saved.config, loop.config)
        changed = [name for name in found if not {name, name.split(".")[0]} & {*CHANGEABLE}]
        if changed:
            raise ConfigError(
                f"expected the settings of the checkpoint to resume, got other values for {', '.join(changed)} (TRN-11)"
            )
        saved.data.check(data)
        loop.state.load_state_dict(saved.state, steps=saved.config.steps)

    checkpoint.newest(out, say, accept)
    if loop.state.step > loop.config.steps:
        need = f"at least {loop.state.step} steps, which the newest checkpoint has taken"
        raise ConfigError(f"expected {need}, got --steps {loop.config.steps} (TRN-11)")
    say(f"resuming from step {loop.state.step}")


def _react(findings: list[str], reaction: Literal["stop", "warn"], say: Say) -> None:
    if findings and reaction == "stop":
        need = "no likely mistake before the first step (--monitor.on-findings warn trains anyway)"
        raise TrainingError(f"expected {need}, got: {'; '.join(findings)} (TRN-12)")
    for finding in findings:
        say(f"warning: {finding} (TRN-12)")


def _monitor(loop: Loop, out: Path, *, trivial: float) -> Monitor:
    """Return the monitor of a loop, with the irreducible loss if metrics are logged."""
    config, least = loop.config, None
    if config.monitor.log_every:
        least = _irreducible(loop)
    return Monitor(out, loop.world, loop.state.times, config.monitor.buckets, least, trivial)


def _irreducible(loop: Loop) -> BucketLosses | None:
    """Return the irreducible loss, which rank 0 computes for all."""
    config = loop.config

    def compute() -> str:
        known = (loop.objective, loop.data, loop.state.times, config.monitor.buckets)
        least = irreducible_loss(*known, generator(config.seed, "irreducible"), dropout=config.condition.dropout)
        return json.dumps(least and asdict(least))

    found = json.loads(loop.world.shared(compute))
    return found and BucketLosses(**found)


def _describe(loop: Loop, held_out: Examples) -> str:
    """Return the first message of a run: data, network and device."""
    shape = " x ".join(map(str, loop.data.event))
    size = sum(parameter.numel() for parameter in loop.state.model.parameters())
    return (
        f"training on {len(loop.data):,} examples of shape {shape} ({len(held_out):,} held out): "
        f"{type(loop.state.model).__name__} with {size:,} parameters on {loop.world.device}"
    )


@final
@dataclass(slots=True, eq=False)
class _Run:
    loop: Loop
    monitor: Monitor
    evaluator: Evaluator
    data: Identity
    out: Path
    say: Say
    findings: Findings

    def go(self) -> Result:
        """Take the remaining steps, with logging, evaluation and checkpoints."""
        end: End = "finished"
        world, state, steps = self.loop.world, self.loop.state, self.loop.config.steps
        if world.first and not checkpoint.listed(self.out):
            self._checkpoint()  # a run that is killed before its first save can be resumed too
        bar = tqdm(total=steps, initial=state.step, disable=None if world.first else True, unit="step")
        with bar, deferred_signals() as is_signalled:
            while end == "finished" and state.step < steps:
                seen = self.loop.step()
                bar.update()
                if self.loop.config.monitor.log_every:
                    self.monitor.record(seen)
                end = self._after_step(bar, is_signalled)
            self._save()
        if end == "interrupted":
            self._page(end)
            self.say(f"interrupted; saved at step {state.step} of {steps}; continue with --resume")
        elif world.first:
            self._finish(end)
        world.wait()
        return Result(end, state, self.monitor.rows)

    def _after_step(self, bar: tqdm[Never], is_signalled: Callable[[], bool]) -> End:
        """Log, draw, evaluate and save what is due. Returns how the run ends if it ends after this step."""
        world, watch, step = self.loop.world, self.loop.config.monitor, self.loop.state.step
        is_last = step == self.loop.config.steps
        if _is_due(step, watch.log_every) or (watch.log_every and is_last):
            self._log(bar)
        if world.first and _is_due(step, watch.picture_every):
            self._draw(f"samples/step-{step:09d}.png")
        # Only rank 0 evaluates; all ranks stop together.
        is_evaluated = _is_due(step, watch.eval_every) or (watch.eval_every and is_last)
        if is_evaluated and world.any(world.first and self._evaluate()):
            return "stopped early"
        self._page()
        if world.any(is_signalled()):
            return "interrupted"
        if _is_due(step, watch.save_every) and not is_last:
            self._save()
        return "finished"

    def _log(self, bar: tqdm[Never]) -> None:
        """Write a row of metrics, and report findings."""
        state = self.loop.state
        row = self.monitor.summary(state.step, state.optimizer.param_groups[0]["lr"])
        self.monitor.write(row)
        text = _progress(row)
        bar.set_postfix_str(text)
        if bar.disable:
            self.say(f"step {state.step} of {self.loop.config.steps}: {text}")
        for kind, finding in list(self.findings.of(self.monitor.rows)):
            self.monitor.write({"kind": "finding", "step": state.step, "finding": kind, "says": finding})
            self.say(f"warning: {finding} (TRN-12)")

    def _page(self, end: str = "") -> None:
        """Write the page of the run, in the first process; while the run goes on, every ten seconds at most."""
        config, step = self.loop.config, self.loop.state.step
        if self.loop.world.first and config.monitor.log_every and (end or self.monitor.is_page_due()):
            says = _describe(self.loop, self.evaluator.held_out)
            self.monitor.page(Course(says=says, step=step, steps=config.steps, end=end), asdict(config))

    def _draw(self, name: str) -> None:
        """Write a picture of samples, if the examples are images."""
        if generate.is_image(self.loop.data.event):
            label, columns = classes.rows(self.loop.data.classes, self.loop.config.monitor.picture_samples)
            count = self.loop.config.monitor.picture_samples if label is None else len(label)
            self.monitor.picture(name, generate.png(self.evaluator.samples(count, label), columns))

    def _evaluate(self) -> bool:
        """Evaluate samples, save the weights if they are the best, and return whether to stop early."""
        state, patience = self.loop.state, self.loop.config.monitor.patience
        row = self.evaluator.sample_quality()
        self.monitor.write(row)
        baseline = f"{row['baseline']:.3g} ± {row['baseline_deviation']:.2g} for training examples"
        frechet = f"Frechet distance to held-out examples {row['frechet']:.3g} ({baseline})"
        self.say(f"step {state.step}: {frechet}; {_neighbours(row)}")
        if row["frechet"] < state.early_stopping["best"]:
            state.early_stopping = {"best": row["frechet"], "at": state.step, "since": 0}
            self._export("best.safetensors", state.ema.module)
        else:
            state.early_stopping["since"] += 1
        return bool(patience) and state.early_stopping["since"] >= patience

    def _finish(self, end: End) -> None:
        """Write the held-out loss, the final samples and the plot."""
        watch, state = self.loop.config.monitor, self.loop.state
        if watch.log_every and len(self.evaluator.held_out) and not self.monitor.has("held_out", state.step):
            self.monitor.write(self.evaluator.held_out_loss())
        if watch.picture_every:
            self._draw("samples.png")
        if watch.log_every:
            self.monitor.plot()
        self._page(end)
        path = self.out / "ema.safetensors"
        self.say(f"{end} at step {state.step} of {self.loop.config.steps}; EMA weights: {path}")

    def _save(self) -> None:
        """Write a checkpoint and both networks."""
        if self.loop.world.first:
            self._checkpoint()
            self._export("model.safetensors", self.loop.state.model)
            self._export("ema.safetensors", self.loop.state.ema.module)

    def _checkpoint(self) -> None:
        state, config = self.loop.state, self.loop.config
        state.check_finite()
        checkpoint.save(self.out, config, state.state_dict(), self.data, keep=config.monitor.keep)

    def _export(self, name: str, model: nn.Module) -> None:
        loop = self.loop
        names = loop.data.labels.names if loop.data.labels else ()
        checkpoint.export(self.out / name, model, loop.config, loop.data.event, loop.state.step, self.data, names)


def _neighbours(row: Row) -> str:
    """Return the text of the other measures of samples, each with its baseline in brackets."""
    own, base = row["neighbours"], row["neighbours_baseline"]
    shares = [f"{name} {own[name]:.0%} ({base[name]:.0%})" for name in ("precision", "recall", "coverage")]
    copies = [
        f"{name.replace('_', ' ')} {row[name]:.1%} ({row[f'{name}_held_out']:.1%})"
        for name in ("duplicates", "near_copies")
    ]
    return ", ".join(shares + copies)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _progress(row: Row) -> str:
    """Return the text of a row of metrics in the progress bar or in a log."""
    least = row["bucket_irreducible"]
    beside = f" (irreducible {sum(least) / len(least):.4f})" if least else ""
    return f"loss {row['loss']:.4f}{beside}, gradient norm {row['gradient_norm']:.3g}, lr {row['learning_rate']:.3g}"


def _to_stderr(text: str) -> None:
    tqdm.write(plain(text), file=sys.stderr)


def _say_nothing(_: str) -> None:
    """Drop a message of a process other than the first."""


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
