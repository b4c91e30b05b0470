"""What refdiff raises: one root, and one sentence that names clause, need and value."""

from __future__ import annotations

from typing import final


class RefdiffError(Exception):
    """The root of every exception that refdiff raises on purpose."""


@final
class DomainError(RefdiffError, ValueError):
    """An input lies outside the domain of a formula: its value, shape or dtype."""

    def __init__(self, clause: str, need: str, got: object) -> None:
        """Say what was expected, what came instead, and which clause asks for it."""
        super().__init__(f"expected {need}, got {got} ({clause})")


@final
class ConfigError(RefdiffError, ValueError):
    """Something that a person wrote (a claim, a file, an option) does not hold together."""
