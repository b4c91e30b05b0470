"""Runtime types on the core, how Hypothesis draws, and a way to take the types off again."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import jaxtyping
import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch or NumPy is imported, here and in the programs that the tests start: else each uses all cores.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

NAMES = (
    *("schedule", "derived", "tensors", "numerics", "marginal", "parameterization", "chain", "positions", "times"),
    *("ema", "sde", "weighting", "loss", "variational", "steps", "samplers", "sampling", "nn.embedding", "nn.unet"),
)
CORE = [f"refdiff.{name}" for name in NAMES]

settings.register_profile("refdiff", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "refdiff"))

# Before anything imports the core.
jaxtyping.install_import_hook(CORE, "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what torch warns of itself: dynamo makes a Function object, forward mode and inductor script."""
    for text in (".*Function'> should not be instantiated", "`torch.jit.script(_method)?` is deprecated"):
        config.addinivalue_line("filterwarnings", f"ignore:{text}:DeprecationWarning")


@pytest.fixture
def unhooked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the hook off: a user has none, so what refuses a bad shape there is refdiff's own check.

    The switch alone is enough for that. torch.compile cannot trace what wraps a method or an inner function, even so.
    """
    for module in map(import_module, CORE):
        classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        for owner in (module, *classes):
            for name, member in tuple(vars(owner).items()):
                if (bare := _bare(member)) is not member:
                    monkeypatch.setattr(owner, name, bare)
    monkeypatch.setattr(jaxtyping, "jaxtyped", _left_alone)
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _bare(member: Any) -> Any:
    if isinstance(member, staticmethod):
        return staticmethod(inspect.unwrap(member.__func__))
    if isinstance(member, property):
        return property(inspect.unwrap(member.fget)) if member.fget else member
    return inspect.unwrap(member) if inspect.isfunction(member) else member


def _left_alone(*, typechecker: object) -> Callable[[object], object]:
    return lambda function: function
