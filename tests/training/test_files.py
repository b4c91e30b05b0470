"""refdiff.training.files: atomic writes, never through links, and no waiting for what is no file."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from refdiff.errors import RefdiffError
from refdiff.training import checkpoint, config, data, files, parsing
from refdiff.training.errors import CheckpointError
from refdiff.training.generate import Trained, check_output, write

LONG = "a" * 300
NUL = "a\0b"


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Return a FIFO, a device, a socket and a folder, by what they are called in messages."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("fifo")
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        yield {"a FIFO": "fifo", "a device": "/dev/zero", "a socket": "socket", "a folder": "folder"}


def test_irregular_files_are_refused_without_waiting(odd: dict[str, str]) -> None:
    """TRN-11: each by what it is, also behind a link; a FIFO has no writer here, and would be waited for."""
    for kind, name in odd.items():
        Path("link").symlink_to(name)
        for path in (Path(name), Path("link")):
            with pytest.raises(OSError, match=f"{kind}, not a regular file"):
                files.opened(path)
        Path("link").unlink()


READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": checkpoint.load,
    "weights": checkpoint.weights,
    "trained": Trained,
    "config": parsing.read,
    "data": lambda path: data.load(str(path), config.PreprocessConfig()),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_irregular_files(odd: dict[str, str], reader: str) -> None:
    """TRN-8, TRN-11: in one sentence, that names what is no file."""
    for kind in ("a FIFO", "a device", "a socket"):
        with pytest.raises(RefdiffError, match=rf"^expected [^\n]+ {kind}, not a regular file[^\n]* \(TRN-\d+\)$"):
            READERS[reader](Path(odd[kind]))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [LONG, NUL, "nowhere"], ids=["long", "NUL", "none"])
def test_every_reader_refuses_impossible_names(reader: str, name: str) -> None:
    """TRN-8, TRN-11: in one sentence, names that are too long, have a NUL, or are those of nothing."""
    with pytest.raises(RefdiffError, match=r"^expected [^\n]+ \(TRN-\d+\)$"):
        READERS[reader](Path(name))


def test_fifo_in_a_folder_of_images_is_refused(tmp_path: Path) -> None:
    """TRN-8: as one of the images."""
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(RefdiffError, match=r"expected a readable image, got [^\n]+b\.png: a FIFO, not a regular file"):
        data.load(str(tmp_path), config.PreprocessConfig())


ACTIONS: tuple[Callable[[Path], None], ...] = (
    lambda path: files.write(path, b"x"),
    lambda path: files.append(path, "x"),
)


@pytest.mark.parametrize("name", [LONG, NUL], ids=["long", "NUL"])
def test_impossible_names_cannot_be_written(tmp_path: Path, name: str) -> None:
    """TRN-11: in one sentence, in place of the file and of its folder."""
    for path in (tmp_path / name, tmp_path / name / "a"):
        for action in ACTIONS:
            with pytest.raises(CheckpointError, match=r"^expected to write .+ \(TRN-11\)$"):
                action(path)


@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_links_in_place_of_files_are_refused(tmp_path: Path, target: str) -> None:
    """TRN-11: what a link names is not written to, and the link stays; a link to the folder is followed."""
    (tmp_path / "victim").write_bytes(b"theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").symlink_to(tmp_path / target)
    for action in ACTIONS:
        with pytest.raises(CheckpointError, match=r"^expected to write [^\n]+, got: a link in place of the file"):
            action(tmp_path / "run" / "a")
    assert files.is_link(tmp_path / "run" / "a")
    assert (tmp_path / "victim").read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "victim"]
    (tmp_path / "other").symlink_to(tmp_path / "run")
    files.write(tmp_path / "other" / "b", b"x", b"y")
    assert (tmp_path / "run" / "b").read_bytes() == b"xy"


def test_temporary_files_are_new_and_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRN-11: names differ from write to write, and one that is taken, by a link too, is not written through."""
    seen: list[str] = []
    replace = os.replace

    def recorded(source: str, *rest: Any, **at: Any) -> None:
        seen.append(source)
        replace(source, *rest, **at)

    monkeypatch.setattr(os, "replace", recorded)
    for _ in range(3):
        files.write(tmp_path / "a", b"x")
    assert len(set(seen)) == 3
    assert all(files.is_temporary(name) for name in seen)
    monkeypatch.setattr(files, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / "victim").write_bytes(b"theirs")
    (tmp_path / f".refdiff-{0:032x}.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(CheckpointError, match=r"got: File exists"):
        files.write(tmp_path / "a", b"y")
    assert [(tmp_path / name).read_bytes() for name in ("victim", "a")] == [b"theirs", b"x"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    """TRN-11: others may read what the umask lets them read."""
    (tmp_path / "plain").touch()
    files.write(tmp_path / "a", b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    """TRN-13: lines are appended, each at once."""
    lines = [f"{i} " + str(i) * 2000 for i in range(4)]

    def appending(line: str) -> None:
        for _ in range(20):
            files.append(tmp_path / "a", line)

    threads = [Thread(target=appending, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / "a").read_text().splitlines()) == sorted(lines * 20)


@pytest.mark.parametrize("left", ["samples.npy", "samples.png"])
def test_samples_are_not_replaced_silently(tmp_path: Path, left: str) -> None:
    """TRN-11: neither numbers nor a picture, unless that is asked for."""
    (tmp_path / left).write_bytes(b"theirs")
    made = torch.zeros(1, 1, 4, 4)
    for action in (check_output, lambda out: write(out, made)):
        with pytest.raises(RefdiffError, match=rf"^expected a folder without samples, [^\n]+{left} \(TRN-11\)$"):
            action(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]
    write(tmp_path, made, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.npy", "samples.png"]
    assert (tmp_path / left).read_bytes() != b"theirs"
