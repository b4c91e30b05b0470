"""Exceptions of the trainer, each with a message of one line."""

from __future__ import annotations

from typing import final

from refdiff.errors import RefdiffError


@final
class CheckpointError(RefdiffError):
    """A file is not a valid checkpoint, or cannot be written; earlier files are unchanged."""


@final
class DataError(RefdiffError, ValueError):
    """The data cannot be read, or is not scaled to [-1, 1]."""


@final
class PeerError(RefdiffError):
    """Another process of the run failed before this one; the message quotes its own, which the user has."""


@final
class TrainingError(RefdiffError):
    """The run cannot continue, for example because a gradient is not finite."""
