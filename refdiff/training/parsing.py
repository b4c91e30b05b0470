"""Settings as plain values: parsing of mappings, TOML files and former names; comparison of two configs.

Parsing has two steps. First names and types are checked against the fields of `Config`; then the tables are built, and
check their values themselves. So every error is raised once, by name, with a message of one line.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from inspect import getsource
from itertools import pairwise, repeat
from pathlib import Path
from textwrap import dedent
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from refdiff.errors import ConfigError
from refdiff.samplers import Rule
from refdiff.sampling import checked_rule
from refdiff.training import files
from refdiff.training.config import Config

RENAMED = {
    "reading": "preprocess",
    "perceptron": "mlp",
    "machine": "runtime",
    "batch.passes": "batch.accumulation",
    "optimizer.rate": "optimizer.lr",
    "optimizer.warm_up": "optimizer.warmup",
    "optimizer.decay": "optimizer.lr_schedule",
    "optimizer.clip": "optimizer.max_grad_norm",
    "ema.warm_up": "ema.warmup",
    "monitor.log": "monitor.log_every",
    "monitor.samples": "monitor.picture_every",
    "monitor.shown": "monitor.picture_samples",
    "monitor.quality": "monitor.eval_every",
    "monitor.judged": "monitor.eval_samples",
    "monitor.save": "monitor.save_every",
    "monitor.findings": "monitor.on_findings",
    "monitor.rule": "monitor.sampler",
    "monitor.walk": "monitor.sampling_steps",
}
"""Former names of tables and settings, and their present names."""

LARGEST = 2**53
"""Largest absolute value of an integer: floats hold these exactly; what the memory can hold is checked later."""

_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def present_name(name: str) -> str | None:
    """Return the present name of a table or setting given by a former name such as `optimizer.rate`, else None."""
    table, _, setting = name.partition(".")
    if name in RENAMED:
        return RENAMED[name]
    return f"{RENAMED[table]}.{setting}" if table in RENAMED else None


def from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Return the config of a mapping from names to plain values, as in a TOML file.

    Raises ConfigError for unknown names, wrong types and invalid values; DomainError for invalid sizes of a network.
    """
    config: Config = _parse(Config, mapping, "")
    return config


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config or one of its tables as plain values, such that `from_mapping(to_mapping(config)) == config`."""
    return asdict(config)


def read(path: Path) -> Config:
    """Return the config of a TOML file. Raises ConfigError as `from_mapping`, and if the file is not TOML."""
    try:
        with files.opened(path) as file:
            mapping = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"expected a readable config file, got {path}: {files.reason(error)} (TRN-8)") from None
    except RecursionError:
        raise ConfigError(f"expected TOML, got {path}: nested too deep (TRN-8)") from None
    except ValueError as error:  # no TOML, no UTF-8, an integer of more than 4,300 digits, or NUL in the path
        raise ConfigError(f"expected TOML, got {path}: {error} (TRN-8)") from None
    return from_mapping(mapping)


def differences(one: Config, other: Config) -> list[str]:
    """Return the dotted names of the settings in which two configs differ."""
    return list(_differing(one, other, ""))


def _differing(one: Any, other: Any, prefix: str) -> Iterator[str]:
    for item in fields(one):
        name, ours, theirs = f"{prefix}{item.name}", getattr(one, item.name), getattr(other, item.name)
        if is_dataclass(ours):
            yield from _differing(ours, theirs, f"{name}.")
        elif ours != theirs:
            yield name


@cache
def setting_types(table: type) -> dict[str, Any]:
    """Return the names of a table's settings, and their types."""
    return get_type_hints(table)


@cache
def setting_docs(table: type) -> dict[str, str]:
    """Return the names of a table's settings, and their docstrings; a table has that of its class."""
    (definition,) = ast.parse(dedent(getsource(table))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {name: kind.__doc__ or "" if is_dataclass(kind) else "" for name, kind in setting_types(table).items()}
    for line, following in pairwise(definition.body):
        match line, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text
    return docs


def _parse(kind: Any, value: Any, name: str) -> Any:
    """Return a value of this type. Raises ConfigError for a value of another type; `name` is that of the setting."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _parse_table(kind, value, name)
    if kind is Rule:
        return checked_rule(value)
    if origin in (Union, UnionType):  # X | None
        return None if value is None else _parse(arguments[0], value, name)
    if origin is Literal:
        _need(type(value) is str and value in arguments, f"{either(arguments)} for {name}", value)
        return value
    if origin is tuple:
        return _parse_list(arguments, value, name)
    if kind is float and type(value) is int:
        _need(-LARGEST <= value <= LARGEST, f"a number within 2^53 for {name}", value)
        return float(value)
    # No conversion: bool("false") would be True.
    _need(type(value) is kind, f"{_WORDS.get(kind, kind)} for {name}", value)
    _need(kind is not int or -LARGEST <= value <= LARGEST, f"an integer within 2^53 for {name}", value)
    return value


def _parse_table(kind: Any, value: Any, name: str) -> Any:
    _need(isinstance(value, Mapping), f"a table of settings for {name}" if name else "a table of settings", value)
    types, parsed = setting_types(kind), {}
    for key, given in value.items():
        full = f"{name}.{key}" if name else str(key)
        if new := present_name(full):
            raise ConfigError(f"expected {new}, got its former name {full} (TRN-8)")
        if key not in types:
            within = f" in {name}" if name else ""
            raise ConfigError(f"expected a setting{within}, one of {', '.join(types)}, got {shortened(full)} (TRN-8)")
        parsed[key] = _parse(types[key], given, full)
    return kind(**parsed)


def _parse_list(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    _need(isinstance(value, list | tuple), f"a list for {name}", value)
    if kinds[-1] is Ellipsis:
        return tuple(map(_parse, repeat(kinds[0]), value, repeat(name)))
    _need(len(value) == len(kinds), f"{len(kinds)} values for {name}", value)
    return tuple(map(_parse, kinds, value, repeat(name)))


def either(choices: tuple[str, ...]) -> str:
    """Return choices as a phrase: adam, adamw or sgd."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _need(holds: bool, need: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"expected {need}, got {shortened(got)} (TRN-8)")


def shortened(value: object) -> str:
    """Return the representation of a value, cut at 80 characters."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of more than 4,300 digits"  # which Python does not print
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"
