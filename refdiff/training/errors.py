"""What ends a run, each in one sentence."""

from __future__ import annotations

from typing import final

from refdiff.errors import RefdiffError


@final
class CheckpointError(RefdiffError):
    """A file is no checkpoint, or could not be written. What was there before still is."""


@final
class DataError(RefdiffError, ValueError):
    """The data cannot be read, or is not scaled to [-1, 1]."""


@final
class TrainingError(RefdiffError):
    """The run went wrong, and going on would make it worse."""
