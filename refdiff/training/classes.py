"""Per-class quality of a network with labels (TRN-13).

    agreement = share of samples whose nearest training example, in features, is of the class of their label

A Frechet distance per class would need far more held-out examples than a class has. The agreement of held-out
examples is logged beside it: what the measure gives for data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from refdiff.tensors import Data
from refdiff.training.data import Examples
from refdiff.training.monitor import Row
from refdiff.training.quality import RawPixels


def rows(classes: int, count: int) -> tuple[Tensor | None, int | None]:
    """Return the labels of about `count` images with one row per class, and the number of columns; None without."""
    if not classes:
        return None, None
    columns = max(1, count // classes)
    return torch.arange(min(classes, count)).repeat_interleave(columns), columns


def by_frequency(examples: Examples, count: int) -> Tensor | None:
    """Return `count` labels with the frequencies of the examples, to within one of each; None without labels."""
    label = examples.label(slice(None))
    if label is None:
        return None
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count * len(label)
    return label.sort().values[places.long()]


def agreement_row(
    made: Data,
    label: Tensor | None,
    held_out: Examples,
    training: Examples,
    compared: npt.NDArray[np.int64],
    features: nn.Module | None,
) -> Row:
    """Return the agreement of samples and of held-out examples, overall and by class; {} if there are no labels.

    made, label: samples and their labels; compared: rows of the training examples to compare with.
    """
    of_held_out, of_known = held_out.label(slice(None)), training.label(compared)
    if label is None or of_held_out is None or of_known is None:
        return {}
    known = training.take(compared)
    ours = agreement(made, label, known, of_known, features)
    theirs = agreement(held_out.take(slice(None)), of_held_out, known, of_known, features)
    return {
        "class_agreement": float(ours.double().mean()),
        "class_agreement_held_out": float(theirs.double().mean()),
        "by_class_agreement": _by_class(ours, label, training.classes),
        "by_class_agreement_held_out": _by_class(theirs, of_held_out, training.classes),
    }


def agreement(samples: Data, label: Tensor, examples: Data, of: Tensor, features: nn.Module | None = None) -> Tensor:
    """Return for each sample whether its nearest example in features is of its class, (n,), bool.

    of: labels of the examples; features: by default `RawPixels`.
    """
    extract = features or RawPixels(tuple(examples.shape[1:]))
    with torch.no_grad():
        known = extract(examples).flatten(1)
        near = [torch.cdist(extract(part).flatten(1), known).argmin(1) for part in torch.split(samples, 256)]
    return of[torch.cat(near)] == label


def _by_class(agrees: Tensor, label: Tensor, classes: int) -> list[float | None]:
    """Return the share of each class; None for a class without any."""
    parts = [agrees[label == i].double() for i in range(classes)]
    return [float(part.mean()) if len(part) else None for part in parts]
