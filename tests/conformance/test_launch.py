"""The options that start a target in a process of its own, in real pytest sessions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conformance.programs import plant
from tests.conformance.test_plugin import BAD, run


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--refdiff-target-exec=",), "expected some text, got ''"),
        (
            ("--refdiff-target-python=/no/python",),
            "expected --refdiff-target-python as a Python interpreter, got '/no/python'",
        ),
        (("--refdiff-memory=8",), "expected --refdiff-memory of at least 1MiB"),
        (("--refdiff-in-process", "--refdiff-memory=8GiB"), "got one in pytest's own"),
        (("--refdiff-target", f"{BAD}:right", "--refdiff-target-exec=cat"), "expected one target"),
    ],
)
def test_options_that_do_not_hold_together(tmp_path: Path, options: tuple[str, ...], cause: str) -> None:
    """A usage error, before anything runs."""
    done = run(tmp_path, *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert cause in done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the path")
def test_program(tmp_path: Path) -> None:
    """A program in another language is judged by its command line."""
    script = plant(tmp_path, "target.js", ("sigma: Math.sqrt(variance)", "sigma: variance"))
    done = run(tmp_path, "--refdiff-target-exec", f"node '{script}'", "--refdiff-chapter", "CON,MAR")
    assert done.returncode == 1
    assert "javascript: MAR-2 fail: sigma at" in done.stdout


@pytest.mark.parametrize("option", ["--refdiff-in-process", "--refdiff-memory=8GiB"])
def test_in_process_or_not(tmp_path: Path, option: str) -> None:
    """A target sees pytest only in pytest's own process; what it prints disturbs nobody."""
    (tmp_path / "mine.py").write_text(
        "import os, sys\n"
        f"from {BAD} import Bad\n"
        "def target():\n"
        "    os.write(1, b'printed\\n')\n"
        "    return Bad('with pytest' if 'pytest' in sys.modules else 'alone', lambda right, *a: right.perturb(*a))\n"
    )
    done = run(tmp_path, "--refdiff-target", "mine:target", option, "--refdiff-chapter", "CON,MAR")
    assert ("with pytest" in done.stdout) == (option == "--refdiff-in-process"), done.stdout
    assert ("alone" in done.stdout) == (option != "--refdiff-in-process")
