"""Random wrong settings, data and files: each must be refused in one sentence, or be right.

    python -m tests.training.fuzz --seed 0 --configs 300 --data 150 --files 300

A case fails if it raises anything but RefdiffError, takes longer than its limit, or accepts what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import signal
import struct
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Never, get_args, get_origin

import numpy as np
import torch
from PIL import Image

from refdiff.__main__ import main
from refdiff.errors import RefdiffError
from refdiff.training import arguments, checkpoint
from refdiff.training.config import Config, PreprocessConfig
from refdiff.training.data import load, split
from refdiff.training.generate import Trained

LIMIT = 60
"""Seconds of one case, far above what the slowest takes."""
_SENTENCE = re.compile(r"expected [^\n]+, got [^\n]+ \([A-Z]{3}-\d+\)")
TINY = [
    *("--steps", "1", "--mlp.width", "4", "--mlp.depth", "1", "--network.width", "4", "--network.groups", "2"),
    *("--network.multipliers", "1", "--batch.size", "4", "--batch.shards", "2", "--monitor.on-findings", "warn"),
    *("--monitor.eval-every", "0", "--monitor.picture-every", "0", "--monitor.sampling-steps", "2"),
    *("--monitor.log-every", "0"),
]
"""Options of the least run."""


class Slow(BaseException):
    """A case took too long; no `except Exception` catches it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input and what became of it."""

    name: str
    fault: str = ""
    """What is wrong with how it was taken; empty for a refusal in one sentence, or a right result."""


def judged(name: str, call: Callable[[], str]) -> Case:
    """Return what becomes of a call, which returns the fault of what it accepted."""

    def stop(kind: int, frame: FrameType | None) -> Never:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        return Case(name, call())
    except RefdiffError as error:
        return Case(name, "" if _SENTENCE.fullmatch(str(error)) else f"no sentence: {error}")
    except Slow:
        return Case(name, f"took more than {LIMIT} s")
    except BaseException:  # noqa: BLE001 - whatever is not RefdiffError is what is sought
        return Case(name, f"traceback: {traceback.format_exc(limit=-4)}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _wrong(kind: Any) -> list[Any]:
    """Return values that no setting of this type may have."""
    if type(None) in get_args(kind):
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        return ["abc", float("nan"), [], {}, [["a"]], [float("nan")] * 2, [-1, -2], [2**63] * 2][-3:]
    table: dict[Any, list[Any]] = {
        int: [-1, 2**63, 2**62, -(2**63), 10**4999, float("nan"), float("inf"), 1.5, "abc", "", [1], {"a": 1}],
        float: [float("nan"), -1.0, "abc", "", [1.0], 10**400, -float("inf"), -1e300],
        bool: ["false", 1, "", [True]],
    }
    return table.get(kind, ["nonsense", "", "a" * 5000, "\x1b[31m", "a\nb", 7, [1]])


def _perhaps(kind: Any) -> list[Any]:
    """Return values that some settings of this type may have."""
    if type(None) in get_args(kind):
        kind = get_args(kind)[0]
    table: dict[Any, list[Any]] = {
        int: [0, 1, 2, 3, 7, 1000, 2**20, 2**31],
        float: [0.0, 1e-300, 0.5, 1.0, 7.0, 1e300, float("inf")],
        bool: [True, False],
    }
    if get_origin(kind) is tuple:
        return [[1, 2], [0, 1], [0.5, 0.9], [2], []]
    return table.get(kind, list(get_args(kind)) or ["digits", "cpu", "meta", "hpu", "cpu:7"])


def _written(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _digits(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_written(one)}" for name, one in value.items()) + "}"
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else json.dumps(value)


def _digits(value: Any) -> str:
    """Return a value as text; Python writes no integer of more than 4,300 digits."""
    return "9" * 5000 if isinstance(value, int) and value > 10**1000 else str(value)


def _words(value: Any) -> list[str]:
    """Return a value as words of a command line."""
    values = value if isinstance(value, list) else [value]
    return [f"{one:.0f}" if isinstance(one, float) and abs(one) > 1e299 else _digits(one) for one in values]


def _run(command: list[str], *, is_wrong: bool) -> str:
    """Run a command, and return the fault of how it ended."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            status = main(command)
        except SystemExit as error:
            return f"left with {error.code}: {said.getvalue()[:500]}"
    if status == 2:
        line = said.getvalue().splitlines()[-1] if said.getvalue() else ""
        return "" if _SENTENCE.fullmatch(line.removeprefix("refdiff: ")) else f"no sentence: {said.getvalue()[-500:]}"
    return "was accepted" if is_wrong else ""


def configs(draw: random.Random, count: int, folder: Path) -> Iterator[Case]:
    """Yield cases of one wrong, or perhaps wrong, setting in a table or on the command line."""
    np.save(folder / "points.npy", np.random.default_rng(0).uniform(-1.0, 1.0, (24, 2)))
    options = arguments.options_of(Config)
    for i in range(count):
        name, is_wrong = draw.choice(list(options)), draw.random() < 0.6
        value = draw.choice(_wrong(options[name]) if is_wrong else _perhaps(options[name]))
        out, rest = folder / f"config-{i}", [] if name == "data" else ["--data", str(folder / "points.npy")]
        tiny = [word for pair in zip(TINY[::2], TINY[1::2], strict=True) if pair[0] != f"--{name}" for word in pair]
        if draw.random() < 0.5 or not isinstance(value, str | int | float | list):
            (folder / "a.toml").write_text(f"{name.replace('-', '_')} = {_written(value)}\n", "utf-8")
            given = ["--config", str(folder / "a.toml")]
        else:
            given, is_wrong = [f"--{name}", *_words(value)], is_wrong and not isinstance(value, list | bool | int)
        command = ["train", "--out", str(out), *rest, *tiny, *given]
        yield judged(f"{name} = {_shown(value)}", partial(_run, command, is_wrong=is_wrong))


def _shown(value: Any) -> str:
    return f"{value:#x}"[:80] if isinstance(value, int) else repr(value)[:80]


def _array(draw: random.Random) -> Any:
    """Return an array of a random type, shape, order and content."""
    rng = np.random.default_rng(draw.getrandbits(32))
    shape = tuple(draw.choice([0, 1, 2, 3, 4, 8, 9]) for _ in range(draw.randint(0, 5)))
    values = np.asarray(rng.uniform(-1.0, 1.0, shape)) * draw.choice([1.0, 1.0, 0.0, 300.0, 1e308])
    with np.errstate(all="ignore"):
        made = np.asarray(values).astype(
            draw.choice([">f8", "<f4", "f2", "i8", "u1", "?", "c8", "U3", "M8[s]", "f8", "O"])
        )
    if made.size and made.dtype.kind == "f" and draw.random() < 0.3:
        made.flat[draw.randrange(made.size)] = draw.choice([np.nan, np.inf, -np.inf])
    return np.asfortranarray(made) if draw.random() < 0.3 else made


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Return bytes that are cut, flipped, overwritten, repeated or extended."""
    at, span = draw.randrange(len(content)), draw.randint(1, 64)
    match draw.randrange(5):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        case 2:
            return content[:at] + draw.randbytes(span) + content[at + span :]
        case 3:
            return content[:at] + b"\0" * span + content[at:]
        case _:
            return content + draw.randbytes(span)


def _source(draw: random.Random, folder: Path, i: int) -> Path:
    """Write a random data source, and return its path."""
    buffer, kind = io.BytesIO(), draw.choice(["npy", "npz", "idx", "gz", "folder", "text"])
    path = folder / f"source-{i}.{kind}"
    with contextlib.suppress(ValueError):  # NumPy does not write every array
        np.save(buffer, _array(draw), allow_pickle=True)
    content = buffer.getvalue() or b"x"
    if kind == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            for name in draw.sample(["images.npy", "x.npy", "images", "labels.npy", "a.txt"], draw.randint(0, 3)):
                archive.writestr(name, content if draw.random() < 0.7 else b"text")
        content = path.read_bytes()
    elif kind in ("idx", "gz"):
        sides = [draw.choice([0, 1, 4, 8, 2**31]) for _ in range(draw.randint(0, 4))]
        content = b"\0\0\x08" + bytes([len(sides)]) + struct.pack(f">{len(sides)}I", *sides) + draw.randbytes(256)
    elif kind == "text":
        content = draw.randbytes(draw.randint(1, 200))
    elif kind == "folder":
        path.mkdir()
        for j in range(draw.randint(0, 3)):
            picture, side = io.BytesIO(), draw.choice([1, 2, 8])
            mode = draw.choice(["L", "RGB", "RGBA", "1", "I", "F", "P", "CMYK", "I;16"])
            Image.new(mode, (side, 8)).save(
                picture, draw.choice(["TIFF"] if mode in ("F", "I", "CMYK") else ["PNG", "TIFF"])
            )
            (path / f"{j}.{draw.choice(['png', 'tif', 'txt', 'jpg'])}").write_bytes(
                damaged(draw, picture.getvalue()) if draw.random() < 0.4 else picture.getvalue()
            )
        return path
    path.write_bytes(damaged(draw, content) if draw.random() < 0.5 else content)
    return path


def data(draw: random.Random, count: int, folder: Path) -> Iterator[Case]:
    """Yield cases of data sources of any kind, half of them damaged."""
    for i in range(count):
        path, how = (
            _source(draw, folder, i),
            PreprocessConfig(size=draw.choice([None, None, 4]), pad=draw.choice([0, 0, 1])),
        )
        yield judged(path.name, partial(_examples, path, how))


def _examples(path: Path, how: PreprocessConfig) -> str:
    examples = load(str(path), how)
    training, held_out = split(examples, None, 0)
    taken = torch.cat([part.take(slice(None)) for part in (training, held_out)])
    is_right = bool(taken.isfinite().all()) and float(taken.abs().max()) <= 1.0 and len(taken) >= 2
    return "" if is_right else f"accepted {len(taken)} examples of shape {examples.event}"


def files(draw: random.Random, count: int, folder: Path) -> Iterator[Case]:
    """Yield cases of damaged checkpoints and weights; those that load must hold the values that were written."""
    np.save(folder / "points.npy", np.random.default_rng(0).uniform(-1.0, 1.0, (24, 2)))
    run = folder / "run"
    if _run(["train", "--out", str(run), "--data", str(folder / "points.npy"), *TINY], is_wrong=False):
        raise AssertionError("expected the least run to end")
    saved = checkpoint.listed(run)[0]
    state = checkpoint.load(saved)[1]
    samples = Trained(run).samples(2, seed=0, sampler="ddim", steps=2)
    for i in range(count):
        source = draw.choice([saved, run / "ema.safetensors"])
        content = source.read_bytes()
        broken = damaged(draw, content)
        path = folder / f"{i}{source.suffix}"
        path.write_bytes(broken)
        check = partial(_checkpoint, path, state) if source == saved else partial(_weights, path, samples)
        yield judged(source.suffix, check)
        path.unlink()


def _checkpoint(path: Path, state: Any) -> str:
    return "" if _same(checkpoint.load(path)[1], state) else "loaded other values"


def _weights(path: Path, samples: torch.Tensor) -> str:
    return "" if torch.equal(Trained(path).samples(2, seed=0, sampler="ddim", steps=2), samples) else "other samples"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    return bool(one == other)


def cases(seed: int, *, n_configs: int, n_data: int, n_files: int) -> Iterator[tuple[str, Case]]:
    """Yield all cases of a seed, each with the name of its kind."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    for kind, make, count in (("configs", configs, n_configs), ("data", data, n_data), ("files", files, n_files)):
        with tempfile.TemporaryDirectory() as folder:
            for case in make(draw, count, Path(folder)):
                yield kind, case


def _command() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seed", 0), ("configs", 300), ("data", 150), ("files", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    how, faults = parser.parse_args(), dict[str, list[Case]]()
    for kind, case in cases(how.seed, n_configs=how.configs, n_data=how.data, n_files=how.files):
        found = faults.setdefault(kind, [])
        if case.fault:
            found.append(case)
            print(f"{kind}: {case.name}: {case.fault}")
    for kind, found in faults.items():
        print(f"{kind}: {getattr(how, kind)} cases, {len(found)} faults")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    raise SystemExit(_command())
