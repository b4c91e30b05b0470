"""Messages between the suite and a target in a process of its own (spec/protocol.md).

A message is one line, a JSON object in UTF-8. Nothing that arrives is trusted: what is no message raises Malformed.
"""

from __future__ import annotations

import json
import sys
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite, prod
from typing import Any, TypeAlias, final

import numpy as np

from refdiff.conformance.averaging import DecayRule, Equal, Power, Ratio
from refdiff.conformance.calls import Stranger, described
from refdiff.conformance.interface import (
    METHODS,
    Chain,
    Claim,
    Cosine,
    Draws,
    Grid,
    Linear,
    MinSNR,
    NoProcess,
    Own,
    Process,
    Sampler,
)
from refdiff.conformance.step import Step
from refdiff.errors import ConfigError, RefdiffError

VERSION = 1
"""Of the protocol."""
LONGEST = 2**28
"""Most bytes in one line."""
NAMES = tuple(
    dict.fromkeys([method for methods in METHODS.values() for method in methods] + ["density", "decays", "denoiser"])
)
"""Every method that an object of a target may have."""
Message: TypeAlias = dict[str, Any]

_DTYPES = {
    **{f"{kind}{bits}": np.dtype(f"<{kind[0]}{bits // 8}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"complex{bits}": np.dtype(f"<c{bits // 8}") for bits in (64, 128)},
    "bool": np.dtype(np.bool_),
}
_NATIVE = {name: dtype.newbyteorder("=") for name, dtype in _DTYPES.items()}
_NAMES = {dtype: name for name, dtype in _NATIVE.items()}
_STRICT: dict[str, Any] = {"strict_mode": True} if sys.version_info >= (3, 11) else {}
"""A host may be an older Python than the suite's, which reads what is not trusted."""
_LITTLE = sys.byteorder == "little"
_KINDS: dict[str, type[Process]] = {kind.__name__: kind for kind in (Linear, Cosine, Chain, Own, NoProcess)}
_RULES: dict[str, type[DecayRule]] = {kind.__name__: kind for kind in (Ratio, Power, Equal)}
"""Of the decays of an average."""
_ARRAY = {"dtype", "shape", "data"}
_WORDS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@final
@dataclass(frozen=True, slots=True)
class Handle:
    """An object of the other process, by its number there, and the methods that it has."""

    number: int
    methods: tuple[str, ...] = ("denoiser",)


@final
class Malformed(RefdiffError):
    """The bytes received are not a message of the protocol."""


def pack(message: Message) -> bytes:
    """Return a message as a line."""
    return _ENCODER.encode(message).encode("ascii") + b"\n"


def unpack(line: bytes) -> Message:
    """Return the message that a line is, or raise Malformed."""
    try:
        message = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        raise Malformed("no JSON") from None
    if not isinstance(message, dict):
        raise Malformed("no JSON object")
    return message


def encode(value: object, lend: Callable[[Any], int] | None = None) -> Any:
    """Return a value as JSON has it. lend: gives a handle to a function; without it a function is a stranger."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, np.ndarray):
        return _encoded_array(value)
    if type(value) is float:
        return value if isfinite(value) else {"number": str(value)}
    if isinstance(value, MinSNR):
        return {"kind": "MinSNR", "gamma": value.gamma}
    if isinstance(value, tuple):
        return [encode(item, lend) for item in value]
    if isinstance(value, Step):
        return {"step": asdict(value)}
    if type(value) is dict:
        return {"fields": {str(name): encode(item, lend) for name, item in value.items()}}
    if lend is not None and callable(value):
        value = Handle(lend(value))
    if isinstance(value, Handle):
        return {"handle": value.number, "methods": list(value.methods)}
    return {"type": described(value)}


def decode(value: Any) -> Any:
    """Return the value that JSON stands for, or raise Malformed."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        raise Malformed("no value of the protocol")
    names, get = value.keys(), value.get
    if names == _ARRAY and isinstance(get("shape"), list) and isinstance(get("data"), str):
        return _decoded_array(str(get("dtype")), get("shape", []), get("data", ""))
    if names == {"fields"} and isinstance(items := get("fields"), dict):
        return {name: decode(item) for name, item in items.items()}
    if names == {"number"} and get("number") in tuple(_WORDS):
        return _WORDS[get("number", "")]
    if names == {"kind", "gamma"} and get("kind") == "MinSNR":
        return _made_value(MinSNR, {"gamma": get("gamma")})
    if names == {"step"} and isinstance(given := get("step"), dict):
        return _made_value(Step, given)
    if names == {"type"} and isinstance(kind := get("type"), str):
        return Stranger(kind)
    if names == {"handle", "methods"} and type(get("handle")) is int and isinstance(get("methods"), list):
        return Handle(get("handle", 0), tuple(name for name in NAMES if name in get("methods", [])))
    raise Malformed("no value of the protocol")


def as_array(value: object) -> object:
    """Return the input of a denoiser as an array, if NumPy can make one of it (a tensor, a list)."""
    array = np.asarray(value)
    return value if array.dtype.hasobject else array


def encode_process(process: Process) -> Message:
    """Return a process, tagged by its kind."""
    return _tagged(process)


def _tagged(value: Process | DecayRule) -> Message:
    """Return the fields of a process or a rule, with its kind."""
    return {"kind": type(value).__name__, **asdict(value)}


def decode_process(message: Any) -> Process:
    """Return the process, or raise Malformed."""
    process: Process = _untagged(_KINDS, message, "process")
    return process


def _untagged(kinds: Mapping[str, Callable[..., Any]], message: Any, what: str) -> Any:
    """Return what a kind and its fields stand for, or raise Malformed, ConfigError."""
    given = dict(message) if isinstance(message, Mapping) else {}
    kind = kinds.get(str(given.pop("kind", "")))
    if kind is None:
        raise Malformed(f"a {what} has a kind of {', '.join(kinds)}")
    return _made(kind, given)


def encode_claim(claim: Claim) -> Message:
    """Return a claim; its refusals stay where the library is."""
    given = {field.name: getattr(claim, field.name) for field in fields(claim) if field.name != "refusals"}
    return {
        **given,
        "processes": [p.__name__ if isinstance(p, type) else encode_process(p) for p in claim.processes],
        "capabilities": sorted(claim.capabilities),
        "weights": [w.__name__ if isinstance(w, type) else encode(w) for w in claim.weights],
        "warm_up": claim.warm_up if claim.warm_up is None or isinstance(claim.warm_up, str) else _tagged(claim.warm_up),
        "draws": asdict(claim.draws),
        "grid": asdict(claim.grid),
        "samplers": [asdict(sampler) for sampler in claim.samplers],
        "steps": [asdict(step) for step in claim.steps],
    }


def decode_claim(message: Any) -> Claim:
    """Return the claim, or raise Malformed, ConfigError."""
    given = dict(message) if isinstance(message, Mapping) else {}
    for name in ("name", "version", "dtype"):
        if not isinstance(given.get(name), str):
            raise Malformed(f"a claim has a string {name!r}")
    if "refusals" in given or not all(isinstance(given.get(name), list) for name in ("processes", "capabilities")):
        raise Malformed("a claim has lists 'processes' and 'capabilities', and no 'refusals'")
    processes = [_KINDS.get(p) if isinstance(p, str) else decode_process(p) for p in given["processes"]]
    if Own in processes or None in processes:
        raise Malformed("a claim names whole types among Linear, Cosine and Chain only")
    if "weights" in given:
        given["weights"] = _weights(given["weights"])
    if isinstance(rule := given.get("warm_up"), dict):
        given["warm_up"] = _untagged(_RULES, rule, "warm_up")
    if "draws" in given:
        given["draws"] = _made(Draws, given["draws"])
    if "grid" in given:
        given["grid"] = _made(Grid, given["grid"])
    for name, kind in (("samplers", Sampler), ("steps", Step)):
        if name in given:
            if not isinstance(given[name], list):
                raise Malformed(f"a claim's {name!r} are a list")
            given[name] = [_made(kind, one) for one in given[name]]
    claim: Claim = _made(Claim, {**given, "processes": processes})
    return claim


def _weights(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise Malformed("a claim has a list 'weights'")
    return [MinSNR if weight == "MinSNR" else decode(weight) for weight in given]


def _made_value(kind: Callable[..., Any], given: Any) -> Any:
    """Return kind(**given), or raise Malformed."""
    try:
        return _made(kind, given)
    except ConfigError as error:
        raise Malformed(str(error)) from None


def _made(kind: Callable[..., Any], given: Any) -> Any:
    """Return kind(**given), whatever `given` is, or raise Malformed, ConfigError."""
    try:
        return kind(**given)
    except ConfigError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Malformed(f"no {getattr(kind, '__name__', 'value')}: {error}") from None


def _encoded_array(array: Any) -> Message:
    name = _NAMES.get(array.dtype)
    if name is None:
        return {"type": f"numpy.ndarray of dtype {array.dtype}"}
    if array.nbytes > LONGEST // 2:
        return {"type": f"numpy.ndarray of shape {array.shape}"}
    raw = array.tobytes() if _LITTLE else array.astype(_DTYPES[name]).tobytes()
    data = b2a_base64(raw, newline=False).decode("ascii")
    return {"dtype": name, "shape": list(array.shape), "data": data}


def _decoded_array(name: str, shape: list[Any], data: str) -> Any:
    dtype = _DTYPES.get(name)
    if dtype is None or len(shape) > 32 or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
        raise Malformed(f"an array has a dtype of {', '.join(_DTYPES)}, and a shape")
    try:
        raw = a2b_base64(data, **_STRICT) if data else b""
    except (Base64Error, ValueError):
        raise Malformed("an array's data is base64") from None
    if len(raw) != prod(shape) * dtype.itemsize:
        raise Malformed(f"an array of dtype {name} and shape {shape} has {len(raw)} bytes of data")
    array = np.frombuffer(raw, dtype).reshape(shape)
    return array if _LITTLE else array.astype(_NATIVE[name])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
