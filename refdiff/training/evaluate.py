"""Evaluation of the averaged weights on held-out examples: sample quality and loss (TRN-13)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from refdiff.training import classes, generate, neighbours, quality
from refdiff.training.data import Examples
from refdiff.training.irreducible import mean_losses
from refdiff.training.monitor import Row
from refdiff.training.randomness import generator
from refdiff.training.step import Loop

COMPARED = 10_000
"""Largest number of training examples among which the nearest one to a sample is sought."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    """Held-out and training examples, and the baselines of their measures."""

    held_out: Tensor
    known: Tensor
    features: Tensor
    frechet: quality.Baseline
    neighbourhoods: neighbours.Neighbourhoods
    nearest: neighbours.Nearest
    level: float


@final
@dataclass(slots=True, eq=False)
class Evaluator:
    """Evaluates the averaged weights of a training loop; draws no random number that training uses."""

    loop: Loop
    held_out: Examples
    features: nn.Module | None = None
    """Feature extractor of the Frechet distance; by default raw pixels."""
    _reference: _Reference | None = None

    def samples(self, count: int, label: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Return `count` samples of the averaged weights, (count, *event) in [-1, 1], with labels if there are any.

        steps: number of sampling steps, by default that of the config.
        """
        loop, how = self.loop, self.loop.config.monitor
        return generate.samples(
            loop.state.ema.module, loop.objective, loop.state.times, loop.data.event, count,
            seed=loop.config.seed, sampler=how.sampler, steps=steps or how.sampling_steps,
            label=label, null=loop.data.classes, guidance=how.guidance,
        )  # fmt: skip

    def sample_quality(self) -> Row:
        """Return the measures of samples, each beside its baseline.

        The baseline of the Frechet distance is the mean over random sets of as many training examples in place of
        samples, beside their standard deviation; that of the neighbourhoods is of one such set; that of duplicates and
        near copies is of held-out examples.
        """
        reference = self._reference = self._reference or self._measure_reference()
        count = self.loop.config.monitor.eval_samples
        label = classes.by_frequency(self.loop.data, count)
        made = self.samples(count, label).float()
        distance, baseline = quality.frechet(made, reference.held_out, self.features), reference.frechet
        found = neighbours.nearest(made, reference.known)
        return {
            "kind": "evaluation",
            "step": self.loop.state.step,
            "frechet": distance,
            "baseline": baseline.mean,
            "baseline_deviation": baseline.deviation,
            "ratio": distance / baseline.mean if baseline.mean > 0.0 else None,
            "neighbours": asdict(neighbours.neighbourhoods(self._features(made), reference.features)),
            "neighbours_baseline": asdict(reference.neighbourhoods),
            "duplicates": neighbours.duplicates(found, reference.level),
            "duplicates_held_out": neighbours.duplicates(reference.nearest, reference.level),
            "near_copies": neighbours.near_copies(found, reference.nearest),
            "near_copies_held_out": neighbours.near_copies(reference.nearest, reference.nearest),
            "nearest_quartiles": _quartiles(found.distance),
            "nearest_quartiles_held_out": _quartiles(reference.nearest.distance),
            **classes.agreement_row(made, label, self.held_out, self.loop.data, self._compared(), self.features),
        }

    def _measure_reference(self) -> _Reference:
        """Return what does not depend on the samples; it is computed at the first evaluation."""
        count, held_out, known = (
            self.loop.config.monitor.eval_samples,
            self.held_out.take(slice(None)),
            self._training_examples(),
        )
        features, drawn = self._features(held_out), generator(self.loop.config.seed, "split", 2)
        return _Reference(
            held_out,
            known,
            features,
            quality.baseline(known, held_out, count, drawn=drawn, features=self.features),
            neighbours.neighbourhoods(self._features(known[:count]), features),
            neighbours.nearest(held_out, known),
            neighbours.level(known),
        )

    def _features(self, x: Tensor) -> Tensor:
        """Return the features of the Frechet distance, (n, features)."""
        extractor = self.features or quality.RawPixels(self.loop.data.event)
        with torch.no_grad():
            parts = [extractor(part).flatten(1).double().cpu() for part in torch.split(x, generate.AT_ONCE)]
        return torch.cat(parts)

    def held_out_loss(self) -> Row:
        """Return the loss on held-out examples in equal parts of time."""
        loop = self.loop
        drawn = generator(loop.config.seed, "irreducible")
        found = mean_losses(
            loop.objective, loop.state.ema.module, self.held_out, loop.state.times, loop.config.monitor.buckets, drawn,
            dropout=loop.config.condition.dropout,
        )  # fmt: skip
        return {
            "kind": "held_out",
            "step": loop.state.step,
            "bucket_loss": found.loss,
            "bucket_loss_error": found.error,
        }

    def _training_examples(self) -> Tensor:
        return self.loop.data.take(self._compared())

    def _compared(self) -> npt.NDArray[np.int64]:
        # A random subset: neighbouring rows of a file may be similar, which would bias the baseline.
        loop = self.loop
        drawn = torch.randperm(len(loop.data), generator=generator(loop.config.seed, "split", 1))
        rows: npt.NDArray[np.int64] = drawn[:COMPARED].numpy()
        return rows


def _quartiles(distances: Tensor) -> list[float]:
    return [float(q) for q in np.quantile(distances.double().numpy(), [0.0, 0.25, 0.5, 0.75])]
