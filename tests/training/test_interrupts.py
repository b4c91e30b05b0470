"""Ctrl-C at any moment: one sentence, exit status 130, and what was saved; a pipe that closes is no error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refdiff import __main__ as command_line
from refdiff.training import checkpoint, checks, data, run

SMALL = [
    *("--steps", "2", "--batch.size", "4", "--mlp.width", "4", "--monitor.on-findings", "warn"),
    *("--monitor.eval-samples", "8", "--monitor.sampling-steps", "2", "--monitor.save-every", "1"),
]
MOMENTS: dict[str, tuple[Any, str, bool]] = {
    "settings are parsed": (command_line, "from_mapping", False),
    "data is read": (data, "_read", False),
    "data is split": (run, "split", False),
    "the checks run": (checks, "before", False),
    "the first message is written": (run, "_describe", False),
    "the run finishes": (run._Run, "_finish", True),
}
"""By what happens: the owner and the name of the function that Ctrl-C interrupts, and whether anything was saved."""


def interrupt(*_: object, **__: object) -> None:
    """Interrupt this process, as Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def heard() -> Iterator[None]:
    """Let Ctrl-C interrupt: a shell lets programs that it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    """TRN-11: whenever it comes, with what was saved; exit status 130."""
    np.save(tmp_path / "points.npy", np.random.default_rng(0).uniform(-1.0, 1.0, (24, 2)))
    owner, name, is_saved = MOMENTS[moment]
    monkeypatch.setattr(owner, name, interrupt)
    out = tmp_path / "run"
    command = ["train", "--out", str(out), "--data", str(tmp_path / "points.npy"), *SMALL]
    assert command_line.main(command) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    newest = f"the newest checkpoint is {out}/checkpoints/step-000000002.pt; continue with --resume"
    assert line == f"refdiff: interrupted; {newest if is_saved else 'nothing was saved'}"
    assert bool(checkpoint.listed(out)) is is_saved


def test_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    """TRN-11: torch takes seconds to import; Ctrl-C ends the process with one sentence and no traceback."""
    (tmp_path / "tyro.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")  # the first heavy import
    ends = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
    begin = f"{ends} runpy.run_module('refdiff', run_name='__main__')"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    done = subprocess.run([sys.executable, "-c", begin], env=paths, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130
    assert done.stderr == "refdiff: interrupted before the command began; nothing was saved\n"


def test_a_closed_pipe_ends_quietly() -> None:
    """TRN-8: `python -m refdiff train --help | head` shows no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "refdiff", "train", "--help"],
            stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
