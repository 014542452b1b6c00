"""A line between rank 0 and every other rank that breaks when a process dies, so that nobody waits for the dead.

MPI itself lets the living hang in a sum that a dead process will never join. The system closes a dead process's
sockets at once, whatever killed it, and that is what is noticed here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from xpcnn.communication.communicator import Communicator
from xpcnn.errors import DistributedError

__all__ = ["Lifeline"]

_LINE = 4096  # bytes of a message at most
_PATIENCE = 60.0  # seconds in which every rank must have called in
_GRACE = 1.0  # seconds in which who hears of another's error may come to the same one
_LAST_WORDS = 0.1  # seconds for mpiexec to pass on what was printed: it drops what the dead have left in the pipe
_IDLE = 30  # seconds of silence after which the system asks whether another host is still there


class Lifeline:
    """Open from `with` to its end; a rank that vanishes in between, or leaves by an error, ends all the others.

    on_death: called in a thread, on every rank that is left, with the number of the rank that is gone and the words
    that name it, after these have been printed; it ends the process.
    Raises DistributedError where the ranks cannot reach each other.

    An error that comes to all ranks alike, such as a loss that is no longer finite, is each one's own: who hears of
    another's error has a second to end by itself.
    """

    def __init__(self, communicator: Communicator, on_death: Callable[[int, str], None] | None = None) -> None:
        self.communicator = communicator
        self.on_death = on_death or _end
        self._over = threading.Event()  # set when this rank has said that it leaves
        self._lines: dict[int, socket.socket] = {}  # by the rank at the other end
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Lifeline:
        ranks = self.communicator
        if ranks.size > 1:
            self._connect(ranks)
            self._watch = threading.Thread(target=self._wait, name="xpcnn-lifeline", daemon=True)
            self._watch.start()
        ranks.watched = True
        return self

    def _connect(self, ranks: Communicator) -> None:
        """Every rank but the first calls rank 0, at an address that it says through the communicator."""
        listener, place = None, None
        try:
            if ranks.rank == 0:
                # Where all are on one host nobody else need hear of it.
                address = "127.0.0.1" if ranks.local_size == ranks.size else ranks.host
                listener = socket.create_server(("" if address == ranks.host else address, 0), backlog=ranks.size)
                place = (address, listener.getsockname()[1], secrets.token_hex(16))
            place = ranks.from_first(place, _PATIENCE)
            if listener is not None:
                self._accept(listener, place[2])
            else:
                self._call(*place)
        except OSError as error:
            where = f" at {place[0]}:{place[1]}" if place else ""
            raise DistributedError(
                f"rank {ranks.rank} on {ranks.host} and the others cannot reach each other through rank 0{where} "
                f"({error}); the hosts must be able to open TCP connections to each other"
            ) from error
        finally:
            if listener is not None:
                listener.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.communicator.watched = False
        if error is not None:
            self.fail(str(error) or type(error).__name__)
            return
        self._over.set()
        for line in self._lines.values():
            with contextlib.suppress(OSError):  # the other end may have gone already
                line.sendall(b"bye\n")

    def fail(self, reason: str) -> None:
        """Tells the others that this rank cannot go on, in the words of its error."""
        text = f"gone {self.communicator.rank} failed: {' '.join(reason.split())}"[: _LINE // 2] + "\n"
        self._over.set()
        self.communicator.give_up()
        for line in self._lines.values():
            with contextlib.suppress(OSError):  # the other end may have gone already
                line.sendall(text.encode())

    def _accept(self, listener: socket.socket, token: str) -> None:
        listener.settimeout(_PATIENCE)
        while len(self._lines) < self.communicator.size - 1:
            line, _ = listener.accept()
            line.settimeout(_PATIENCE)
            words = _read(line).split()
            if len(words) == 2 and secrets.compare_digest(words[0], token.encode()):
                self._lines[int(words[1])] = _lasting(line)
            else:
                line.close()  # somebody else

    def _call(self, address: str, port: int, token: str) -> None:
        line = socket.create_connection((address, port), timeout=_PATIENCE)
        line.sendall(f"{token} {self.communicator.rank}\n".encode())
        self._lines[0] = _lasting(line)

    def _wait(self) -> None:
        """In a thread: until all have said goodbye, or one has not."""
        news = self._news()
        if news is not None:
            self._hand_on(*news)
        for line in self._lines.values():
            line.close()

    def _news(self) -> tuple[int, str] | None:
        """Of a rank that is gone, and how; None where all, or this one, have left as they should."""
        with selectors.DefaultSelector() as watched:
            for rank, line in self._lines.items():
                watched.register(line, selectors.EVENT_READ, rank)
            while watched.get_map():
                for key, _ in watched.select():
                    words = _read(self._lines[key.data]).decode(errors="replace").split(maxsplit=2)
                    if words[:1] != ["bye"] and not self._over.is_set():
                        if len(words) == 3 and words[0] == "gone" and words[1].isdigit():
                            return int(words[1]), words[2].strip()
                        return key.data, "has died"
                    watched.unregister(key.fileobj)
        return None

    def _hand_on(self, rank: int, how: str) -> None:
        """Says that `rank` is gone, tells those who have not heard, and ends this process.

        Rank 0 speaks for all, as mpiexec shows what each of them prints, and before another one ends: from then on
        mpiexec may kill the rest.
        """
        first = self.communicator.rank == 0
        text = f"rank {rank} {how}"
        if how.startswith("failed"):
            self._tell(rank, how)
            if self._over.wait(_GRACE if first else 1.5 * _GRACE):
                return  # by an error of its own
        if first or rank == 0:
            sys.stderr.write(f"xpcnn: {text}; all end here\n")
            sys.stderr.flush()
            time.sleep(_LAST_WORDS)
        if not how.startswith("failed"):
            self._tell(rank, how)
        self.on_death(rank, text)

    def _tell(self, rank: int, how: str) -> None:
        if self.communicator.rank == 0:  # to whom alone the others are connected
            for other, line in self._lines.items():
                if other != rank:
                    with contextlib.suppress(OSError):  # dead as well
                        line.sendall(f"gone {rank} {how}\n".encode())


def _lasting(line: socket.socket) -> socket.socket:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    return line


def _read(line: socket.socket) -> bytes:
    """One message; empty where the other end is gone."""
    try:
        return line.makefile("rb", buffering=0).readline(_LINE)
    except OSError:
        return b""


def _end(rank: int, text: str) -> None:
    os._exit(1)
