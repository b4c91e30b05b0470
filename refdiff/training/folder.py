"""Output folder of a run: held by one run, and never taken from another (TRN-11)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from refdiff.errors import ConfigError, RefdiffError
from refdiff.training import checkpoint, files, lock
from refdiff.training.distributed import World

FILES = (
    "model.safetensors", "ema.safetensors", "best.safetensors", "metrics.jsonl", "run.html", "run.png", "samples.png",
)  # fmt: skip
"""Files that a run writes."""
FOLDERS = {checkpoint.FOLDER: re.compile(r"step-\d{9}\.pt"), "samples": re.compile(r"step-\d{9}\.png")}
"""Folders that a run makes, and the names of the files in them."""


@contextmanager
def held(out: Path, world: World, say: Callable[[str], None], *, resume: bool) -> Iterator[None]:
    """Create the folder and hold its lock, in the first process; end all processes if that is refused.

    Raises ConfigError if the folder cannot be written to, if another run holds it, or if it has links or, for a new
    run, files where a run writes. Other files do not matter.
    """
    with ExitStack() as stack:
        refusal: RefdiffError | None = None
        if world.first:
            try:
                _create(out)
                stack.enter_context(lock.locked(out, say))
                _prepare(out, resume=resume)
            except RefdiffError as error:
                refusal = error
        if world.any(refusal is not None):
            raise refusal or ConfigError(f"expected a folder for this run, got {out}, which rank 0 refused (TRN-11)")
        yield


def _create(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"expected a folder to write to, got {out}: {files.reason(error)} (TRN-11)") from None


def _prepare(out: Path, *, resume: bool) -> None:
    for name in (*FILES, *FOLDERS):
        if files.is_link(out / name):
            raise ConfigError(f"expected no link where a run writes, got {out / name} (TRN-11)")
    for name in FOLDERS:
        if files.is_present(out / name) and not files.is_folder(out / name):
            raise ConfigError(f"expected a folder or nothing, got a file {out / name} (TRN-11)")
        files.remove_temporary(out / name)
    files.remove_temporary(out)
    if not resume and (found := _first_written(out)):
        raise ConfigError(
            f"expected a new folder, or one without files of a run, got {out} with {found}: "
            "use --resume to continue that run, or another --out (TRN-11)"
        )


def _first_written(out: Path) -> str | None:
    """Return the first file that a run has written, relative to the folder."""
    for folder, pattern in FOLDERS.items():
        names = [path.name for path in (out / folder).iterdir()] if files.is_folder(out / folder) else []
        for name in sorted(names):
            if pattern.fullmatch(name):
                return f"{folder}/{name}"
    return next((name for name in FILES if files.is_present(out / name)), None)
