"""OSErrors where a run writes: its n-th call of the system in the run's folder fails."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

from xpcnn import atomic

__all__ = ["FullDisk"]

_BY_PATH = ("open", "replace", "link", "unlink", "mkdir", "chmod")


class FullDisk:
    """Counts what is asked of the system about files in `folder`; call number `fail` (from 1) gets ENOSPC.

    for_good: every later write, fsync and new file as well, as on a disk that stays full. The calls are real ones
    but for those; a write is what a file's buffer hands to the system.
    """

    def __init__(self, folder: Path, fail: int = 0, for_good: bool = False) -> None:
        self.folder, self.fail, self.for_good = str(folder), fail, for_good
        self.calls: list[str] = []
        self._ours: set[int] = set()  # open files and folders in the folder

    def patch(self, patch: pytest.MonkeyPatch) -> FullDisk:
        """Comes between the program and the system until `patch` is undone."""
        for name in _BY_PATH:
            patch.setattr(os, name, self._by_path(name, getattr(os, name)))
        fsync, disk = os.fsync, self

        def checked_fsync(descriptor: int) -> None:
            if descriptor in self._ours:
                self._call("fsync")
            fsync(descriptor)

        class Raw(io.FileIO):
            def write(self, data: Any) -> int | None:
                disk._call("write")
                return super().write(data)

        def checked_open(descriptor: int, mode: str, **text: Any) -> Any:
            buffer = io.BufferedWriter(Raw(descriptor, "w"))
            return io.TextIOWrapper(buffer, **text) if text else buffer

        patch.setattr(os, "fsync", checked_fsync)
        patch.setattr(atomic, "open", checked_open, raising=False)
        return self

    def _by_path(self, name: str, own: Any) -> Any:
        def checked(path: Any, *more: Any, **options: Any) -> Any:
            ours = isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(self.folder)
            if ours:
                self._call(name)
            result = own(path, *more, **options)
            if name == "open":
                (self._ours.add if ours else self._ours.discard)(result)
            return result

        return checked

    def _call(self, name: str) -> None:
        self.calls.append(name)
        number = len(self.calls)
        full = self.for_good and name in ("write", "fsync", "open") and 0 < self.fail < number
        if number == self.fail or full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
