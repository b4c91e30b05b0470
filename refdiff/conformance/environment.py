"""Where a run took place."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def environment(**more: Any) -> dict[str, Any]:
    """Return where a run took place: Python, platform, and the versions of what computes."""
    packages = {}
    for name in ("numpy", "scipy", "torch", "hypothesis", "python-flint", "sympy", "torchsde"):
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": packages, **more}
