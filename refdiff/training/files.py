"""Files: written atomically, read only if they are regular, and never through a link (TRN-11).

A file gets its content under a temporary name, which is random and new, and is then renamed. So there is the whole
file or the previous one, and another process can neither guess nor prepare the name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ELOOP, ENXIO
from io import BufferedReader
from pathlib import Path
from secrets import token_hex

from refdiff.training.errors import CheckpointError

_TEMPORARY = re.compile(r"\.refdiff-[0-9a-f]{32}\.partial")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


def opened(path: Path) -> BufferedReader:
    """Open a regular file for reading; a link to one is followed.

    Raises OSError, whose `strerror` is the reason, for a FIFO, a device, a socket or a folder, without waiting for it,
    and for a name that no file can have.
    """
    try:
        _check_regular(path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the name
        raise OSError(EINVAL, str(error)) from None
    return os.fdopen(_regular(descriptor), "rb")


def write(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts atomically: a crash or a full disk leaves the previous one. Raises CheckpointError.

    A link in place of the file is refused: renaming would replace the link, where its owner expects the content behind
    it. Folders on the way to the file may be links.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _folder(path.parent) as folder:
            _check_no_link(path.name, folder)
            _replace(path.name, parts, folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"expected to write {path}, got: {reason(error)}; earlier files are unchanged (TRN-11)"
        ) from None


def append(path: Path, line: str) -> None:
    """Append a line to a file, which is created if there is none. Raises CheckpointError, for a link too."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(_regular(_open_new(path, flags)), "ab") as file:
            file.write(f"{line}\n".encode())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected to write {path}, got: {reason(error)} (TRN-11)") from None


def open_shared(path: Path) -> int:
    """Return a descriptor to read and write a file that several processes may open. Raises OSError, for a link too."""
    return _regular(_open_new(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes left under temporary names. No other process may be writing to the folder."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if is_temporary(entry.name):
                with suppress(OSError):
                    entry.unlink()


def is_temporary(name: str) -> bool:
    """Return whether a name is one that `write` uses until a file is whole."""
    return _TEMPORARY.fullmatch(name) is not None


def is_link(path: Path) -> bool:
    """Return whether there is a symbolic link of this name."""
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of this name; False for a name that no file can have."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_present(path: Path) -> bool:
    """Return whether there is anything of this name, a dangling link included."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def reason(error: Exception) -> str:
    """Return an error's message in one line, without the path."""
    if isinstance(error, OSError) and error.strerror:
        return _LINKED if error.errno == ELOOP else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


_LINKED = "a link in place of the file"


def _check_no_link(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(ELOOP, _LINKED)


def _replace(name: str, parts: Iterable[bytes | memoryview], folder: int) -> None:
    """Write under a temporary name in an open folder, flush, rename, and flush the folder."""
    temporary = f".refdiff-{token_hex(16)}.partial"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """Open a folder, so that what is done in it stays in it if its path comes to name another."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_new(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == ENXIO:
            raise OSError(EINVAL, "a FIFO or a socket, not a regular file") from None
        raise


def _regular(descriptor: int) -> int:
    """Return the descriptor of a regular file; close it and raise OSError for any other."""
    try:
        _check_regular(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(EINVAL, f"{kind}, not a regular file")
