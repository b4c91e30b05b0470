"""Identity of the data of a run, by which resuming with other data is refused (TRN-11)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import prod
from typing import final

import numpy as np

from refdiff.training.arrays import Array
from refdiff.training.data import Examples
from refdiff.training.errors import DataError
from refdiff.training.labels import Labels

AT_ONCE = 2**24
"""Bytes that are read at once, so that a memory-mapped file of any size needs little memory."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What all examples and their split into training and held-out examples are."""

    shape: tuple[int, ...]
    """(n, *event), before padding."""
    dtype: str
    """NumPy's name of the type of the numbers as they are stored, such as `|u1` or `<f4`."""
    digest: str
    """SHA-256 of the numbers, example by example."""
    held_out: int
    """Number of held-out examples."""
    split: str
    """SHA-256 of the indices of the training examples, then of the held-out ones, int64."""
    labels: str = ""
    """SHA-256 of the names of the classes and of the label of each example, int64; empty if labels are not used."""

    @staticmethod
    def of(training: Examples, held_out: Examples) -> Identity:
        """Return the identity of the two parts of one array. Reads all of it once."""
        raw, split = training.raw, sha256()
        for part in (training, held_out):
            split.update(np.ascontiguousarray(part.rows, dtype="<i8").data)
        return Identity(
            shape=raw.shape,
            dtype=raw.dtype.str,
            digest=_digest(raw),
            held_out=len(held_out),
            split=split.hexdigest(),
            labels=_digest_labels(training.labels),
        )

    def to_json(self) -> str:
        """Return the text that files keep."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: object) -> Identity:
        """Return the identity of such a text. Raises ValueError for any other text."""
        known = json.loads(text) if isinstance(text, str) else None
        names = tuple(Identity.__dataclass_fields__)
        if not isinstance(known, dict) or set(known) != set(names):
            raise ValueError("no identity of the data")
        shape, counts, words = (
            known["shape"],
            [known["held_out"]],
            [known[name] for name in ("dtype", "digest", "split", "labels")],
        )
        if (
            not isinstance(shape, list)
            or not shape
            or not _are_counts([*shape, *counts])
            or not all(type(w) is str for w in words)
        ):
            raise ValueError("an identity of the data of other types")
        return Identity(**(known | {"shape": tuple(shape)}))

    def check(self, now: Identity) -> None:
        """Raise DataError, naming the first difference, unless the data of this identity is that of another."""
        (n, *event), (n_now, *event_now) = self.shape, now.shape
        differences = (
            (f"examples of shape {tuple(event)}", f"shape {tuple(event_now)}", event == event_now),
            (f"numbers of type {self.dtype}", now.dtype, self.dtype == now.dtype),
            (f"{n:,} examples", f"{n_now:,}", n == n_now),
            (
                f"examples with the SHA-256 {self.digest[:16]}...",
                f"{now.digest[:16]}...: other values, or another order",
                self.digest == now.digest,
            ),
            (
                f"a split with {self.held_out:,} held-out examples",
                f"{now.held_out:,}" if self.held_out != now.held_out else "others of the same number",
                self.split == now.split,
            ),
            ("the same labels", "others", self.labels == now.labels),
        )
        for need, got, is_same in differences:
            if not is_same:
                raise DataError(f"expected the data of the checkpoint to resume, {need}, got {got} (TRN-11)")


def _digest(raw: Array) -> str:
    """Return the SHA-256 of an array's numbers in the order of its axes, whatever their order in memory."""
    hashed = sha256()
    for part in _parts(raw):
        hashed.update(np.ascontiguousarray(part).data)
    return hashed.hexdigest()


def _digest_labels(labels: Labels | None) -> str:
    if labels is None:
        return ""
    hashed = sha256(json.dumps(labels.names).encode())
    hashed.update(np.ascontiguousarray(labels.index, dtype="<i8").data)
    return hashed.hexdigest()


def _parts(raw: Array) -> Iterator[Array]:
    rows = max(1, AT_ONCE // max(1, raw.dtype.itemsize * prod(raw.shape[1:])))
    for first in range(0, len(raw), rows):
        yield raw[first : first + rows]


def _are_counts(numbers: Sequence[object]) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
