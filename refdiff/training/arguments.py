"""Check of command-line options before they are parsed, so that each mistake is one sentence that names the option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from refdiff.errors import ConfigError
from refdiff.samplers import Rule
from refdiff.training.parsing import either, setting_types, shortened

Options = Mapping[str, Any]
"""Type of each option, by its name without the dashes in front."""

_WORDS = {int: "an integer", float: "a number"}
_NONE = "None"


def options_of(table: type, prefix: str = "") -> dict[str, Any]:
    """Return the options of a table of settings and of the tables in it, as `optimizer.lr-schedule`."""
    found: dict[str, Any] = {}
    for name, kind in setting_types(table).items():
        option = f"{prefix}{name.replace('_', '-')}"
        is_table = isinstance(kind, type) and is_dataclass(kind)
        found |= options_of(kind, f"{option}.") if is_table else {option: kind}
    return found


def check(arguments: Sequence[str], options: Options, required: Sequence[str]) -> None:
    """Raise ConfigError for an unknown or missing option, a missing or superfluous value, and a value of another type.

    Args:
        arguments: what follows the name of the command.
        options: all options of the command.
        required: the options that it needs.
    """
    given = list(_grouped(arguments))
    for token, values in given:
        if not token:
            raise ConfigError(f"expected an option such as --{required[0]}, got {values[0]!r} (TRN-8)")
        _check_option(token, values, options)
    names = {_name(token, options) for token, _ in given}
    for name in required:
        if name not in names:
            raise ConfigError(f"expected the option --{name}, got none (TRN-8)")


def _grouped(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each option with its values; values before the first option belong to the option ''."""
    token, values = "", list[str]()
    for argument in arguments:
        if not argument.startswith("--"):
            values.append(argument)
            continue
        if token or values:
            yield token, values
        token, equals, value = argument.partition("=")
        values = [value] if equals else []
    if token or values:
        yield token, values


def _name(token: str, options: Options) -> str:
    """Return the name of an option; `--ema.no-warmup` is the negation of `ema.warmup`."""
    name = token.removeprefix("--").replace("_", "-")
    table, dot, last = name.rpartition(".")
    positive = f"{table}{dot}{last.removeprefix('no-')}"
    return positive if name not in options and options.get(positive) is bool else name


def _check_option(token: str, values: list[str], options: Options) -> None:
    name = _name(token, options)
    if name not in options:
        raise ConfigError(f"expected an option of this command{_similar(name, options)}, got {token} (TRN-8)")
    kind = options[name]
    origin: Any = get_origin(kind)
    if origin in (Union, UnionType):
        kind = get_args(kind)[0]
        if values == [_NONE]:
            return
    kinds = _kinds(kind, len(values))
    if len(values) != len(kinds):
        need = {0: "no value", 1: "one value"}.get(len(kinds), f"{len(kinds)} values")
        # The shell splits at blanks what was meant as one value, so the values are shown.
        raise ConfigError(f"expected {need} for {token}, got {_list(values)} (TRN-8)")
    for one, value in zip(kinds, values, strict=True):
        _check_value(token, one, value)


def _kinds(kind: Any, count: int) -> tuple[Any, ...]:
    """Return the type of each value."""
    if kind is bool:
        return ()
    if get_origin(kind) is tuple:
        first, *_, last = get_args(kind)
        return (first,) * count if last is Ellipsis else get_args(kind)
    return (kind,)


def _check_value(token: str, kind: Any, value: str) -> None:
    if kind is Rule or get_origin(kind) is Literal:
        choices = get_args(kind)
        _need(value in choices, f"{either(choices)} for {token}", value)
    elif kind in _WORDS:
        _need(_is_number(value, kind), f"{_WORDS[kind]} for {token}", value)
    elif kind is Path:
        _need(value != "" and "\0" not in value, f"a path for {token}", value)


def _is_number(value: str, kind: Any) -> bool:
    try:
        kind(value)
    except ValueError:  # also for an integer of more than 4,300 digits
        return False
    return True


def _similar(name: str, options: Options) -> str:
    """Return a hint at options with a similar name, or with the same name in a table."""
    ends = [option for option in options if option.rpartition(".")[2] == name]
    near = list(dict.fromkeys([*ends, *get_close_matches(name, options, 2, 0.75)]))[:3]
    return f" such as --{', --'.join(near)}" if near else " (see --help)"


def _list(values: Sequence[str]) -> str:
    return ", ".join(map(shortened, values)) or "none"


def _need(holds: bool, need: str, got: str) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {shortened(got)} (TRN-8)")
