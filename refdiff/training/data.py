"""Training data: reading, scaling to [-1, 1], and the order of examples.

| source | content |
|---|---|
| `digits` | the 1,797 digits of 8 x 8 pixels included in scikit-learn |
| `fashion-mnist` | the IDX file of Debian's package dataset-fashion-mnist |
| a folder | its images, sorted by path |
| `.npy` | an array (n, ...), memory-mapped: bytes, or floats in [-1, 1] |
| `.npz` | its only array, or the one named images, x or arr_0 |
| IDX | a file of MNIST's format, .gz too |

Images become (n, channels, height, width); (n, height, width) and (n, height, width, channels) are converted, the
latter if only the last axis has 1, 3 or 4 entries. In a folder, transparency is dropped and 16 bits become 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from refdiff.training import arrays, config, files, images
from refdiff.training.arrays import Array
from refdiff.training.errors import DataError
from refdiff.training.randomness import generator

if TYPE_CHECKING:
    from refdiff.training.labels import Labels

NAMES = ("images", "x", "arr_0")
"""Names of the examples in an archive."""
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows of an array, scaled to [-1, 1] when they are read."""

    raw: Array
    """(n, *event), bytes or floats, possibly memory-mapped."""
    rows: npt.NDArray[np.int64]
    """Rows of the array that belong to these examples."""
    low: float
    """Value mapped to -1; -inf for no scaling."""
    high: float
    """Value mapped to 1; inf for no scaling."""
    pad: int = 0
    """Pixels of value -1 added on each side of an image."""
    labels: Labels | None = None
    """Classes of all rows of the array, if they are used."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one example."""
        shape = self.raw.shape[1:]
        return (*shape[:-2], *(side + 2 * self.pad for side in shape[-2:])) if self.pad else shape

    @property
    def classes(self) -> int:
        """The number of classes; 0 if labels are not used."""
        return 0 if self.labels is None else len(self.labels.names)

    def label(self, index: npt.NDArray[np.int64] | slice) -> Tensor | None:
        """Return the labels of the examples of these indices, (len(index),), int64; None if labels are not used."""
        return None if self.labels is None else torch.from_numpy(self.labels.index[self.rows[index]])

    def take(self, index: npt.NDArray[np.int64] | slice) -> Tensor:
        """Return the examples of these indices, (len(index), *event), float32 in [-1, 1]."""
        chosen = self.rows[index]
        taken = torch.from_numpy(np.ascontiguousarray(self.raw[chosen], dtype=np.float64))
        if isinf(self.high - self.low):
            return taken.float()
        scaled = ((taken - self.low) * (2.0 / (self.high - self.low)) - 1.0).clamp(-1.0, 1.0).float()
        return torch.nn.functional.pad(scaled, (self.pad,) * 4, value=-1.0) if self.pad else scaled


@final
@dataclass(frozen=True, slots=True)
class Order:
    """Order of examples: a new permutation in each epoch, determined by (seed, epoch), cut into steps and shards."""

    seed: int
    examples: int
    batch: int
    shards: int
    _permutation: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Cache the last two permutations, since a batch may span two epochs."""
        object.__setattr__(self, "_permutation", lru_cache(maxsize=2)(self._permuted))

    def rows(self, step: int, shard: int) -> npt.NDArray[np.int64]:
        """Return the indices of a shard's examples; steps count from 0."""
        size = self.batch // self.shards
        places = np.arange(size, dtype=np.int64) + (step * self.batch + shard * size)
        epochs, within = np.divmod(places, self.examples)
        rows = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            rows[epochs == epoch] = self._permutation(int(epoch))[within[epochs == epoch]]
        return rows

    def _permuted(self, epoch: int) -> npt.NDArray[np.int64]:
        drawn: npt.NDArray[np.int64] = torch.randperm(
            self.examples, generator=generator(self.seed, "order", epoch)
        ).numpy()
        return drawn


def load(source: str, how: config.PreprocessConfig) -> Examples:
    """Return all examples of a data source.

    Args:
        source: `digits`, `fashion-mnist`, or the path of a folder or file, as in the table above.
        how: preprocessing.

    Raises:
        DataError: the source cannot be read, or its values are not finite, do not vary or are not scaled.
    """
    raw, natural = _read(source, how)
    if len(raw.shape) > 1 and len(raw) == 1:
        raise DataError(f"expected at least 2 examples, got 1 in {source} (TRN-8)")
    if raw.ndim < 2 or raw.size == 0:
        raise DataError(f"expected examples (n, ...), got an array of shape {raw.shape} from {source} (TRN-8)")
    if how.pad and raw.ndim != 4:
        raise DataError(f"expected images to pad, got examples of shape {raw.shape[1:]} (TRN-8)")
    low, high = how.range or natural
    examples = Examples(raw, np.arange(len(raw)), low, high, how.pad)
    _check_range(raw, source, low, high, is_given=how.range is not None)
    return examples


def left_out_of(source: str) -> str:
    """Return what was left out of a folder of images, such as '2 files left out: 2 .txt'; empty for nothing."""
    return images.listing(Path(source)).left_out() if files.is_folder(Path(source)) else ""


def split(examples: Examples, held_out: int | None, seed: int) -> tuple[Examples, Examples]:
    """Return training and held-out examples, split at random; held_out: by default a sixth, at most 297."""
    n = len(examples)
    kept = min(297, n // 6) if held_out is None else held_out
    if not 0 <= kept < n:
        raise DataError(f"expected fewer held-out examples than examples, got {kept} of {n} (TRN-8)")
    order = torch.randperm(n, generator=generator(seed, "split")).numpy()
    return tuple(  # type: ignore[return-value] # two of them
        replace(examples, rows=np.sort(rows)) for rows in (order[kept:], order[:kept])
    )


def _check_range(raw: Array, source: str, low: float, high: float, *, is_given: bool) -> None:
    """Raise DataError for values that are NaN, constant, outside the range, or evidently of another range."""
    if not low < high:
        raise DataError(f"expected a range with the smaller number first, got {low} and {high} (TRN-8)")
    ends = [(part.min(), part.max()) for part in np.array_split(raw, max(1, raw.nbytes // 2**26)) if len(part)]
    least, most = float(np.min([end[0] for end in ends])), float(np.max([end[1] for end in ends]))
    said = f"values from {least:.6g} to {most:.6g} in {source}"
    if not (np.isfinite(least) and np.isfinite(most)):
        raise DataError(f"expected finite data, got {said} (TRN-8)")
    if least == most:
        raise DataError(f"expected data that varies, got {said} (TRN-8)")
    room = 1e-5 * (high - low)
    if least < low - room or most > high + room:
        raise DataError(
            f"expected data in [{low:g}, {high:g}], which becomes [-1, 1], got {said}; set --preprocess.range (TRN-8)"
        )
    if not is_given and ((low == -1.0 and least >= 0.0) or (high == 255.0 and most <= 1.0)):
        raise DataError(
            f"expected data scaled to [-1, 1], got {said}; if 0 is black, set --preprocess.range 0 1 (TRN-8)"
        )


def _read(source: str, how: config.PreprocessConfig) -> tuple[Array, tuple[float, float]]:
    """Return the array of a data source, and the default range of its values."""
    if source == "digits":
        return _digits(), (0.0, 16.0)
    try:
        opened = _opened(source, how)
    except OSError as error:  # a name that is too long, a folder above it that may not be read
        raise DataError(f"expected a readable data source, got {source[:80]}: {files.reason(error)} (TRN-8)") from None
    raw = opened if files.is_folder(Path(source)) else _images(opened)
    return raw, (0.0, 255.0) if raw.dtype == np.uint8 else (-1.0, 1.0)


def _opened(source: str, how: config.PreprocessConfig) -> Array:
    if not source or "\0" in source:
        raise DataError(f"expected the name of a data source, got {source!r} (TRN-8)")
    path = Path(source)
    if source == "fashion-mnist":
        if not FASHION_MNIST.exists():
            need = f"{FASHION_MNIST}, of Debian's package dataset-fashion-mnist"
            raise DataError(f"expected the file {need}, got none (TRN-8)")
        return arrays.read(FASHION_MNIST, "images", NAMES)
    if files.is_folder(path):
        return images.read(path, how.size)
    if not files.is_present(path):
        need = "'digits', 'fashion-mnist', a folder or a file as data source"
        raise DataError(f"expected {need}, got {source!r}, which does not exist (TRN-8)")
    return arrays.read(path, "examples", NAMES, sole=True)


def _digits() -> Array:
    try:
        from sklearn.datasets import load_digits  # lazy import: only needed by this source
    except ModuleNotFoundError:
        raise DataError(
            "expected scikit-learn for the digits: pip install 'refdiff[train]', got none (TRN-8)"
        ) from None
    digits: Array = load_digits().images[:, None].astype(np.float32)
    return digits


def _images(array: Array) -> Array:
    """Return images as (n, channels, height, width); arrays of a rank other than 3 and 4 unchanged."""
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"expected bytes or floats, got {array.dtype} (TRN-8)")
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in (1, 3, 4) and array.shape[1] not in (1, 3, 4):
        return np.moveaxis(array, -1, 1)
    return array
