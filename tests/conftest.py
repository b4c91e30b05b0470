"""Runtime types on the core, and how Hypothesis draws. Fixtures that switch the types off, for what refdiff itself refuses."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import jaxtyping
import pytest
from hypothesis import settings

CORE = ("schedule", "derived", "tensors", "numerics", "marginal", "parameterization", "chain")

settings.register_profile("refdiff", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "refdiff"))

# Before anything imports the core; the modules of `conformance` are checked by mypy alone, they are called too often.
jaxtyping.install_import_hook([f"refdiff.{name}" for name in CORE], "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Let two warnings pass that torch gives about itself: dynamo makes a Function object, forward mode scripts a graph."""
    for text in (".*Function'> should not be instantiated", "`torch.jit.script` is deprecated"):
        config.addinivalue_line("filterwarnings", f"ignore:{text}:DeprecationWarning")


@pytest.fixture
def unhooked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Switch the hook off: a user has none, so what refuses a bad shape there is refdiff's own check.

    torch.compile traces into the wrappers of an autograd Function even so, and fails: those are taken away.
    """
    from refdiff import numerics

    for name, member in tuple(vars(numerics._Sloped).items()):
        if isinstance(member, staticmethod):
            monkeypatch.setattr(numerics._Sloped, name, staticmethod(inspect.unwrap(member.__func__)))
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
