"""Labels of the examples: reading, dropping, and the network as a denoiser for given labels.

| source | labels |
|---|---|
| `digits` | 0 to 9, of scikit-learn |
| `fashion-mnist` | the ten kinds of clothing, in the file of labels beside the images |
| a folder | the names of its subfolders, sorted: `photos/cat/1.png` is of the class `cat` |
| `x.npy` | the integers in `x.labels.npy` beside |
| `x.npz` | the integers in its array labels or y |
| `...images-idx3...` | the integers in `...labels-idx1...` beside |

A file of labels, .npy, .npz or IDX, can be given instead. The classes of integer labels are 0, 1, ... to the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from refdiff.errors import DomainError
from refdiff.training import arrays, files
from refdiff.training.arrays import Array
from refdiff.training.data import FASHION_MNIST
from refdiff.training.errors import DataError
from refdiff.training.images import listing

if TYPE_CHECKING:
    from refdiff.loss import Denoiser
    from refdiff.training.config import ConditionConfig

Network: TypeAlias = Callable[..., Tensor]
"""Called as network(x_t, t), or with labels as network(x_t, t, label)."""

NAMES = ("labels", "y")
"""Names of the labels in an archive."""
_CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Classes of examples."""

    index: npt.NDArray[np.int64]
    """(n,), each in 0..classes-1."""
    names: tuple[str, ...]
    """Names of the classes."""


def read(source: str, how: ConditionConfig, count: int) -> Labels:
    """Return the labels of all examples of a data source.

    Args:
        source: as for `data.load`.
        how: where the labels are.
        count: number of examples.

    Raises:
        DataError: there are no labels, not as many as examples, or they are not integers from 0 up.
    """
    path = Path(source)
    if how.file is not None:
        return _checked(_array(Path(how.file)), how.file, count)
    if source == "digits":
        from sklearn.datasets import load_digits  # lazy import: only needed by this source

        return _checked(load_digits().target, source, count)
    if source == "fashion-mnist":
        return _checked(_array(_beside(FASHION_MNIST)), source, count, _CLOTHES)
    if path.is_dir():
        return _of_folders(path)
    if path.suffix == ".npz":
        return _checked(_array(path), source, count)
    beside = path.with_suffix(".labels.npy") if path.suffix == ".npy" else _beside(path)
    return _checked(_array(beside), str(beside), count)


def check_trained(labels: Labels, rows: npt.NDArray[np.int64]) -> None:
    """Raise DataError if a class has none of these rows, the training examples."""
    counts = np.bincount(labels.index[rows], minlength=len(labels.names))
    if not counts.all():
        missing = labels.names[int(np.argmin(counts))]
        raise DataError(f"expected training examples of every class, got none of class {missing} (TRN-8)")


def drop(label: Tensor, classes: int, rate: float, generator: Generator) -> Tensor:
    """Return the labels, each replaced by the null label, `classes`, with probability `rate`."""
    dropped = torch.rand(len(label), generator=generator, device=label.device) < rate
    return torch.where(dropped, classes, label)


def conditioned(network: Network, label: Tensor | None) -> Denoiser:
    """Return the network as a denoiser, a function of x_t and t, for given labels (batch,)."""
    return network if label is None else lambda x_t, t: network(x_t, t, label)


def find_classes(names: Sequence[str], wanted: Sequence[int | str]) -> list[int]:
    """Return the classes of these names or indices; "all" stands for every class. Raises DomainError for others."""
    if not names:
        raise DomainError("SMP-9", "no labels for a network that was trained without", ", ".join(map(str, wanted)))
    if list(wanted) == ["all"]:
        return list(range(len(names)))
    known = {**{str(i): i for i in range(len(names))}, **{name: i for i, name in enumerate(names)}}
    found = []
    for one in wanted:
        index = one if isinstance(one, int) else known.get(one, -1)
        if not 0 <= index < len(names):
            some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise DomainError("SMP-9", f"one of the classes {some}", one)
        found.append(index)
    return found


def _checked(values: Array, source: str, count: int, names: tuple[str, ...] = ()) -> Labels:
    """Return integers as labels. Raises DataError for others, or for another number of them."""
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        got = f"{values.dtype} of shape {values.shape}"
        raise DataError(f"expected integer labels of shape (n,), got {got} in {source} (TRN-8)")
    if len(values) != count:
        raise DataError(f"expected a label for each of the {count} examples, got {len(values)} in {source} (TRN-8)")
    least, most = int(values.min()), int(values.max())
    if least < 0 or (names and most >= len(names)):
        raise DataError(f"expected labels from 0 up, got {least} to {most} in {source} (TRN-8)")
    if most >= count:  # before an array of that size is made
        raise DataError(f"expected training examples of every class, got labels up to {most} in {source} (TRN-8)")
    return Labels(values.astype(np.int64), names or tuple(map(str, range(most + 1))))


def _of_folders(root: Path) -> Labels:
    parts = [file.relative_to(root).parts for file in listing(root).images]
    loose = [part[0] for part in parts if len(part) == 1]
    if loose:
        raise DataError(f"expected each image in the folder of its class, got {loose[0]} beside them in {root} (TRN-8)")
    names, index = np.unique([part[0] for part in parts], return_inverse=True)
    return Labels(index.astype(np.int64), tuple(map(str, names)))


def _beside(images: Path) -> Path:
    """Return the file of labels that belongs to a file of images in MNIST's naming."""
    return images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))


def _array(path: Path) -> Array:
    """Read a file of labels."""
    if not files.is_present(path):
        raise DataError(f"expected a file of labels, got none at {path}; set --condition.file (TRN-8)")
    return arrays.read(path, "labels", NAMES)
