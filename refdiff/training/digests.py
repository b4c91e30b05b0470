"""Files that carry a SHA-256 digest of their own content, so that any change of a bit is seen (TRN-11).

A digest protects from accidents, such as a disk that returns other bits, and not from people, who can compute it too.

| file | where the digest is |
|---|---|
| checkpoint | the first line: format, space, digest of all that follows it |
| weights | in the metadata, which is part of what it covers: it is that of the file with 64 zeros in its own place |
"""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from typing import Any, BinaryIO, Final

LENGTH: Final = 64
"""Number of hexadecimal digits of a digest."""
UNKNOWN: Final = "0" * LENGTH
"""Stands in weights in place of the digest while it is computed."""


def first_line(kind: str, content: bytes | memoryview) -> bytes:
    """Return the first line of a checkpoint with this content after it."""
    return f"{kind} {sha256(content).hexdigest()}\n".encode("ascii")


def read_sealed(kind: str, file: BinaryIO) -> bytes:
    """Return the content after the first line. Raises ValueError if the line is not that of this content."""
    first = file.read(len(kind) + LENGTH + 2)
    content = file.read()
    if first != first_line(kind, content):
        raise ValueError("its digest is not that of its content: the file is damaged or was changed")
    return content


def stamp(content: bytes) -> bytes:
    """Return a safetensors file whose metadata has the digest in place of `UNKNOWN`."""
    end = _end_of_header(content)
    return content[:end].replace(UNKNOWN.encode(), sha256(content).hexdigest().encode(), 1) + content[end:]


def read_metadata(content: bytes, key: str) -> dict[str, Any]:
    """Return the JSON object that a safetensors file has as metadata of this key. Raises ValueError for none."""
    header = json.loads(content[8 : _end_of_header(content)])
    found = header.get("__metadata__") if isinstance(header, dict) else None
    text = found.get(key) if isinstance(found, dict) else None
    about = json.loads(text) if isinstance(text, str) else None
    if not isinstance(about, dict):
        raise ValueError(f"no metadata named {key}")
    return about


def check_stamp(content: bytes, digest: object) -> None:
    """Raise ValueError unless the digest, as read from the metadata, is that of this safetensors file."""
    end = _end_of_header(content)
    if not isinstance(digest, str) or len(digest) != LENGTH or content[:end].count(digest.encode()) != 1:
        raise ValueError("no digest of its content")
    hashed = sha256(content[:end].replace(digest.encode(), UNKNOWN.encode()))
    hashed.update(memoryview(content)[end:])
    if hashed.hexdigest() != digest:
        raise ValueError("its digest is not that of its content: the file is damaged or was changed")


def _end_of_header(content: bytes) -> int:
    """Return the position of the first tensor: 8 bytes give the length of the header that follows them."""
    if len(content) < 8:
        raise ValueError("no header")
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        raise ValueError("a header longer than the file")
    return 8 + int(length)
