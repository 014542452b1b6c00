"""One process a run folder: a lock that the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpcnn.errors import ConfigError

__all__ = ["run_lock"]


@contextmanager
def run_lock(folder: Path) -> Iterator[str | None]:
    """Holds `folder`/.lock while open; gives None, or why the file system has no locks.

    Raises ConfigError where another process holds it, or where the folder cannot be written to.
    """
    path = folder / ".lock"
    descriptor, reason = _locked_file(path)
    try:
        yield reason
    finally:
        if os.name == "posix":  # while it is held, so that nobody can be waiting for this very file
            _remove(path)
        os.close(descriptor)
        if os.name != "posix":  # Windows removes no open file
            _remove(path)


def _remove(path: Path) -> None:
    # Gone with its folder, or taken by the next process: either way it is no longer ours to remove.
    with contextlib.suppress(OSError):
        path.unlink()


def _locked_file(path: Path) -> tuple[int, str | None]:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot write to the run folder {path.parent}: {error.strerror or error}") from error
        try:
            reason = _lock(descriptor)
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigError(
                f"another process is training in {path.parent}; wait for its end, or train elsewhere (--out)"
            ) from None
        except FileNotFoundError:
            same = False
        if same:
            return descriptor, reason
        os.close(descriptor)  # its last holder removed it between our opening and locking it


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> str | None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        return None

else:
    import fcntl

    def _lock(descriptor: int) -> str | None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # some network file systems
            return error.strerror or str(error)
        return None
