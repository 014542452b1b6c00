"""Fetching published files: mirrors in turn, resumable, checked, and never a half-written file in place."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import queue
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xpcnn.data.places import DataMissingError

__all__ = ["Progress", "RemoteFile", "download"]

Progress = Callable[[int, int | None], None]

_CHUNK = 1 << 16
_IDLE_AFTER = 60.0  # seconds without a byte written; a live download gives up on a mirror well before


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its mirrors, and what proves that what came is it.

    sha256: of the unpacked (gunzipped) bytes, so that mirrors that packed differently both pass.
    md5: of the file as published, used where its makers publish no more than that.
    max_bytes, max_unpacked: no server is read, and nothing unpacked, beyond these.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    md5: str | None = None
    max_bytes: int = 1 << 28
    max_unpacked: int = 1 << 28


class _Failed(Exception):
    """One mirror's attempt failed; `retry` says that starting afresh at the same mirror may help."""

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


def download(
    remote: RemoteFile, folder: str | os.PathLike[str], *, timeout: float = 10.0, progress: Progress | None = None
) -> Path:
    """Fetch a file into `folder` (made if need be) and return its path; mirrors are tried in order.

    timeout: seconds that a mirror may take to answer, and then to send each next piece.
    progress: called as progress(done_bytes, total_bytes), total_bytes None where the server does not say.
    What has come is kept as NAME.part, and the next call goes on from there (HTTP Range).

    Raises DataMissingError (a DataError), saying what each mirror did, where none gave the right file.
    """
    target = Path(folder) / remote.name
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_file(target) as part:
            for url in remote.urls:
                try:
                    _fetch(url, part, remote, timeout, progress)
                except _Failed as failure:
                    reasons.append(f"{urlsplit(url).netloc}: {failure}")
                    continue
                os.replace(part, target)
                return target
    except OSError as error:
        raise DataMissingError(f"cannot write {remote.name} into {target.parent}: {error}") from error
    raise DataMissingError(f"could not download {remote.name} ({'; '.join(reasons)})")


@contextmanager
def _part_file(target: Path) -> Iterator[Path]:
    """The .part file to go on with; a private one, not kept, while another process is busy with the shared one."""
    part = target.with_name(target.name + ".part")
    lock = target.with_name(target.name + ".lock")
    if _idle(lock) and _idle(part):
        lock.unlink(missing_ok=True)  # left by a process that was killed
    try:
        lock.touch(exist_ok=False)
    except FileExistsError:
        part = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.part")
        lock = part
    try:
        yield part
    finally:
        lock.unlink(missing_ok=True)


def _idle(path: Path) -> bool:
    return not path.exists() or time.time() - path.stat().st_mtime > _IDLE_AFTER


def _fetch(url: str, part: Path, remote: RemoteFile, timeout: float, progress: Progress | None) -> None:
    resumed = part.exists() and part.stat().st_size > 0
    try:
        _transfer(url, part, remote, timeout, progress)
        _verify(part, remote)
    except _Failed as failure:
        if not (failure.retry and resumed):
            raise
        # The kept beginning may be of another mirror's packing, or of an older attempt gone wrong.
        part.unlink(missing_ok=True)
        _transfer(url, part, remote, timeout, progress)
        _verify(part, remote)


def _transfer(url: str, part: Path, remote: RemoteFile, timeout: float, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    with contextlib.closing(_open(url, have, timeout)) as response:
        if have and response.status == 206:
            span = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]+|\*)", response.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != have:
                raise _Failed("resumed at the wrong place", retry=True)
        else:
            have = 0  # the server ignored the Range and sends everything
        length = response.headers.get("Content-Length")
        # Not isdigit: it lets digits through that int does not take.
        total = have + int(length) if length and re.fullmatch("[0-9]{1,18}", length) else None
        if total is not None and total > remote.max_bytes:
            raise _Failed(f"{total:,} bytes announced, at most {remote.max_bytes:,} expected")
        with part.open("ab" if have else "wb") as file:
            done = have
            while chunk := _read(response):
                done += len(chunk)
                if done > remote.max_bytes:
                    part.unlink()
                    raise _Failed(f"more than the {remote.max_bytes:,} bytes expected")
                file.write(chunk)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Failed(f"broke off after {done:,} of {total:,} bytes")


def _open(url: str, have: int, timeout: float) -> Any:
    """The response to a GET, `timeout` seconds being the most that names, connection and headers take together."""
    import http.client
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "xpcnn", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    answer: queue.Queue[Any] = queue.Queue()
    given_up = threading.Event()

    # urllib's time-out is per address and does not bound the name look-up; a thread bounds the whole.
    def ask() -> None:
        try:
            response: Any = urllib.request.urlopen(request, timeout=timeout)
        except BaseException as error:
            response = error
        answer.put(response)
        if given_up.is_set() and hasattr(response, "close"):
            response.close()

    threading.Thread(target=ask, name="xpcnn-download", daemon=True).start()
    try:
        response = answer.get(timeout=timeout)
    except queue.Empty:
        given_up.set()
        raise _Failed(f"no answer within {timeout:g} s") from None
    if isinstance(response, urllib.error.HTTPError):
        response.close()
        # 416: the .part is as long as the file or longer; only a fresh start can tell which.
        raise _Failed(f"HTTP {response.code} {response.reason}", retry=response.code == 416)
    if isinstance(getattr(response, "reason", response), TimeoutError):  # the socket's own clock was a bit faster
        raise _Failed(f"no answer within {timeout:g} s")
    if isinstance(response, urllib.error.URLError):
        raise _Failed(str(response.reason))
    if isinstance(response, (OSError, http.client.HTTPException, ValueError)):
        raise _Failed(f"{response or type(response).__name__}")
    if isinstance(response, BaseException):
        raise response
    return response


def _read(response: Any) -> bytes:
    import http.client

    try:
        return bytes(response.read1(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"broke off ({error or type(error).__name__})") from None


def _verify(part: Path, remote: RemoteFile) -> None:
    """Raise _Failed, removing the .part, unless it is the published file."""
    if remote.md5 is not None:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        _compare(part, "MD5", found, remote.md5)
    if remote.sha256 is not None:
        digest = hashlib.sha256()
        try:
            with gzip.open(part) as unpacked:
                done = 0
                while chunk := unpacked.read(_CHUNK):
                    done += len(chunk)
                    if done > remote.max_unpacked:
                        break
                    digest.update(chunk)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            part.unlink()
            raise _Failed("sent something else than the gzipped file", retry=True) from None
        _compare(part, "SHA-256 of the unpacked bytes", digest.hexdigest(), remote.sha256)


def _compare(part: Path, what: str, found: str, wanted: str) -> None:
    if found != wanted:
        part.unlink()
        raise _Failed(f"sent a wrong file ({what} {found[:12]}…, expected {wanted[:12]}…)", retry=True)
