"""refdiff.training.checkpoint: files that are whole or not there, whatever is done to them."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from refdiff.training import checkpoint, digests, files
from refdiff.training.config import Config
from refdiff.training.errors import CheckpointError
from refdiff.training.identity import Identity
from refdiff.training.parsing import to_mapping

CONFIG = Config(steps=7)
DATA = Identity(shape=(9, 1, 8, 8), dtype="|u1", digest="a" * 64, held_out=2, split="b" * 64)


FLIPS = int(os.environ.get("REFDIFF_FLIPS", "40")) // 4
"""Flipped bits of each kind of file, by four."""


def state(step: int) -> dict[str, Any]:
    """Return a state with a tensor in it."""
    return {"step": step, "model": {"weight": torch.arange(4.0)}, "early_stopping": {"best": float("inf")}}


def saved(out: Path, step: int = 3, keep: int = 9) -> Path:
    """Write a checkpoint."""
    return checkpoint.save(out, CONFIG, state(step), DATA, keep=keep)


def exported(path: Path) -> Path:
    """Write a network."""
    checkpoint.export(path, nn.Linear(3, 2), CONFIG, (1, 8, 8), 5, DATA)
    return path


def sealed(content: object, path: Path) -> Path:
    """Write a checkpoint with a right digest, whatever its content."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(digests.first_line(checkpoint.FORMAT, buffer.getvalue()) + buffer.getvalue())
    return path


def stamped(path: Path, about: dict[str, str]) -> Path:
    """Write weights with a right digest, whatever their metadata."""
    metadata = {"refdiff": json.dumps({"digest": digests.UNKNOWN} | about)}
    path.write_bytes(digests.stamp(safetensors.torch.save({"a": torch.zeros(2)}, metadata)))
    return path


def refuses(read: Any, path: Path) -> None:
    """Hold a reader to one sentence of its own kind."""
    with pytest.raises(CheckpointError, match=r"^expected [^\n]+ \(TRN-11\)$"):
        read(path)


def test_saved_checkpoint_and_weights_load(tmp_path: Path) -> None:
    """TRN-11: config, tensors and numbers come back; nothing else is left in the folder."""
    path = saved(tmp_path)
    config, content, data = checkpoint.load(path)
    assert (config, data) == (CONFIG, DATA)
    assert content["step"] == 3
    assert torch.equal(content["model"]["weight"], torch.arange(4.0))
    assert [file.name for file in path.parent.iterdir()] == ["step-000000003.pt"]
    got = checkpoint.weights(exported(tmp_path / "ema.safetensors"))
    assert (got.config, got.event, got.step, got.data) == (CONFIG, (1, 8, 8), 5, DATA)
    assert sorted(got.tensors) == ["bias", "weight"]
    assert checkpoint.weights(tmp_path).step == 5


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    """TRN-11: 50 lengths of each kind, 0 among them."""
    for path, read in ((saved(tmp_path), checkpoint.load), (exported(tmp_path / "a.st"), checkpoint.weights)):
        content = path.read_bytes()
        for i in range(50):
            path.write_bytes(content[: len(content) * i // 50])
            refuses(read, path)
        path.write_bytes(content[:-1])
        refuses(read, path)


@pytest.mark.parametrize("seed", [0])
def test_flipped_bit_is_refused(tmp_path: Path, seed: int) -> None:
    """TRN-11: a reader refuses a file of which any one bit was flipped, in its first lines, words, names or tensors."""
    drawn = random.Random(seed)  # noqa: S311 - positions, not secrets
    for path, read in ((saved(tmp_path), checkpoint.load), (exported(tmp_path / "a.st"), checkpoint.weights)):
        content = path.read_bytes()
        bits = [8 * drawn.randrange(start, end) + drawn.randrange(8) for start, end in _regions(len(content)) * FLIPS]
        for bit in bits:
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            refuses(read, path)
        path.write_bytes(content)
        read(path)


def _regions(length: int) -> list[tuple[int, int]]:
    """Return the two ends of a file, and all of it."""
    return [(0, 100), (length - 100, length), (0, length), (0, length)]


class Harm:
    """An object that runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        """Take the command."""
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Say how to be made again."""
        return os.system, (self.command,)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    """TRN-11: neither as a pickle nor inside torch's own format; both would run it if they were trusted."""
    ran = tmp_path / "ran"
    bare, inside = tmp_path / "bare.pt", tmp_path / "inside.pt"
    harm = {"format": checkpoint.FORMAT, "config": "{}", "data": DATA.to_json(), "state": Harm(f"touch {ran}")}
    bare.write_bytes(pickle.dumps(harm))
    torch.save(harm, inside)
    believed = tmp_path / "believed.pt"
    believed.write_bytes(digests.first_line(checkpoint.FORMAT, bare.read_bytes()) + bare.read_bytes())
    for path in (bare, inside, believed, sealed(harm, tmp_path / "sealed.pt")):
        refuses(checkpoint.load, path)
        refuses(checkpoint.weights, path)
    assert not ran.exists()
    torch.load(inside, weights_only=False)
    assert ran.exists()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """TRN-11: a zip, a foreign dict, a list, a folder, a dangling link, text, nothing, none."""
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")
    good = {"config": json.dumps(to_mapping(CONFIG)), "data": DATA.to_json(), "state": state(1)}
    assert checkpoint.load(sealed(good, tmp_path / "good")).state["step"] == 1
    contents: dict[str, object] = {
        "foreign": {"model": torch.zeros(3)}, "list": [1, 2], "tensor": torch.zeros(3),
        "data": good | {"data": 3}, "shape": good | {"data": DATA.to_json().replace("9", "-9")},
        "no state": {k: v for k, v in good.items() if k != "state"},
        "state": good | {"state": 3}, "config": good | {"config": 3}, "number": good | {"config": "3"},
        "setting": good | {"config": '{"steps": 0}'}, "size": good | {"config": '{"network": {"groups": 0}}'},
        "deep": good | {"config": "[" * 100_000},
    }  # fmt: skip
    for name, content in contents.items():
        sealed(content, tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    for name in (*contents, "zip", "folder", "link", "text", "empty", "none"):
        refuses(checkpoint.load, tmp_path / name)
        refuses(checkpoint.weights, tmp_path / name)


def test_former_format_is_named(tmp_path: Path) -> None:
    """TRN-11: a checkpoint and weights of an earlier version are refused by the name of their format."""
    for former in ("refdiff-checkpoint-1", "refdiff-checkpoint-2"):
        old = {"format": former, "config": "{}", "state": state(1)}
        torch.save(old, tmp_path / "old.pt")
        about = {"format": former, "config": "{}", "event": "[3]", "step": "1"}
        content = safetensors.torch.save({"a": torch.zeros(2)}, {"refdiff": json.dumps(about)})
        (tmp_path / "old.safetensors").write_bytes(content)
        for path, read in (("old.pt", checkpoint.load), ("old.safetensors", checkpoint.weights)):
            with pytest.raises(CheckpointError, match=rf"format {former} of an earlier version"):
                read(tmp_path / path)
            refuses(read, tmp_path / path)


HOSTILE = [
    {"config": "5"}, {"config": "[" * 100_000}, {"config": "{"}, {"config": '{"steps": "x"}'},
    {"event": "5"}, {"event": "null"}, {"event": "[1, 1e400, 8]"}, {"event": "[Infinity]"}, {"event": '["1"]'},
    {"event": "[true]"}, {"event": "[-1, 8, 8]"}, {"event": "[1, 0, 8]"}, {"event": "[1, 1000000, 1000000]"},
    {"event": "[" * 100_000}, {"event": "{}"}, {"step": "x"}, {"step": "9" * 5000}, {"format": "other"},
    {"data": "{}"}, {"data": "[" * 100_000}, {"data": '{"shape": 3}'}, {"digest": "x"}, {"digest": "0" * 63 + "a"},
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: str(hostile)[:30])
def test_hostile_metadata_is_refused(tmp_path: Path, hostile: dict[str, str]) -> None:
    """TRN-11: whatever the words beside the weights say."""
    good = {"format": checkpoint.FORMAT, "config": json.dumps(to_mapping(CONFIG)), "event": "[1, 8, 8]", "step": "5"}
    refuses(checkpoint.weights, stamped(tmp_path / "a.safetensors", good | hostile))
    assert checkpoint.weights(stamped(tmp_path / "a.safetensors", good)).step == 5


def test_export_is_deterministic(tmp_path: Path) -> None:
    """TRN-11: whoever compares runs by a checksum of their files is told the truth."""
    net = torch.nn.Linear(3, 2)
    for i in range(4):
        checkpoint.export(tmp_path / str(i), net, CONFIG, (3,), 7)
    assert len({(tmp_path / str(i)).read_bytes() for i in range(4)}) == 1


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    """TRN-11: none of the words there, or a header as long as it likes."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(2)}))
    refuses(checkpoint.weights, path)
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    refuses(checkpoint.weights, path)


def test_newest_valid_checkpoint_is_found(tmp_path: Path) -> None:
    """TRN-11: of what does not load it is said why; a folder of that name is no harm; none at all is one sentence."""
    said: list[str] = []
    with pytest.raises(CheckpointError, match=r"^expected a checkpoint to resume from, got 0 in.* \(TRN-11\)$"):
        checkpoint.newest(tmp_path, said.append)
    for step in (1, 2, 10):
        saved(tmp_path, step)
    checkpoint.listed(tmp_path)[0].write_bytes(b"cut")
    (tmp_path / checkpoint.FOLDER / "step-000000011.pt").mkdir()
    (tmp_path / checkpoint.FOLDER / f".refdiff-{0:032x}.partial").write_bytes(b"left")
    assert checkpoint.newest(tmp_path, said.append)[1]["step"] == 2
    assert [("000011" in line, "000010" in line) for line in said] == [(True, False), (False, True)]


def test_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    """TRN-11: of those before; one of a later step, which did not load, never crowds out what was just written."""
    for step in range(5):
        saved(tmp_path, step, keep=2)
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step-000000004.pt", "step-000000003.pt"]
    checkpoint.listed(tmp_path)[0].write_bytes(b"cut")
    written = saved(tmp_path, 3, keep=1)
    assert checkpoint.load(written)[1]["step"] == 3
    assert checkpoint.newest(tmp_path, lambda _: None)[1]["step"] == 3


FULL = """
import resource, signal, sys
from pathlib import Path
from refdiff.training import files
from refdiff.training.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.write(Path(sys.argv[1]), bytes(100_000))
except CheckpointError as error:
    print(error)
"""


def test_full_disk_keeps_the_previous_file(tmp_path: Path) -> None:
    """TRN-11: a limit of 4 KiB, set by the system: one sentence, the file before, and nothing half written."""
    path = tmp_path / "a.pt"
    files.write(path, b"before")
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"expected to write {path}, got: File too large")
    assert ran.stdout.count("\n") == 1
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_path_is_one_error_line(tmp_path: Path) -> None:
    """TRN-11: a file in place of the folder, or a folder in place of the file."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    for path in (tmp_path / "file" / "a.pt", tmp_path / "file" / "b" / "a.pt", tmp_path / "folder"):
        with pytest.raises(
            CheckpointError, match=r"^expected to write [^\n]+, got: [^\n]+; earlier files are unchanged \(TRN-11\)$"
        ):
            files.write(path, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_one_error_line(tmp_path: Path) -> None:
    """TRN-11: said, not shown as a traceback."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            files.write(tmp_path / "a.pt", b"x")
    finally:
        tmp_path.chmod(0o700)


def test_exported_weights_are_those_of_the_model(tmp_path: Path) -> None:
    """TRN-11: weights to the bit, of a tensor that is not contiguous too."""
    net = nn.Linear(3, 2)
    net.weight.data = torch.randn(3, 2).T
    checkpoint.export(tmp_path / "a", net, CONFIG, (3,), 1)
    assert torch.equal(checkpoint.weights(tmp_path / "a").tensors["weight"], net.weight.detach())
