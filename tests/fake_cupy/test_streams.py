"""Streams: what orders the work of two of them, and what pinned memory asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.install import installed
from tests.fake_cupy.streams import RaceError
from tests.fake_cupy.transfers import PinnedOverwrittenError


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as double:
        yield double


def _two(cupy: Any) -> tuple[Any, Any]:
    return cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)


@pytest.mark.parametrize("then", ["read", "write"])
def test_a_race_between_two_streams(cupy: Any, then: str) -> None:
    first, second = _two(cupy)
    with first:
        a = cupy.zeros(3)
    with second, pytest.raises(RaceError, match="nothing orders them"):
        _ = a + 1 if then == "read" else a.fill(1)


def test_writing_what_another_stream_reads(cupy: Any) -> None:
    first, second = _two(cupy)
    a = cupy.zeros(3)
    cupy.cuda.Device(0).synchronize()
    with first:
        _ = a + 1
    with second:
        _ = a + 1  # reading is no race
        with pytest.raises(RaceError, match="writes what stream .* reads"):
            a.fill(1)


@pytest.mark.parametrize("way", ["event", "stream", "device", "event on the host", "get"])
def test_what_orders_two_streams(cupy: Any, way: str) -> None:
    first, second = _two(cupy)
    with first:
        a = cupy.zeros(3)
        event = first.record()
        if way == "get":
            a.get()
    if way == "event":
        second.wait_event(event)
    elif way == "stream":
        first.synchronize()
    elif way == "device":
        cupy.cuda.Device(0).synchronize()
    elif way == "event on the host":
        event.synchronize()
    with second:
        assert (a + 1).tolist() == [1, 1, 1]


def test_an_event_of_before_is_not_enough(cupy: Any) -> None:
    first, second = _two(cupy)
    with first:
        a = cupy.zeros(3)
        event = first.record()
        a += 1
    second.wait_event(event)
    with second, pytest.raises(RaceError):
        _ = a + 1


def test_the_default_stream_waits_for_blocking_ones_alone(cupy: Any) -> None:
    blocking, other = cupy.cuda.Stream(), cupy.cuda.Stream(non_blocking=True)
    a = cupy.zeros(3)
    with blocking:
        a += 1
    assert (a + 1).tolist() == [2, 2, 2]
    with other:
        b = cupy.zeros(3)
    with pytest.raises(RaceError):
        _ = b + 1


def test_kernels_take_part(cupy: Any) -> None:
    first, second = _two(cupy)
    kernel = cupy.RawKernel('extern "C" __global__ void k(const double* a, double* b) { b[0] = a[0]; }', "k")
    with first:
        a, b = cupy.zeros(1), cupy.zeros(1)
    with second, pytest.raises(RaceError):
        kernel((1,), (1,), (a, b))
    kernel((1,), (1,), (a, b), stream=first)


def test_a_pinned_buffer_written_too_early(cupy: Any) -> None:
    import cupyx

    staging, a = cupyx.empty_pinned(4, "float32"), cupy.empty(4, "float32")
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device(0).synchronize()
    for early in (False, True):
        staging[:] = 1
        a.set(staging, stream=stream)
        event = stream.record()
        if early:
            staging[:] = 2
            with pytest.raises(PinnedOverwrittenError):
                event.synchronize()
        else:
            event.synchronize()
            staging[:] = 2


def test_a_pinned_result_comes_with_the_wait(cupy: Any) -> None:
    import cupyx

    out, a = cupyx.zeros_pinned(3), cupy.arange(3, dtype="float64")
    a.get(out=out, blocking=False)
    assert np.isnan(out).all()
    cupy.cuda.Stream.null.synchronize()
    assert out.tolist() == [0, 1, 2]
    ordinary = np.zeros(3)  # memory that is not pinned makes even this wait
    a.get(out=ordinary, blocking=False)
    assert ordinary.tolist() == [0, 1, 2]


def test_a_capture_refuses_waits_and_cublas(cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        a = cupy.ones((2, 2))
        stream.begin_capture()
        assert stream.is_capturing()
        a += 1
        with pytest.raises(NotImplementedError, match="cuBLAS"):
            _ = a @ a
        for wait in (lambda: float(a[0, 0]), stream.synchronize, lambda: a[a > 0]):
            with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureUnsupported"):
                wait()
        graph = stream.end_capture()
        with pytest.raises(NotImplementedError):
            graph.launch()
    with pytest.raises(RuntimeError):
        cupy.cuda.Stream.null.begin_capture()


def test_times_and_the_current_stream(cupy: Any) -> None:
    start, end, stream = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Stream()
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    with stream:
        assert cupy.cuda.get_current_stream() is stream
        start.record()
        cupy.zeros(3)
        end.record()
    assert cupy.cuda.get_current_stream().ptr == 0
    assert not end.done
    end.synchronize()
    assert end.done
    assert cupy.cuda.get_elapsed_time(start, end) > 0
