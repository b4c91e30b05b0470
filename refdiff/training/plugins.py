"""The user's own network and feature extractor: import, and a check by one call before the first step (TRN-8)."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training.build import Factory
from refdiff.training.labels import conditioned

T = TypeVar("T")


def denoiser(name: str) -> Factory:
    """Return the user's factory of a network. Raises ConfigError if it cannot be imported; calling it checks it too."""
    make = _imported(name, "--denoiser")

    @wraps(make)  # `build.own_network` asks for its arguments
    def build(*shape: Any, **more: Any) -> nn.Module:
        return _module(_called(name, lambda: make(*shape, **more)), name)

    return build


def features(name: str) -> nn.Module:
    """Return the user's feature extractor. Raises ConfigError if it cannot be built, or has no `num_features`."""
    made = _module(_called(name, _imported(name, "--features")), name)
    count = getattr(made, "num_features", None)
    if type(count) is not int or count < 1:
        raise ConfigError(f"expected {name} to return a module with an integer num_features, got {count!r} (TRN-13)")
    return made


def check_denoiser(model: nn.Module, name: str, x: Tensor, t: Tensor, label: Tensor | None = None) -> None:
    """Raise ConfigError unless the network maps (batch, *event) to finite values of that shape, in one call.

    Args:
        model: the network, whose mode and gradients are unchanged.
        name: what to call it in the message.
        x: examples, (batch, *event).
        t: times, (batch,).
        label: labels, of which the first (batch,) are used, if there are any.
    """
    before = [(part, part.training) for part in model.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng():
            model.eval()
            made = _called(name, lambda: conditioned(model, None if label is None else label[: len(x)])(x, t))
    finally:
        for part, training in before:
            part.training = training
    _check_tensor(made, name, tuple(x.shape))


def check_features(extractor: nn.Module, name: str, x: Tensor) -> None:
    """Raise ConfigError unless the extractor maps (batch, *event) to finite values (batch, num_features)."""
    with torch.no_grad():
        made = _called(name, lambda: extractor(x))
    count = getattr(extractor, "num_features", None)
    _check_tensor(made, name, (len(x), count if isinstance(count, int) else prod(made.shape[1:])))


def _imported(name: str, option: str) -> Callable[..., Any]:
    """Import and return package.module:function. Raises ConfigError if it cannot be imported or called."""
    module, _, function = name.partition(":")
    need = f"package.module:function for {option}"
    if not module or not function or module.startswith("."):
        raise ConfigError(f"expected {need}, got {name!r} (TRN-8)")
    found = _called(name, lambda: getattr(import_module(module), function), need)
    if not callable(found):
        raise ConfigError(f"expected {need}, got {name}, which is not callable (TRN-8)")
    made: Callable[..., Any] = found
    return made


def _called(name: str, call: Callable[[], T], need: str = "") -> T:
    """Return the result of the user's code. Raises ConfigError in place of whatever it raises, SystemExit included."""
    try:
        return call()
    except RefdiffError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        said = " ".join(str(error).split())
        kind = type(error).__name__
        reason = f"{kind}: {said}" if said else kind
        raise ConfigError(f"expected {need or f'{name} to run'}, got {name}: {reason}{_place(error)} (TRN-8)") from None


def _place(error: BaseException) -> str:
    """Return file and line of the last frame of the user's own code, if the error comes from there."""
    ours = Path(__file__).parents[1]
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not Path(frame.filename).is_relative_to(ours)
    ]
    own = [frame for frame in theirs if "site-packages" not in frame.filename and "importlib" not in frame.filename]
    return f" (at {own[-1].filename}:{own[-1].lineno})" if own else ""


def _module(made: object, name: str) -> nn.Module:
    if not isinstance(made, nn.Module) or isinstance(made, type):
        got = f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__
        raise ConfigError(f"expected {name} to return a torch.nn.Module, got {got} (TRN-8)")
    return made


def _check_tensor(made: object, name: str, shape: tuple[int, ...]) -> None:
    """Raise ConfigError unless a result is a finite tensor of floats of this shape."""
    if not isinstance(made, Tensor):
        raise ConfigError(f"expected a tensor of shape {shape} from {name}, got {type(made).__name__} (TRN-8)")
    if tuple(made.shape) != shape:
        raise ConfigError(f"expected a tensor of shape {shape} from {name}, got {tuple(made.shape)} (TRN-8)")
    if not made.is_floating_point():
        raise ConfigError(f"expected floats from {name}, got {made.dtype} (TRN-8)")
    if not bool(made.isfinite().all()):
        raise ConfigError(f"expected finite values from {name}, got NaN or infinity (TRN-8)")
