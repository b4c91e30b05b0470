"""Exceptions of refdiff: one base class, and messages of the form "expected X, got Y (CLAUSE)"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import final

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, or change colours or text direction, and surrogates, which cannot be printed."""


def plain(text: str) -> str:
    """Return text on one line, its control characters written out, as messages may quote files and foreign code."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class RefdiffError(Exception):
    """Base class of every exception that refdiff raises on purpose.

    Example:
        >>> import refdiff
        >>> issubclass(refdiff.DomainError, refdiff.RefdiffError)
        True
    """


@final
class DomainError(RefdiffError, ValueError):
    """An input is outside the domain of a formula in value, shape or dtype.

    Example:
        >>> import refdiff
        >>> refdiff.DDIM(eta=2.0)
        Traceback (most recent call last):
            ...
        refdiff.errors.DomainError: expected eta in [0, 1], got 2.0 (SMP-3)
    """

    def __init__(self, clause: str, need: str, got: object) -> None:
        """Build the message "expected {need}, got {got} ({clause})"."""
        super().__init__(f"expected {need}, got {got} ({clause})")

    def __reduce__(self) -> tuple[Callable[[str], DomainError], tuple[str]]:
        """Return how pickle rebuilds this error in another process: from its message."""
        return _domain_error, (str(self),)


def _domain_error(message: str) -> DomainError:
    error = DomainError.__new__(DomainError)
    error.args = (message,)
    return error


@final
class ConfigError(RefdiffError, ValueError):
    """A claim, file or option written by the user is invalid or inconsistent.

    Example:
        >>> import refdiff
        >>> issubclass(refdiff.ConfigError, ValueError)
        True
    """
