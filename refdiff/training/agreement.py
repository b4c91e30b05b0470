"""Agreement of the processes of a run, before its first step: version, settings, data and network (TRN-10)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import refdiff
from refdiff.errors import ConfigError
from refdiff.training.config import Config
from refdiff.training.data import Examples
from refdiff.training.distributed import World
from refdiff.training.identity import Identity
from refdiff.training.parsing import to_mapping


def described(
    config: Config, data: Examples, identity: Identity, few: Tensor, model: nn.Module, step: int
) -> dict[str, Any]:
    """Return what must be the same in all processes, by name; few: the first examples as the network gets them."""
    weights = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    return {
        "version of refdiff": refdiff.__version__,
        "version of torch": torch.__version__,
        **dict(_flat(to_mapping(config))),
        "number of training examples": len(data),
        "shape of examples": list(data.event),
        "first examples": _digest(few.cpu().double().numpy().tobytes()),
        "digest of the data": _digest(identity.to_json().encode()),
        "labels": _digest(repr(data.labels and (data.labels.names, data.labels.index.tolist())).encode()),
        "network": _digest("\n".join(weights).encode()),
        "step of the checkpoint": step,
    }


def agree(world: World, values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a value differs between processes."""
    compare(world.texts(json.dumps(values)))


def compare(texts: Sequence[str]) -> None:
    """Raise ConfigError if a value of another rank differs from that of rank 0; texts: JSON objects, by rank."""
    first, *others = map(json.loads, texts)
    for rank, other in enumerate(others, start=1):
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if names:
            name = names[0]
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise ConfigError(
                f"expected the same in all processes, got another {name} on rank {rank} than on rank 0: "
                f"{other.get(name)} instead of {first.get(name)}{more} (TRN-10)"
            )


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names of settings, and their values."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
