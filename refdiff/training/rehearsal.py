"""Rehearsal before the first step: what could not be sampled, drawn or evaluated later is refused now (TRN-8)."""

from __future__ import annotations

from importlib.util import find_spec

from refdiff.errors import ConfigError
from refdiff.training import classes, generate, quality
from refdiff.training.errors import TrainingError
from refdiff.training.evaluate import Evaluator

COUNT, STEPS = 2, 2
"""Samples, and sampling steps: the fewest that an evaluation takes, and that have a step between two times above 0."""


def rehearse(evaluator: Evaluator) -> None:
    """Draw, show and evaluate two samples with the settings of the run, and write nothing.

    Raises RefdiffError if a setting, a feature extractor or a missing package would end the run at its first picture,
    evaluation or plot.
    """
    loop, watch = evaluator.loop, evaluator.loop.config.monitor
    if watch.log_every:
        _need_package("matplotlib", "the plot of a run")
    if not watch.picture_every and not watch.eval_every:
        return
    made = evaluator.samples(COUNT, classes.by_frequency(loop.data, COUNT), steps=min(STEPS, watch.sampling_steps))
    if not bool(made.isfinite().all()):
        raise TrainingError(
            f"expected finite samples of the network before its first step, got NaN with {watch.sampler} (TRN-12)"
        )
    if watch.picture_every and generate.is_image(loop.data.event):
        generate.png(made)
    if watch.eval_every:
        quality.frechet(made.float(), evaluator.held_out.take(slice(0, COUNT)), evaluator.features)


def _need_package(name: str, use: str) -> None:
    if find_spec(name) is None:
        raise ConfigError(f"expected {name} for {use}: pip install 'refdiff[train]', got none (TRN-13)")
