"""A copy of the repository that may be mutated, and the warm process that runs tests on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from .plan import Plan

ROOT = Path(__file__).parents[3]
WARM = (
    *("numpy", "scipy.integrate", "scipy.special", "scipy.stats", "scipy.optimize", "sympy", "flint", "torch"),
    *("torch.optim.swa_utils", "torch.func", "torch._dynamo", "torchsde", "hypothesis.strategies", "beartype"),
)
"""What tests import from elsewhere."""
EXAMPLES = 100
"""Of each test of Hypothesis that does not say itself how many."""
CONTENT = ("refdiff", "validation", "tests", "spec", ".ci", "README.md", "CONTRIBUTING.md", "pyproject.toml")


@final
class Checkout:
    """A copy of the repository with its own server; to be closed after use."""

    def __init__(self, folder: Path, warm: Sequence[str] = WARM) -> None:
        """Copy the repository to a folder, and start a server on it that imports some modules beforehand."""
        self.folder = folder
        for name in CONTENT:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
                )
            elif (ROOT / name).exists():
                shutil.copy2(ROOT / name, folder / name)
        env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", str(Path(__file__).with_name("server.py")), str(folder), *warm]
        self._server = subprocess.Popen(  # noqa: S603 - the file beside this one
            command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._said()

    def failure(self, plan: Plan, seconds: float, examples: int = EXAMPLES) -> tuple[str | None, float]:
        """Return the first test or check of a plan that fails on the copy as it is, or None, and the CPU time."""
        request = {**asdict(plan), "seconds": seconds, "examples": examples}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._said())
        return answer["killed_by"], answer["seconds"]

    @contextmanager
    def changed(self, module: str, source: str) -> Iterator[None]:
        """Give a module another source for a while."""
        path = self.folder / module
        original = path.read_text("utf-8")
        path.write_text(source, "utf-8")
        try:
            yield
        finally:
            path.write_text(original, "utf-8")

    def close(self) -> None:
        """End the server; the folder stays."""
        self._server.communicate()

    def _said(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("expected an answer of the server of the mutated copy, got the end of its output")
        return line
