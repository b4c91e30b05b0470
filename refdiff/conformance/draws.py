"""Examples that Hypothesis draws for a law: those of the seed, whatever else is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from unittest.mock import patch

PROVIDERS = "hypothesis.internal.conjecture.providers"


@contextmanager
def seeded() -> Iterator[None]:
    """Draw no constants of the code while this lasts, so that the seed alone decides what is drawn.

    From 6.131.1 on, Hypothesis mixes in numbers that it finds in the source of the modules loaded so far, and no
    setting turns that off: the same seed would give other examples, and sometimes another verdict, where another
    module was loaded before.
    """
    try:
        providers = import_module(PROVIDERS)
        none = providers.Constants()
    except (ModuleNotFoundError, AttributeError):  # an older release, which draws none
        yield
        return
    # The cache holds the constants of earlier draws.
    with patch.multiple(providers, create=True, CONSTANTS_CACHE={}, _get_local_constants=lambda: none):
        yield
