"""Every counter: what counts, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.counts import Counts, counts
from tests.fake_cupy.install import installed


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as double:
        yield double


def _seen(act: Callable[[], Any]) -> Counts:
    with counts.watch() as seen:
        act()
    return seen


@pytest.mark.parametrize(
    ("cause", "act"),
    [
        ("float", float),
        ("int", int),
        ("bool", bool),
        ("bool", lambda a: 1 if a else 2),
        ("item", lambda a: a.item()),
        ("tolist", lambda a: a.tolist()),
        ("get", lambda a: a.get()),
        ("index", lambda a: [5, 6, 7, 8][a.astype("int64")]),
        ("format", lambda a: f"{a:.3f}"),
        ("repr", repr),
    ],
)
def test_reading_a_value_waits_and_copies(cupy: Any, cause: str, act: Callable[[Any], Any]) -> None:
    a = cupy.ones((), "float32")
    seen = _seen(lambda: act(a))
    assert seen.syncs == {cause: 1}
    assert seen.device_to_host.number == 1
    assert seen.device_to_host.bytes in (4, 8)


@pytest.mark.parametrize(
    ("cause", "act"),
    [
        ("nonzero", lambda cupy, a: a.nonzero()),
        ("nonzero", lambda cupy, a: cupy.nonzero(a)),
        ("where", lambda cupy, a: cupy.where(a > 0)),
        ("argwhere", lambda cupy, a: cupy.argwhere(a)),
        ("unique", lambda cupy, a: cupy.unique(a)),
        ("boolean mask", lambda cupy, a: a[a > 0]),
        ("asnumpy", lambda cupy, a: cupy.asnumpy(a)),
        ("set", lambda cupy, a: a.set(np.zeros(4, "float32"))),
        ("Device.synchronize", lambda cupy, a: cupy.cuda.Device(0).synchronize()),
        ("deviceSynchronize", lambda cupy, a: cupy.cuda.runtime.deviceSynchronize()),
        ("Stream.synchronize", lambda cupy, a: cupy.cuda.Stream.null.synchronize()),
        ("Event.synchronize", lambda cupy, a: cupy.cuda.Stream.null.record().synchronize()),
    ],
)
def test_what_waits(cupy: Any, cause: str, act: Callable[[Any, Any], Any]) -> None:
    a = cupy.ones(4, "float32")
    assert _seen(lambda: act(cupy, a)).syncs == {cause: 1}


@pytest.mark.parametrize(
    "act",
    [
        lambda cupy, a: a + a * 2,
        lambda cupy, a: a.sum(),
        lambda cupy, a: a @ a.T,
        lambda cupy, a: cupy.where(a > 0, a, 0.0),
        lambda cupy, a: a[1:, ::2],
        lambda cupy, a: list(a),
        lambda cupy, a: cupy.take(a, a[0].astype("int32"), axis=0),
        lambda cupy, a: a.__setitem__(a > 0, 0),
        lambda cupy, a: cupy.full((2, 2), 3.0),
        lambda cupy, a: a.fill(2),
        lambda cupy, a: (a.shape, a.dtype, len(a), cupy.shape(a), np.shape(a)),
    ],
)
def test_what_stays_on_the_device(cupy: Any, act: Callable[[Any, Any], Any]) -> None:
    a = cupy.ones((3, 3), "float32")
    seen = _seen(lambda: act(cupy, a))
    assert not seen.syncs
    assert seen.host_to_device.number == seen.device_to_host.number == 0


@pytest.mark.parametrize(
    ("act", "nbytes"),
    [
        (lambda cupy: cupy.asarray(np.zeros((3, 5), "float32")), 60),
        (lambda cupy: cupy.array([1, 2, 3]), 24),
        (lambda cupy: cupy.asarray(2.0), 8),
        (lambda cupy: cupy.zeros(3, "float32").set(np.ones(3, "float32")), 12),
        (lambda cupy: cupy.zeros(3)[[0, 2]], 16),
    ],
)
def test_uploads(cupy: Any, act: Callable[[Any], Any], nbytes: int) -> None:
    seen = _seen(lambda: act(cupy))
    assert (seen.host_to_device.number, seen.host_to_device.bytes) == (1, nbytes)


def test_allocations_and_operations(cupy: Any) -> None:
    a, out = cupy.ones((4, 4), "float32"), cupy.empty((4, 4), "float32")
    seen = _seen(lambda: (a + 1, a.T, a[1:], a.reshape(-1), a.view()))
    assert (seen.allocations.number, seen.allocations.bytes) == (1, 64)
    assert seen.operations == {"add": 1}
    seen = _seen(lambda: (cupy.add(a, 1, out=out), cupy.matmul(a, a, out=out), a.sum(axis=0, out=out[0]), out.fill(0)))
    assert seen.allocations.number == 0
    assert seen.operations == {"add": 1, "matmul": 1, "sum": 1, "setitem": 1}
    assert seen.matmuls == 1


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("plain", 0),
        ("transposed", 0),  # cuBLAS reads both orders of a matrix
        ("every other", 1),
        ("another dtype", 1),
        ("batches", 0),
        ("transposed batches", 1),
        ("strided output", 1),
        ("overlapping output", 1),
    ],
)
def test_copies_that_a_product_hides(cupy: Any, name: str, copies: int) -> None:
    a, out = cupy.ones((4, 4), "float32"), cupy.empty((4, 4), "float32")
    wide, batch, batches = (
        cupy.ones((8, 8), "float32"),
        cupy.ones((2, 4, 4), "float32"),
        cupy.empty((2, 4, 4), "float32"),
    )
    double = cupy.empty((4, 4))
    made = {
        "plain": (a, a, out),
        "transposed": (a.T, a, out),
        "every other": (wide[::2, ::2], a, out),
        "another dtype": (a, cupy.ones((4, 4)), double),
        "batches": (batch, batch, batches),
        "transposed batches": (batch.transpose(0, 2, 1), batch, batches),
        "strided output": (a, a, wide[:4, :4]),
        "overlapping output": (a, a, a),
    }[name]
    assert _seen(lambda: cupy.matmul(made[0], made[1], out=made[2])).allocations.number == copies


def test_watches_may_overlap(cupy: Any) -> None:
    with counts.watch() as outer:
        cupy.zeros(3)
        with counts.watch() as inner:
            cupy.zeros(4)
    cupy.zeros(5)
    assert (outer.allocations.bytes, inner.allocations.bytes) == (56, 32)
