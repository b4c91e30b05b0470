"""Helpers for adapters: what the author of a target would write again for every library.

Names are loaded on first use: those of `target`, `shapes` and `notation` need NumPy alone, those of `draws`, `clipping`
and `network` need torch, those of `jax_calls` JAX, and the converters of `tensors` the framework of what they convert.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refdiff.conformance.adapters.clipping import unclipped as unclipped
    from refdiff.conformance.adapters.draws import replay as replay
    from refdiff.conformance.adapters.jax_calls import asking_jax as asking_jax
    from refdiff.conformance.adapters.jax_calls import replay_jax as replay_jax
    from refdiff.conformance.adapters.network import Network as Network
    from refdiff.conformance.adapters.network import averages as averages
    from refdiff.conformance.adapters.shapes import from_images as from_images
    from refdiff.conformance.adapters.shapes import one_by_one as one_by_one
    from refdiff.conformance.adapters.shapes import per_example as per_example
    from refdiff.conformance.adapters.shapes import to_images as to_images
    from refdiff.conformance.adapters.target import Library as Library
    from refdiff.conformance.adapters.tensors import from_jax as from_jax
    from refdiff.conformance.adapters.tensors import from_torch as from_torch
    from refdiff.conformance.adapters.tensors import to_jax as to_jax
    from refdiff.conformance.adapters.tensors import to_torch as to_torch
    from refdiff.conformance.notation import from_edm_sigma as from_edm_sigma
    from refdiff.conformance.notation import time_reversed as time_reversed
    from refdiff.conformance.notation import time_scaled as time_scaled
    from refdiff.conformance.notation import to_edm_sigma as to_edm_sigma
    from refdiff.conformance.notation import zero_based as zero_based

_HOMES = {
    "Library": "adapters.target",
    "Network": "adapters.network",
    "asking_jax": "adapters.jax_calls",
    "averages": "adapters.network",
    "from_edm_sigma": "notation",
    "from_images": "adapters.shapes",
    "from_jax": "adapters.tensors",
    "from_torch": "adapters.tensors",
    "one_by_one": "adapters.shapes",
    "per_example": "adapters.shapes",
    "replay": "adapters.draws",
    "replay_jax": "adapters.jax_calls",
    "time_reversed": "notation",
    "time_scaled": "notation",
    "to_edm_sigma": "notation",
    "to_images": "adapters.shapes",
    "to_jax": "adapters.tensors",
    "to_torch": "adapters.tensors",
    "unclipped": "adapters.clipping",
    "zero_based": "notation",
}
"""Where each public name lives, below refdiff.conformance; a test holds this to the imports above."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'refdiff.conformance.adapters' has no attribute {name!r}")
    return getattr(import_module(f"refdiff.conformance.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
