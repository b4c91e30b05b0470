"""Arrays in files: .npy, .npz and IDX. Reading executes nothing, and sizes are checked before memory is allocated."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from refdiff.errors import RefdiffError
from refdiff.training import files, memory
from refdiff.training.errors import DataError

Array: TypeAlias = npt.NDArray[Any]


def read(path: Path, what: str, names: Sequence[str], *, sole: bool = False) -> Array:
    """Return the array of a file: .npy, which is memory-mapped, .npz, or IDX for any other ending.

    Args:
        path: the file.
        what: what its numbers are, as the messages name them.
        names: names that the array may have in an archive; the first of them that the archive has is read.
        sole: whether the only array of an archive may have any name.

    Raises:
        DataError: it is not a regular file, it has no such array, or the array does not fit in the memory.
    """
    try:
        files.opened(path).close()  # refuses a FIFO, for which NumPy would wait
        match path.suffix:
            case ".npy":
                return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
            case ".npz":
                return _archived(path, names, sole=sole)
            case _:
                return _idx(path)
    except RefdiffError:
        raise
    except Exception as error:  # noqa: BLE001 - for an invalid file, NumPy, zip and gzip raise many types
        said = files.reason(error)
        raise DataError(f"expected {what} as .npy, .npz or IDX, got {path}: {said} (TRN-8)") from None


def _archived(path: Path, names: Sequence[str], *, sole: bool) -> Array:
    with path.open("rb") as file:  # given a path, NumPy would leave a file open that is not an archive
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"expected an archive, got {path}, which is a single array: rename it to .npy (TRN-8)")
        known = archive.files
        found = known if sole and len(known) == 1 else [name for name in names if name in known]
        if not found:
            need = f"{', '.join(names[:-1])} or {names[-1]}"
            raise DataError(f"expected an array named {need}, got {', '.join(known) or 'none'} in {path} (TRN-8)")
        for item in archive.zip.infolist() if archive.zip else ():
            if item.filename == f"{found[0]}.npy":
                memory.need(item.file_size, f"the array {found[0]} of {path}", kind=DataError)
        array: object = archive[found[0]]
        if not isinstance(array, np.ndarray):  # NumPy returns the bytes of a member that is no array
            raise DataError(f"expected an array, got another file named {found[0]} in {path} (TRN-8)")
        return array


def _idx(path: Path) -> Array:
    """Read an IDX file, MNIST's format: bytes 0, 0, type, rank; sides as big-endian 32-bit integers; values."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08":
            raise DataError(f"expected an IDX file of bytes, got {path}, which begins with {head.hex(' ')} (TRN-8)")
        shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
        memory.need(prod(shape), f"values of shape {shape}, as the header of {path} states", kind=DataError)
        values = np.frombuffer(file.read(prod(shape) + 1), dtype=np.uint8)
    if values.size != prod(shape):
        raise DataError(
            f"expected values of shape {shape}, as the header of {path} states, got "
            f"{'more' if values.size > prod(shape) else values.size} values (TRN-8)"
        )
    return values.reshape(shape)
