"""Checkpoints and exported weights: written atomically, and loaded without executing code (TRN-11)."""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from refdiff.errors import RefdiffError
from refdiff.training.config import Config
from refdiff.training.errors import CheckpointError
from refdiff.training.parsing import from_mapping, to_mapping

FORMAT = "refdiff-checkpoint-2"
FORMER = frozenset({"refdiff-checkpoint-1"})
"""Formats of earlier versions, whose settings have other names."""
FOLDER = "checkpoints"
LARGEST = 2**28
"""Largest size of one example that a file may declare: 2^28 numbers, 1 GiB in float32."""
_NAME = re.compile(r"step-(\d{9})\.pt")


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """An exported network."""

    tensors: dict[str, Tensor]
    config: Config
    event: tuple[int, ...]
    """The shape of one example."""
    step: int
    names: tuple[str, ...] = ()
    """Names of the classes, if it was trained with labels."""


def write(path: Path, content: bytes) -> None:
    """Write a file atomically: a crash or a full disk leaves the previous one. Raises CheckpointError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):  # the parent may not be a folder
            partial.unlink()
        raise CheckpointError(
            f"expected to write {path}, got: {error.strerror}; earlier files are unchanged (TRN-11)"
        ) from None


def _sync(folder: Path) -> None:
    """Flush a rename to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save(out: Path, config: Config, state: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint and delete older ones, keeping the `keep` newest, this one included.

    Checkpoints of later steps are kept: the run resumed from an earlier one because they do not load.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config": json.dumps(to_mapping(config)), "state": dict(state)}, buffer)
    path = out / FOLDER / f"step-{state['step']:09d}.pt"
    write(path, buffer.getvalue())
    for old in [earlier for earlier in listed(out) if earlier.name <= path.name][keep:]:
        with suppress(OSError):
            old.unlink()
    return path


def listed(out: Path) -> list[Path]:
    """Return the checkpoints of a run, the newest first."""
    folder = out / FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, reverse=True)


def load(path: Path) -> tuple[Config, dict[str, Any]]:
    """Load config and state, on the CPU, without executing code. Raises CheckpointError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns before it raises
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a foreign, truncated or hostile file can raise anything
        raise CheckpointError(f"expected a checkpoint of refdiff, got {path}: {_reason(error)} (TRN-11)") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"expected a checkpoint of format {FORMAT}, got {_format(found)} in {path} (TRN-11)")
    if not isinstance(state := content.get("state"), dict):
        raise CheckpointError(f"expected a state in a checkpoint, got none in {path} (TRN-11)")
    return _config(path, content.get("config")), state


def newest(out: Path, said: Callable[[str], None]) -> tuple[Config, dict[str, Any]]:
    """Return the newest checkpoint that loads; report why newer ones do not. Raises CheckpointError if none loads."""
    paths = listed(out)
    for path in paths:
        try:
            return load(path)
        except CheckpointError as error:
            said(str(error))
    raise CheckpointError(
        f"expected a checkpoint to resume from, got {len(paths)} in {out / FOLDER}, none that loads (TRN-11)"
    )


def export(
    path: Path, model: nn.Module, config: Config, event: tuple[int, ...], step: int, names: tuple[str, ...] = ()
) -> None:
    """Write weights as safetensors, with config, shape of an example, step and names of classes as metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    about = {"format": FORMAT, "config": json.dumps(to_mapping(config)), "event": json.dumps(event), "step": str(step)}
    about |= {"names": json.dumps(names)} if names else {}
    # A single key: safetensors writes several in hash order, so that equal runs would differ in bytes.
    write(path, safetensors.torch.save(tensors, {"refdiff": json.dumps(about)}))


def weights(path: Path) -> Weights:
    """Load exported weights from a file, or from `ema.safetensors` in a folder. Raises CheckpointError."""
    file = path / "ema.safetensors" if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            about = dict(json.loads((opened.metadata() or {}).get("refdiff", "{}")))
            tensors = dict(_tensors(opened))
        if about.get("format") != FORMAT:
            raise ValueError(f"{_format(about.get('format'))}, in place of {FORMAT}")
        config, names = _config(file, about.get("config")), _names(about.get("names", "[]"))
        return Weights(tensors, config, _event(about["event"]), int(about["step"]), names)
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign, truncated or hostile file can raise anything
        raise CheckpointError(f"expected weights exported by refdiff, got {file}: {_reason(error)} (TRN-11)") from None


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


def _tensors(opened: Any) -> Iterator[tuple[str, Tensor]]:
    for name in opened.keys():  # noqa: SIM118 - not a mapping
        yield name, opened.get_tensor(name)


def _config(path: Path, text: object) -> Config:
    try:
        return from_mapping(json.loads(text if isinstance(text, str) else ""))
    except (ValueError, RefdiffError, RecursionError) as error:
        raise CheckpointError(f"expected a config beside the weights, got {path}: {_reason(error)} (TRN-11)") from None


def _reason(error: Exception) -> str:
    """Return the error's message in one line of at most 160 characters."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 160 else f"{said[:157]}..."
