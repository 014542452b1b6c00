"""Files that are either whole or not there: written beside, flushed to the disk, renamed into place."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, Literal, overload

from xpcnn.errors import ConfigError

__all__ = ["atomic_write", "leftovers", "sync_folder"]

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


@overload
def atomic_write(path: str | os.PathLike[str], mode: Literal["wb"] = "wb") -> AbstractContextManager[IO[bytes]]: ...
@overload
def atomic_write(path: str | os.PathLike[str], mode: Literal["w"]) -> AbstractContextManager[IO[str]]: ...
@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """A file open for writing that takes the place of `path` when the block ends, and vanishes if it fails.

    mode: "wb" (bytes) or "w" (text in UTF-8, newlines as written). A reader of `path` sees the old file or the new
    one whole, also after a power cut. Symbolic links are followed; an existing file's permissions are kept.

    Raises ConfigError, naming the path, where the folder is missing, the file or folder is read-only, the path is
    a folder or a device, or the disk is full. Whatever the block itself raises goes through.
    """
    if mode not in ("wb", "w"):
        raise ConfigError(f'atomic_write was given mode {mode!r}; use "wb" or "w"')
    try:
        target = os.path.realpath(path)
    except (OSError, ValueError) as error:  # a NUL byte in the name; on Windows also a name that cannot be
        raise ConfigError(f"cannot write {os.fspath(path)!r}: {error}") from error
    kept_mode = _existing_mode(target, path)
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile.mkstemp: it makes files that only their owner may read, whatever the umask says.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise ConfigError(_explain(path, target, error)) from error
    try:
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        try:
            with open(descriptor, mode, **text) as file:  # type: ignore[call-overload]
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (*_DISK_FULL, errno.EFBIG):
                raise ConfigError(_explain(path, target, error)) from error
            raise
        try:
            if kept_mode is not None:
                os.chmod(temporary, kept_mode)
            os.replace(temporary, target)
        except OSError as error:
            raise ConfigError(_explain(path, target, error)) from error
    except BaseException:
        # Gone already only where the rename had happened; nothing else may hide the error under way.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(target))


def _existing_mode(target: str, path: str | os.PathLike[str]) -> int | None:
    """The permission bits of the file to be replaced; None where there is none yet."""
    try:
        mode = os.stat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"cannot write {os.fspath(path)!r}: {error}") from error
    if stat.S_ISDIR(mode):
        raise ConfigError(f"cannot write {os.fspath(path)!r}: it is a folder; give a file's name inside it")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"cannot write {os.fspath(path)!r}: it is a device or pipe, not a file; give a file's name")
    if not os.access(target, os.W_OK):
        # os.replace would not ask: it needs only the folder's permission.
        raise ConfigError(f"cannot write {os.fspath(path)!r}: the file is read-only; make it writable or name another")
    return stat.S_IMODE(mode)


def _explain(path: str | os.PathLike[str], target: str, error: OSError) -> str:
    folder = os.path.dirname(target)
    if error.errno in _DISK_FULL:
        cause = "the disk is full; free some space or write elsewhere"
    elif error.errno == errno.EFBIG:
        cause = "the file would be longer than this process or disk may make one"
    elif not os.path.exists(folder):
        cause = f"the folder {folder!r} does not exist; make it first"
    elif not os.path.isdir(folder):
        cause = f"{folder!r} is a file, not a folder"
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        cause = f"the folder {folder!r} is read-only for you, or another program holds the file"
    else:
        cause = str(error)
    return f"cannot write {os.fspath(path)!r}: {cause}"


def leftovers(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The temporary files that killed processes have left in a folder: {file's name: name it was to have}."""
    names = os.listdir(folder)
    return {name: match[1] for name in names if (match := _TEMPORARY.fullmatch(name))}


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes renames in a folder survive a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder
    # Some network file systems refuse to sync a folder; the file itself is whole and in place by now.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
