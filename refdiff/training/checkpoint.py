"""Checkpoints and exported weights: written atomically, and loaded without executing code (TRN-11).

Both carry a digest of their content and the identity of the data. A checkpoint is one line with the digest, and what
`torch.save` writes; weights are a safetensors file.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, final

import safetensors.torch
import torch
from torch import Tensor, nn

from refdiff.errors import RefdiffError
from refdiff.training import digests, files
from refdiff.training.config import Config
from refdiff.training.errors import CheckpointError
from refdiff.training.identity import Identity
from refdiff.training.parsing import from_mapping, to_mapping

FORMAT = "refdiff-checkpoint-3"
FORMER = frozenset({"refdiff-checkpoint-1", "refdiff-checkpoint-2"})
"""Formats of earlier versions: settings with other names, and files without digest and identity of the data."""
FOLDER = "checkpoints"
LARGEST = 2**28
"""Largest size of one example that a file may declare: 2^28 numbers, 1 GiB in float32."""
_NAME = re.compile(r"step-(\d{9})\.pt")
_FORMAT = re.compile(rb"refdiff-checkpoint-\d")


@final
class Checkpoint(NamedTuple):
    """Content of a checkpoint."""

    config: Config
    state: dict[str, Any]
    data: Identity


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """An exported network."""

    tensors: dict[str, Tensor]
    config: Config
    event: tuple[int, ...]
    """The shape of one example."""
    step: int
    data: Identity | None
    """Identity of the data, if the weights were trained on data that has one."""
    names: tuple[str, ...] = ()
    """Names of the classes, if it was trained with labels."""


def save(out: Path, config: Config, state: Mapping[str, Any], data: Identity, *, keep: int) -> Path:
    """Write a checkpoint and delete older ones, keeping the `keep` newest, this one included.

    Checkpoints of later steps are kept: the run resumed from an earlier one because they do not load or do not fit.
    """
    buffer = io.BytesIO()
    settings = json.dumps(to_mapping(config))
    torch.save({"format": FORMAT, "config": settings, "data": data.to_json(), "state": dict(state)}, buffer)
    path = out / FOLDER / f"step-{state['step']:09d}.pt"
    content = buffer.getbuffer()
    files.write(path, digests.first_line(FORMAT, content), content)
    for old in [earlier for earlier in listed(out) if earlier.name <= path.name][keep:]:
        with suppress(OSError):
            old.unlink()
    return path


def listed(out: Path) -> list[Path]:
    """Return the checkpoints of a run, the newest first."""
    folder = out / FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if files.is_folder(folder) else []
    return sorted(found, reverse=True)


def load(path: Path) -> Checkpoint:
    """Load a checkpoint, on the CPU, without executing code. Raises CheckpointError."""
    try:
        with files.opened(path) as file:
            content = _unpickled(_content(path, file))
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign, truncated or hostile file can raise anything
        raise CheckpointError(f"expected a checkpoint of refdiff, got {path}: {_reason(error)} (TRN-11)") from None
    if not isinstance(content, dict) or not isinstance(state := content.get("state"), dict):
        raise CheckpointError(f"expected a state in a checkpoint, got none in {path} (TRN-11)")
    return Checkpoint(_config(path, content.get("config")), state, _identity(path, content.get("data")))


def _content(path: Path, file: io.BufferedReader) -> bytes:
    """Return the content of a checkpoint after its first line, which states its format and its digest."""
    start = file.peek()
    if not start.startswith(f"{FORMAT} ".encode()):
        found = _FORMAT.search(start)
        got = _format(found[0].decode() if found else None)
        raise CheckpointError(f"expected a checkpoint of format {FORMAT}, got {got} in {path} (TRN-11)")
    return digests.read_sealed(FORMAT, file)


def _unpickled(content: bytes) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns before it raises
        found: object = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return found


def newest(out: Path, said: Callable[[str], None], accept: Callable[[Checkpoint], None] = lambda _: None) -> Checkpoint:
    """Return the newest checkpoint that loads and is accepted; report why newer ones are not.

    Args:
        out: output folder of the run.
        said: receives the messages.
        accept: raises CheckpointError for a checkpoint that is to be skipped; other errors end the search.

    Raises:
        CheckpointError: there is none.
    """
    paths = listed(out)
    for path in paths:
        try:
            found = load(path)
            _check_step(path, found.state)
            accept(found)
        except CheckpointError as error:
            said(f"skipped {path.name}: {error}")
        else:
            return found
    raise CheckpointError(
        f"expected a checkpoint to resume from, got {len(paths)} in {out / FOLDER}, none that loads and fits (TRN-11)"
    )


def _check_step(path: Path, state: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless the file has the name of its step."""
    step, named = state.get("step"), int(path.stem.removeprefix("step-"))
    if type(step) is not int or step != named:
        raise CheckpointError(f"expected the state of step {named} in {path}, got one of step {step!r:.40} (TRN-11)")


def export(
    path: Path,
    model: nn.Module,
    config: Config,
    event: tuple[int, ...],
    step: int,
    data: Identity | None = None,
    names: tuple[str, ...] = (),
) -> None:
    """Write weights as safetensors, with digest, config, shape of an example, step, data and classes as metadata."""
    # Cloned, since safetensors refuses weights that share memory, as tied ones do.
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    about = {
        "digest": digests.UNKNOWN,
        "format": FORMAT,
        "config": json.dumps(to_mapping(config)),
        "event": json.dumps(event),
        "step": str(step),
        "data": data and data.to_json(),
    }
    about |= {"names": json.dumps(names)} if names else {}
    # A single key: safetensors writes several in hash order, so that equal runs would differ in bytes.
    files.write(path, digests.stamp(safetensors.torch.save(tensors, {"refdiff": json.dumps(about)})))


def weights(path: Path) -> Weights:
    """Load exported weights from a file, or from `ema.safetensors` in a folder. Raises CheckpointError.

    Weights that are not finite are refused.
    """
    file = path / "ema.safetensors" if files.is_folder(path) else path
    try:
        with files.opened(file) as opened:
            content = opened.read()
        about = digests.read_metadata(content, "refdiff")
        if about.get("format") != FORMAT:
            raise ValueError(f"{_format(about.get('format'))}, in place of {FORMAT}")
        digests.check_stamp(content, about.get("digest"))
        tensors = safetensors.torch.load(content)
        _check_finite(tensors)
        config, data, names = _config(file, about.get("config")), about.get("data"), _names(about.get("names", "[]"))
        known = None if data is None else _identity(file, data)
        return Weights(tensors, config, _event(about["event"]), int(about["step"]), known, names)
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign, truncated or hostile file can raise anything
        raise CheckpointError(f"expected weights exported by refdiff, got {file}: {_reason(error)} (TRN-11)") from None


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name!r:.80} has values that are not finite")


def _format(found: object) -> str:
    return f"format {found} of an earlier version" if isinstance(found, str) and found in FORMER else "another format"


def _event(text: str) -> tuple[int, ...]:
    sides = json.loads(text)
    if not isinstance(sides, list) or any(type(side) is not int or side < 1 for side in sides) or prod(sides) > LARGEST:
        raise ValueError(f"not a shape of an example: {text}")
    return tuple(sides)


def _names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list) or any(type(name) is not str for name in names):
        raise ValueError(f"not the names of classes: {text}")
    return tuple(names)


def _config(path: Path, text: object) -> Config:
    try:
        return from_mapping(json.loads(text if isinstance(text, str) else ""))
    except (ValueError, RefdiffError, RecursionError) as error:
        raise CheckpointError(f"expected a config beside the weights, got {path}: {_reason(error)} (TRN-11)") from None


def _identity(path: Path, text: object) -> Identity:
    try:
        return Identity.from_json(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"expected the identity of the data, got {path}: {_reason(error)} (TRN-11)") from None


def _reason(error: Exception) -> str:
    """Return the error's message in one line of at most 160 characters."""
    said = files.reason(error)
    return said if len(said) <= 160 else f"{said[:157]}..."
