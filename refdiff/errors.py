"""Exceptions of refdiff: one base class, and messages of the form "expected X, got Y (CLAUSE)"."""

from __future__ import annotations

from typing import final


class RefdiffError(Exception):
    """Base class of every exception that refdiff raises on purpose."""


@final
class DomainError(RefdiffError, ValueError):
    """An input is outside the domain of a formula in value, shape or dtype."""

    def __init__(self, clause: str, need: str, got: object) -> None:
        """Build the message "expected {need}, got {got} ({clause})"."""
        super().__init__(f"expected {need}, got {got} ({clause})")


@final
class ConfigError(RefdiffError, ValueError):
    """A claim, file or option written by the user is invalid or inconsistent."""
