"""Streams and events. Work is done at once, but what orders it is checked as if it were not.

Each stream counts its operations, and knows up to which operation of every other stream it has waited (a vector
clock); so does the host. An array touched on two streams with nothing that orders them raises RaceError, and a
pinned buffer that the host changes before the copy from it is known to be done raises as well.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tests.fake_cupy.counts import counts
from tests.fake_cupy.memory import Memory
from tests.fake_cupy.names import lacking

Clock = dict[int, int]
_host: Clock = {}
_numbers = itertools.count(1)
_streams: weakref.WeakSet[Stream] = weakref.WeakSet()
_waiting: list[tuple[int, int, Callable[[], None]]] = []  # (stream, operation, what happens once the host knows)


class RaceError(RuntimeError):
    """Two streams touch one array, and nothing orders them. On a card: now and then wrong numbers."""


def _join(clock: Clock, other: Clock) -> None:
    for number, operation in other.items():
        if clock.get(number, 0) < operation:
            clock[number] = operation


class Stream:
    """CuPy's. `Stream.null` is the default stream, which waits for all others but the non-blocking ones."""

    __getattr__ = lacking("cupy.cuda.Stream")

    null: Stream
    ptds: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        if ptds:
            raise NotImplementedError("the double has no per-thread default stream")
        self._number = 0 if null else next(_numbers)
        self._clock: Clock = {self._number: 0}
        self.is_non_blocking, self.priority, self.device_id = non_blocking, priority or 0, 0
        self._before: list[Stream] = []
        self._capturing = False
        if not null:
            _streams.add(self)

    @property
    def ptr(self) -> int:
        return self._number

    @property
    def done(self) -> bool:
        return all(_host.get(n, 0) >= k for n, k in self._clock.items())

    def __enter__(self) -> Stream:
        self._before.append(current())
        _local.stream = self
        return self

    def __exit__(self, *_: Any) -> None:
        _local.stream = self._before.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other._number == self._number

    def __hash__(self) -> int:
        return self._number

    def use(self) -> Stream:
        _local.stream = self
        return self

    def synchronize(self) -> None:
        wait("Stream.synchronize", self._clock)

    def begin_capture(self, mode: int | None = None) -> None:
        """From here on every wait, and every cuBLAS call of this stream's, is refused. Work is done all the same."""
        if self._number == 0:
            raise RuntimeError("cannot capture a stream while the default stream is used")
        self._capturing = True

    def is_capturing(self) -> bool:
        return self._capturing

    def end_capture(self) -> Graph:
        if not self._capturing:
            raise RuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
        self._capturing = False
        return Graph()

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        self._order()
        event._clock = dict(self._clock)
        return event

    def wait_event(self, event: Event) -> None:
        _join(self._clock, event._clock)

    def _order(self) -> None:
        """What orders the next operation without being asked: the host's own waits, and the default stream."""
        _join(self._clock, _host)
        if self._number == 0:
            for stream in _streams:
                if not stream.is_non_blocking:
                    _join(self._clock, stream._clock)
        elif not self.is_non_blocking:
            _join(self._clock, Stream.null._clock)

    def _begin(self) -> int:
        self._order()
        self._clock[self._number] += 1
        return self._clock[self._number]

    def _knows(self, number: int, operation: int) -> bool:
        return self._clock.get(number, 0) >= operation


class Event:
    """CuPy's: a point in a stream's work."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._clock: Clock = {}
        self._timed = not disable_timing

    @property
    def done(self) -> bool:
        return all(_host.get(n, 0) >= k for n, k in self._clock.items())

    def record(self, stream: Stream | None = None) -> None:
        (stream or current()).record(self)

    def synchronize(self) -> None:
        wait("Event.synchronize", self._clock)


class Graph:
    """What a capture gives. The double did the work as it was captured, and cannot do it again."""

    def launch(self, stream: Stream | None = None) -> None:
        raise NotImplementedError("cupy.cuda.Graph.launch is in CuPy, but the double does not do it")


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds; the double has no clock of its own, and says so little that nobody may lean on it."""
    if not (start_event._timed and end_event._timed):
        raise RuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return 1e-3 * max(1, sum(end_event._clock.values()) - sum(start_event._clock.values()))


Stream.null = Stream(null=True)
_local = threading.local()


def current(device_id: int = -1) -> Stream:
    return getattr(_local, "stream", Stream.null)


def capturing() -> bool:
    """True while any stream captures."""
    return any(stream._capturing for stream in _streams)


def wait(cause: str, clock: Clock | None = None) -> None:
    """The host waits for these operations (None: for all); refused during a capture."""
    if capturing():
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {cause} waits for the device while a stream captures")
    counts.sync(cause)
    if clock is None:
        for stream in (Stream.null, *_streams):
            _join(_host, stream._clock)
    else:
        _join(_host, clock)
    known = [w for w in _waiting if _host.get(w[0], 0) >= w[1]]
    _waiting[:] = [w for w in _waiting if _host.get(w[0], 0) < w[1]]
    for _, _, then in known:
        then()


def when_host_knows(stream: Stream, then: Callable[[], None]) -> None:
    """Calls `then` once the host has waited for the stream's last operation."""
    _waiting.append((stream._number, stream._clock[stream._number], then))


def touch(reads: Iterable[Any], writes: Iterable[Any], stream: Stream | None = None) -> Stream:
    """One operation of the current stream; raises RaceError where it is not ordered after what it needs.

    reads, writes: device arrays, whole allocations, or (allocation, first byte, end). Two streams may use different
    bytes of one allocation. An allocation keeps (first byte, end, stream, operation, written) of each use that a later
    one may have to come after.
    """
    stream = current() if stream is None else stream
    operation = stream._begin()
    if not _streams:  # the default stream alone cannot race
        return stream
    for writing, touched in ((False, reads), (True, writes)):
        for memory, first, end in map(_stretch, touched):
            _check(stream, memory, first, end, writing)
            # What lies wholly within this use, and before it, is known by whoever waits for this one.
            kept = [
                use
                for use in memory.accesses
                if not (first <= use[0] and use[1] <= end and (writing or (use[2] == stream._number and not use[4])))
            ]
            memory.accesses = [*kept, (first, end, stream._number, operation, writing)]
    return stream


def _stretch(touched: Any) -> tuple[Memory, int, int]:
    """(allocation, first byte, end) of what an operation uses."""
    if isinstance(touched, tuple):
        return touched
    if isinstance(touched, Memory):
        return touched, 0, touched.size
    memory = touched._memory
    if touched.size == 0:
        return memory, 0, 0
    first, end = np.lib.array_utils.byte_bounds(touched._a)
    return memory, first - memory.ptr, end - memory.ptr


def _check(stream: Stream, memory: Memory, first: int, end: int, writing: bool) -> None:
    for start, stop, number, operation, wrote in memory.accesses:
        if start < end and first < stop and (writing or wrote) and not stream._knows(number, operation):
            verb, other = "writes what" if writing else "reads what", "wrote" if wrote else "reads"
            raise RaceError(
                f"stream {stream._number} {verb} stream {number} {other}, and nothing orders them: "
                "let it wait for an event of that stream"
            )


def stream_at(pointer: int) -> Stream:
    """The stream of that address (`Stream.ptr`)."""
    for stream in (Stream.null, *_streams):
        if stream.ptr == pointer:
            return stream
    raise RuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
