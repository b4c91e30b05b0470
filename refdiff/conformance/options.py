"""The options of the pytest plugin, each with a type that refuses what would mean nothing."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import pytest

from refdiff.errors import ConfigError

if TYPE_CHECKING:
    from refdiff.conformance.remote import Launch

DEFAULT_TARGET = "refdiff.conformance.reference:target"


@final
class _Once(argparse.Action):
    """Store a value, and refuse a second one: of two targets the first would never be judged."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002  # argparse prescribes the signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002  # the same
    ) -> None:
        # Replaced, never changed: pytest parses several times, each time into a shallow copy.
        given: frozenset[str] = getattr(namespace, "refdiff_given", frozenset())
        if self.dest in given:
            raise argparse.ArgumentError(self, "expected the option once, got it twice")
        namespace.refdiff_given = given | {self.dest}
        setattr(namespace, self.dest, values)


def _text(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError(f"expected some text, got {value!r}")
    return value


def _ids(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {value!r}")
    return found


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, and at most a day, got {value!r}")
    return seconds


def _seed(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {value!r}")
    return int(value)


def _size(value: str) -> int:
    from refdiff.conformance.remote import size

    try:
        return size(value)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add(parser: pytest.Parser) -> None:
    """Add the options, all prefixed: a session of somebody else's has options of its own."""
    group = parser.getgroup("refdiff", "refdiff: conformance of diffusion code")

    def option(name: str, **keywords: Any) -> None:
        group.addoption(f"--refdiff-{name}", action=_Once, **keywords)

    option(
        "target",
        metavar="MODULE:FACTORY",
        type=_text,
        help="what to judge: a function that returns a target (env REFDIFF_TARGET; default: refdiff itself)",
    )
    option("chapter", metavar="MAR,PAR", type=_ids, default=(), help="judge these chapters only; the verdict says so")
    option(
        "require",
        metavar="IDS",
        type=_ids,
        default=(),
        help="clauses or chapters (MAR,LOS) that fail unless they are judged, and wholly",
    )
    option("known-failures", metavar="FILE", type=_text, help="TOML file of clauses known to fail, each with a reason")
    option(
        "write-known-failures",
        metavar="FILE",
        type=_text,
        help="write the failures of this run to a new file of known failures, by clause and process",
    )
    option("report", metavar="DIR", type=_text, default="validation-report", help="report directory")
    option("seed", metavar="N", type=_seed, default=0, help="random seed (default 0)")
    option("timeout", metavar="S", type=_seconds, default=20.0, help="timeout per call of the target, in seconds")
    option(
        "target-exec", metavar="COMMAND", type=_text, help="judge a program that speaks the protocol (spec/protocol.md)"
    )
    option(
        "target-python",
        metavar="PATH",
        type=_text,
        help="the interpreter in whose environment --refdiff-target runs (default: this one)",
    )
    option("memory", metavar="SIZE", type=_size, help="most memory of the target's process, such as 8GiB")
    group.addoption(
        "--refdiff-in-process", action="store_true", help="run the target in pytest's own process, for a debugger"
    )
    group.addoption("--refdiff-full", action="store_true", help="exhaustive float32 sweep: minutes instead of seconds")
    group.addoption("--refdiff-strict", action="store_true", help="fail the run on warnings, too")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Options of a run, as given by the user."""

    origin: str
    """The target as package.module:factory."""
    named: bool
    """Whether a target was named on the command line: then the run is a judgement whatever is collected."""
    from_environment: bool
    chapters: tuple[str, ...]
    required: tuple[str, ...]
    seed: int
    full: bool
    strict: bool
    seconds: float
    command: str | None
    """A program that is the target, instead of a function."""
    python: str | None
    """The interpreter in whose environment the target runs."""
    memory: int | None
    """Most memory of the target's process, in bytes."""
    in_process: bool
    """Whether the target runs in pytest's own process."""
    first_known: str | None = None
    """A new file of known failures, to be written."""

    @property
    def is_default(self) -> bool:
        """Whether refdiff judges itself."""
        return self.origin == DEFAULT_TARGET

    def launch(self) -> Launch | None:
        """Return how to start the target in a process of its own, or None for pytest's. Raises UsageError."""
        from refdiff.conformance.remote import Launch

        if self.in_process or not hasattr(os, "killpg"):
            return None
        launch = Launch(command=self.command, python=self.python, memory=self.memory)
        try:
            launch.argv(DEFAULT_TARGET, None)
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        return launch

    def refuse(self) -> None:
        """Raise UsageError for a target, chapter or clause that is none. Reads the specification."""
        from refdiff.conformance.clauses import clauses

        where = "REFDIFF_TARGET" if self.from_environment else "--refdiff-target"
        own = [name for name in ("command", "python", "memory") if getattr(self, name) is not None]
        if own and self.launch() is None:
            raise pytest.UsageError(
                "expected a target in a process of its own with --refdiff-target-exec, --refdiff-target-python or "
                "--refdiff-memory, got one in pytest's own"
            )
        if self.command is None and not all(self.origin.partition(":")):
            raise pytest.UsageError(f"expected {where} to be package.module:factory, got {self.origin!r}")
        prefixes = {name.partition("-")[0] for name in clauses()}
        for chapter in self.chapters:
            if chapter not in prefixes:
                raise pytest.UsageError(
                    f"expected --refdiff-chapter to name chapters of {', '.join(sorted(prefixes))}, got {chapter!r}"
                )
        for name in self.required:
            if name not in prefixes and name not in clauses():
                raise pytest.UsageError(f"expected --refdiff-require to name clauses or chapters, got {name!r}")


def chosen(config: pytest.Config) -> Choice:
    """Return what the options and the environment say."""
    target: str | None = config.getoption("refdiff_target")
    from_environment = target is None and "REFDIFF_TARGET" in os.environ
    # An empty variable is kept, and refused: a pipeline whose variable is unset must not judge refdiff instead.
    origin = os.environ["REFDIFF_TARGET"] if from_environment else (target or DEFAULT_TARGET)
    command: str | None = config.getoption("refdiff_target_exec")
    if command is not None and (target is not None or config.getoption("refdiff_target_python") is not None):
        raise pytest.UsageError("expected one target, got --refdiff-target-exec and another option that names one")
    return Choice(
        origin=origin if command is None else f"$ {command}",
        named=target is not None or command is not None,
        from_environment=from_environment,
        chapters=config.getoption("refdiff_chapter"),
        required=config.getoption("refdiff_require"),
        seed=config.getoption("refdiff_seed"),
        full=config.getoption("refdiff_full"),
        strict=config.getoption("refdiff_strict"),
        seconds=config.getoption("refdiff_timeout"),
        command=command,
        python=config.getoption("refdiff_target_python"),
        memory=config.getoption("refdiff_memory"),
        in_process=config.getoption("refdiff_in_process"),
        first_known=config.getoption("refdiff_write_known_failures"),
    )
