"""refdiff.training.data: every source, its scale, its order, and what is refused."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from refdiff.training import config
from refdiff.training.data import FASHION_MNIST, Examples, Order, left_out_of, load, split
from refdiff.training.errors import DataError

BYTES = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
FLOATS = (BYTES[:, None].astype(np.float32) / 127.5 - 1.0).clip(-1.0, 1.0)
ALL = slice(None)


def loaded(path: Path | str, **how: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return all examples as they are trained on."""
    return np.asarray(load(str(path), config.PreprocessConfig(**how)).take(ALL).numpy())


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Return a file of MNIST's format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def pictures(folder: Path, **images: Image.Image) -> Path:
    """Write images as PNG."""
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return folder


def test_file_formats_give_the_same_examples(tmp_path: Path) -> None:
    """TRN-8: the same bytes as .npy, .npz by each name, IDX and IDX .gz, with and without a channel."""
    np.save(tmp_path / "a.npy", BYTES)
    np.save(tmp_path / "channel.npy", BYTES[:, None])
    np.savez(tmp_path / "only.npz", whatever=BYTES)
    np.savez_compressed(tmp_path / "named.npz", images=BYTES, labels=np.arange(4))
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(BYTES))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(BYTES)))
    for path in sorted(tmp_path.iterdir()):
        assert np.abs(loaded(path) - FLOATS).max() <= 2.0**-23, path
    np.save(tmp_path / "floats.npy", FLOATS.astype(">f8"))
    assert np.abs(loaded(tmp_path / "floats.npy") - FLOATS).max() <= 2.0**-23


@given(st.floats(-1e3, 1e3, width=32), st.floats(2.0**-3, 1e3, width=32), st.data())
def test_ends_of_the_range_become_minus_1_and_1(low: float, width: float, data: st.DataObject) -> None:
    """TRN-8: low becomes -1 and high 1, exactly; between, the line, within rounding; never beyond."""
    high = float(np.float32(low + width))
    inner = data.draw(st.floats(low, high, width=32))
    got = Examples(np.array([[low], [high], [inner]], dtype=np.float32), np.arange(3), low, high).take(ALL)
    assert got[:2, 0].tolist() == [-1.0, 1.0]
    assert abs(float(got[2, 0]) - (2.0 * (inner - low) / (high - low) - 1.0)) <= 2.0**-24
    assert bool((got.abs() <= 1.0).all())


def test_bytes_scale_exactly_at_both_ends(tmp_path: Path) -> None:
    """TRN-8: 0 is -1 and 255 is 1; every byte has a number of its own, symmetric about 0; padding is -1."""
    values = loaded_bytes(tmp_path)
    assert (values[0], values[-1]) == (-1.0, 1.0)
    assert np.array_equal(values, -values[::-1])
    assert (np.diff(values) > 0.0).all()
    padded = load(str(tmp_path / "a.npy"), config.PreprocessConfig(pad=2))
    assert padded.event == (1, 12, 12)
    assert padded.take(ALL).shape == (4, 1, 12, 12)
    assert torch.equal(padded.take(ALL)[..., :2], torch.full((4, 1, 12, 2), -1.0))


def loaded_bytes(folder: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return all bytes, scaled."""
    np.save(folder / "a.npy", BYTES)
    return loaded(folder / "a.npy").ravel()


def test_digits() -> None:
    """TRN-8: 1,797 digits of 8 x 8 that reach both ends."""
    digits = loaded("digits")
    assert digits.shape == (1797, 1, 8, 8)
    assert (digits.min(), digits.max()) == (-1.0, 1.0)


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="Debian's package is not installed")
def test_fashion_mnist() -> None:
    """TRN-8: 60,000 images."""
    assert load("fashion-mnist", config.PreprocessConfig(pad=2)).event == (1, 32, 32)


def test_npy_is_memory_mapped(tmp_path: Path) -> None:
    """TRN-8: a .npy is mapped, also after the split, and rows are read when asked for."""
    np.save(tmp_path / "a.npy", FLOATS)
    training, _ = split(load(str(tmp_path / "a.npy"), config.PreprocessConfig()), 1, 0)
    base: Any = training.raw
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_folder_of_mixed_images(tmp_path: Path) -> None:
    """TRN-8: grey, 16 bits, one bit with alpha become grey; palettes and alpha colour; grey among colour is colour."""
    grey = Image.fromarray(BYTES[1])
    wide = Image.fromarray(BYTES[1].astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    folder = pictures(tmp_path / "grey", a=grey, b=wide, c=grey.convert("LA"))
    got = load(str(folder), config.PreprocessConfig())
    assert got.event == (1, 8, 8)
    assert (np.asarray(got.raw) == BYTES[1]).all()
    colour = Image.merge("RGB", [Image.fromarray(BYTES[i]) for i in range(3)])
    mixed = load(
        str(pictures(tmp_path / "mixed", a=colour, b=colour.convert("RGBA"), c=colour.quantize(), d=grey)),
        config.PreprocessConfig(),
    )
    assert mixed.event == (3, 8, 8)
    assert (mixed.raw[:2] == BYTES[:3]).all()
    assert (mixed.raw[3] == BYTES[1]).all()


def test_folder_of_several_sizes(tmp_path: Path) -> None:
    """TRN-8: refused with a hint, and taken with it; sorted by path; whatever is no image is left."""
    folder = pictures(
        tmp_path / "a",
        b=Image.fromarray(BYTES[1]),
        a=Image.fromarray(np.tile(BYTES[2], (2, 3))),
        c=Image.new("L", (3, 3)),
    )
    (folder / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"^expected images of one size, got .*; set --preprocess.size \(TRN-8\)$"):
        load(str(folder), config.PreprocessConfig())
    assert load(str(folder), config.PreprocessConfig(size=8)).raw[1, 0].tolist() == BYTES[1].tolist()


@pytest.mark.parametrize(
    ("shape", "event"),
    [
        ((5, 8, 8), (1, 8, 8)), ((5, 8, 8, 3), (3, 8, 8)), ((5, 3, 8, 8), (3, 8, 8)), ((5, 8, 8, 1), (1, 8, 8)),
        ((5, 8, 8, 4), (4, 8, 8)), ((5, 3, 8, 3), (3, 8, 3)), ((5, 8, 8, 8), (8, 8, 8)), ((5, 7), (7,)),
    ],
)  # fmt: skip
def test_channel_axis_is_found(tmp_path: Path, shape: tuple[int, ...], event: tuple[int, ...]) -> None:
    """TRN-8: at the end only where 1, 3 or 4 stands there alone; where both could be, the first is."""
    array = np.random.default_rng(0).uniform(-1.0, 1.0, shape)
    np.save(tmp_path / "a.npy", array)
    got = load(str(tmp_path / "a.npy"), config.PreprocessConfig())
    assert got.event == event
    if event != shape[1:] and len(shape) == 4:
        assert float(got.take(np.array([2]))[0, -1, 1, 2]) == np.float32(array[2, 1, 2, -1])


NAN = FLOATS.copy()
NAN[1, 0, 3, 3] = np.nan
REFUSED: dict[str, tuple[Any, str]] = {
    "unit": ((FLOATS + 1.0) / 2.0, "set --preprocess.range 0 1"),
    "binary bytes": (BYTES // 128, "set --preprocess.range 0 1"),
    "as bytes": (BYTES.astype(np.float32), "set --preprocess.range"),
    "nan": (NAN, "finite"), "infinite": (np.where(np.isnan(NAN), np.inf, NAN), "finite"),
    "constant": (np.full((4, 1, 8, 8), 0.5), "varies"), "none": (np.zeros((0, 1, 8, 8)), "got an array of shape"),
    "empty": (np.zeros((4, 0, 8, 8)), "an array of shape"), "flat": (np.linspace(-1, 1, 9), "an array of shape"),
    "scalar": (np.float64(0.5), "got an array of shape"), "integers": (BYTES.astype(np.int64), "bytes or"),
    "objects": (np.array([[1], None], dtype=object), "Python objects"), "complex": (FLOATS + 0j, "bytes or"),
    "text": (np.array([["a"]]), "bytes or floats"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_arrays_are_refused(tmp_path: Path, name: str) -> None:
    """TRN-8: in one sentence, with a hint where there is one."""
    array, hint = REFUSED[name]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$") as caught:
        load(str(tmp_path / "a.npy"), config.PreprocessConfig())
    assert hint in str(caught.value)


def test_given_range_is_used(tmp_path: Path) -> None:
    """TRN-8: [0, 1] as the hint says, or as a half of [-1, 1]; values beyond it never are."""
    unit = (FLOATS + 1.0) / 2.0
    np.save(tmp_path / "a.npy", unit)
    assert np.abs(loaded(tmp_path / "a.npy", range=(0.0, 1.0)) - FLOATS).max() <= 2.0**-23
    assert np.array_equal(loaded(tmp_path / "a.npy", range=(-1.0, 1.0)), unit)
    with pytest.raises(DataError, match=r"set --preprocess\.range"):
        loaded(tmp_path / "a.npy", range=(0.0, 0.5))
    np.save(tmp_path / "flat.npy", unit[:, 0, 0])
    with pytest.raises(DataError, match="expected images to pad"):
        loaded(tmp_path / "flat.npy", range=(0.0, 1.0), pad=1)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """TRN-8: 20 lengths of each kind, folders without images, names of nothing: one sentence each."""
    np.save(tmp_path / "a.npy", BYTES)
    np.savez_compressed(tmp_path / "a.npz", BYTES)
    np.savez(tmp_path / "two.npz", a=BYTES, b=BYTES)
    (tmp_path / "a.idx").write_bytes(idx(BYTES))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(BYTES)))
    folder = pictures(tmp_path / "images", a=Image.fromarray(BYTES[0]))
    (tmp_path / "text.gz").write_text("no gzip")
    (tmp_path / "array.npz").write_bytes((tmp_path / "a.npy").read_bytes())
    (tmp_path / "vast.idx").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    (tmp_path / "none").mkdir()

    def refused(source: Path) -> None:
        with pytest.raises(DataError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
            load(str(source), config.PreprocessConfig())

    for name in ("two.npz", "text.gz", "array.npz", "vast.idx", "none", "nowhere.npy"):
        refused(tmp_path / name)
    for file in (*(tmp_path / f"a.{kind}" for kind in ("npy", "npz", "idx", "gz")), folder / "a.png"):
        content = file.read_bytes()
        for i in range(15 if file.suffix == ".png" else 20):  # a PNG may lack its end, not its pixels
            file.write_bytes(content[: len(content) * i // 20])
            refused(folder if file.parent == folder else file)


@given(
    examples=st.integers(1, 40), size=st.integers(1, 8), shards=st.integers(1, 5), seed=st.integers(0, 2**32 - 1),
    epochs=st.integers(1, 3),
)  # fmt: skip
def test_each_example_once_an_epoch(examples: int, size: int, shards: int, seed: int, epochs: int) -> None:
    """TRN-8: whatever the batch, the stream of all shards is one permutation after another; another seed, another."""
    order = Order(seed, examples, size * shards, shards)
    steps = -(-examples * epochs // (size * shards))
    stream = np.concatenate([order.rows(step, shard) for step in range(steps) for shard in range(shards)])
    for epoch in range(epochs):
        assert sorted(stream[epoch * examples : (epoch + 1) * examples]) == list(range(examples))
    assert np.array_equal(order.rows(steps, 0), Order(seed, examples, size * shards, shards).rows(steps, 0))


@given(st.integers(0, 100))
def test_rows_of_a_batch_do_not_depend_on_shards(step: int) -> None:
    """TRN-8: shards are consecutive parts of the one batch."""
    whole = Order(3, 50, 12, 1).rows(step, 0)
    for shards in (2, 3, 4, 6, 12):
        dealt = [Order(3, 50, 12, shards).rows(step, shard) for shard in range(shards)]
        assert np.array_equal(np.concatenate(dealt), whole)


def test_epochs_and_seeds_have_different_orders() -> None:
    """TRN-8: a new permutation in each."""
    rows = [Order(seed, 100, 100, 1).rows(epoch, 0).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(row) for row in rows}) == 4


@given(st.integers(1, 60), st.none() | st.integers(-2, 60), st.integers(0, 99))
def test_split_is_a_partition(n: int, held_out: int | None, seed: int) -> None:
    """TRN-8: every example is in one part; a sixth by default; as the seed decides; too many are refused."""
    all_of_them = Examples(np.arange(n, dtype=np.float32)[:, None], np.arange(n), 0.0, float(n))
    if held_out is not None and not 0 <= held_out < n:
        with pytest.raises(DataError, match=rf"got {held_out} of {n} \(TRN-8\)$"):
            split(all_of_them, held_out, seed)
        return
    training, kept = split(all_of_them, held_out, seed)
    assert sorted([*training.rows, *kept.rows]) == list(range(n))
    assert len(kept) == (n // 6 if held_out is None else held_out)
    assert np.array_equal(split(all_of_them, held_out, seed)[1].rows, kept.rows)


def test_what_a_folder_leaves_out_is_counted(tmp_path: Path) -> None:
    """TRN-8: files that are no images, and hidden files, are left out and said, by their ending."""
    folder = pictures(tmp_path / "a", a=Image.fromarray(BYTES[0]), b=Image.fromarray(BYTES[1]))
    pictures(folder / "deep", c=Image.fromarray(BYTES[2]), **{".d": Image.fromarray(BYTES[3])})
    assert left_out_of(str(pictures(tmp_path / "b", a=Image.fromarray(BYTES[0])))) == ""
    for name in ("one.txt", "two.txt", "README"):
        (folder / name).write_text("no image")
    assert len(load(str(folder), config.PreprocessConfig())) == 3
    said = left_out_of(str(folder))
    assert said.startswith("4 files left out: 2 .txt, ")
    assert {"1 hidden", "1 without ending"} <= set(said.split(", "))
    assert left_out_of("digits") == ""


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-8: its images are not left out in silence."""
    folder = pictures(tmp_path / "a", a=Image.fromarray(BYTES[0]), b=Image.fromarray(BYTES[1]))
    locked, scandir = pictures(folder / "locked", c=Image.fromarray(BYTES[2])), os.scandir

    def refuse(path: str) -> Any:
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read any folder
    with pytest.raises(DataError, match=r"^expected a readable folder of images, got .*locked: Permission denied"):
        load(str(folder), config.PreprocessConfig())


def test_one_example_is_refused(tmp_path: Path) -> None:
    """TRN-8: one image, or an array of one row, is no set of examples."""
    np.save(tmp_path / "one.npy", FLOATS[:1])
    for source in (tmp_path / "one.npy", pictures(tmp_path / "a", a=Image.fromarray(BYTES[0]))):
        with pytest.raises(DataError, match=r"^expected at least 2 examples, got 1 in .* \(TRN-8\)$"):
            load(str(source), config.PreprocessConfig())


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG with almost no pixels, whose header declares a size."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(1000)))
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_vast_claims_are_refused(tmp_path: Path) -> None:
    """TRN-8: a small file that declares a vast array or image allocates nothing, and is one sentence."""
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000, 8, 8), }".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    (tmp_path / "vast.npy").write_bytes(array)
    with zipfile.ZipFile(tmp_path / "vast.npz", "w") as archive:
        archive.writestr("a.npy", array)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("images", "no array")
    (tmp_path / "vast.idx").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**10, 2**10))
    for name, sides in (("bomb", (12_000, 12_000)), ("vaster", (60_000, 60_000))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png_of_size(*sides))
    for name in ("vast.npy", "vast.npz", "text.npz", "vast.idx", "bomb", "vaster"):
        with pytest.raises(DataError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
            load(str(tmp_path / name), config.PreprocessConfig())
    with pytest.raises(DataError, match="decompression bomb"):
        load(str(tmp_path / "bomb"), config.PreprocessConfig())


@pytest.mark.parametrize("source", ["", "a\0b", "a" * 300, "/".join(["a" * 200] * 30)])
def test_impossible_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """TRN-8: no name, NUL, and names that are too long are one sentence; no name is not the current folder."""
    monkeypatch.chdir(pictures(tmp_path, a=Image.fromarray(BYTES[0]), b=Image.fromarray(BYTES[1])))
    with pytest.raises(DataError, match=r"^expected [^\n]+, got [^\n]+ \(TRN-8\)$"):
        load(source, config.PreprocessConfig())


def test_an_array_in_fortran_order_is_read_by_its_indices(tmp_path: Path) -> None:
    """TRN-8: the order of the bytes in a file changes no example."""
    np.save(tmp_path / "a.npy", np.asfortranarray(FLOATS.astype(">f4")))
    assert np.array_equal(loaded(tmp_path / "a.npy"), FLOATS)
