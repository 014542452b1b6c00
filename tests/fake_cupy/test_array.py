"""The double's arrays: CuPy's refusals, results as NumPy's, views that share memory."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from tests.fake_cupy.memory import OutOfMemoryError

HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as double:
        yield double


# ----------------------------------------------------------------------------------------------------- refusals
REFUSED: list[Callable[[Any, Any], Any]] = [
    lambda cupy, a: a + HOST,
    lambda cupy, a: HOST + a,
    lambda cupy, a: HOST @ a.T,
    lambda cupy, a: a @ HOST.T,
    lambda cupy, a: operator.iadd(a, HOST),
    lambda cupy, a: operator.iadd(HOST.copy(), a),
    lambda cupy, a: a == HOST,
    lambda cupy, a: cupy.add(a, HOST),
    lambda cupy, a: cupy.add(a, [1, 2, 3]),
    lambda cupy, a: cupy.exp(HOST),
    lambda cupy, a: cupy.add(a, a, out=HOST.copy()),
    lambda cupy, a: np.add(a, a, out=HOST.copy()),
    lambda cupy, a: cupy.matmul(a, HOST.T),
    lambda cupy, a: cupy.matmul(HOST, HOST.T),
    lambda cupy, a: cupy.where(a > 0, HOST, a),
    lambda cupy, a: cupy.concatenate([a, HOST]),
    lambda cupy, a: cupy.concatenate([HOST, HOST]),
    *(
        lambda cupy, a, name=name: getattr(cupy, name)(HOST)
        for name in ("sum", "max", "mean", "transpose", "argmax", "nonzero", "ravel", "any", "zeros_like")
    ),
    lambda cupy, a: cupy.reshape(HOST, (6,)),
    lambda cupy, a: cupy.dot(HOST, HOST.T),
    lambda cupy, a: cupy.take(HOST, [0], axis=0),
    lambda cupy, a: cupy.take(a, np.array([0]), axis=0),
    lambda cupy, a: cupy.clip(HOST, 0, 1),
    lambda cupy, a: cupy.einsum("ij,kj->ik", a, HOST),
    lambda cupy, a: cupy.copyto(a, HOST),
    lambda cupy, a: a[np.array([0, 1])],
    lambda cupy, a: a.__setitem__(0, HOST[0]),
    lambda cupy, a: a.__setitem__(np.array([0]), 1),
    lambda cupy, a: np.asarray(a),
    lambda cupy, a: np.stack([HOST, HOST]).__setitem__(0, a),
    lambda cupy, a: cupy.sum(a, where=a > 0),
    lambda cupy, a: cupy.add(a, a, where=a > 0),
    lambda cupy, a: cupy.zeros((2, 2), like=a),
    lambda cupy, a: a.max(initial=0),
    lambda cupy, a: a.astype("int32", casting="unsafe"),
    lambda cupy, a: a + None,
    lambda cupy, a: a + "x",
    lambda cupy, a: {a: 1},
    lambda cupy, a: cupy.lib.stride_tricks.as_strided(a, (4, 3), (12, 4)),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_cupy_does_not_take(cupy: Any, number: int) -> None:
    with pytest.raises((TypeError, ValueError)):
        REFUSED[number](cupy, cupy.asarray(HOST))


@pytest.mark.parametrize("act", [lambda a: a + HOST, lambda a: HOST + a, lambda a: a.__setitem__(0, HOST[0])])
def test_the_words_for_numpys_arrays(cupy: Any, act: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="^Unsupported type <class 'numpy.ndarray'>$"):
        act(cupy.asarray(HOST))


def test_a_dtype_that_a_device_lacks(cupy: Any) -> None:
    for bad in (np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cupy.asarray(bad)


# ------------------------------------------------------------------------------------------------ results as NumPy's
SAME: list[Callable[[Any, Any], Any]] = [
    lambda xp, a: a * 2 + 1,
    lambda xp, a: 2 / (a + 1),
    lambda xp, a: a * np.float64(2),  # a NumPy scalar's type counts, a Python number's does not (NEP 50)
    lambda xp, a: np.float32(3) - a,
    lambda xp, a: -a // 2 % 3,
    lambda xp, a: a**2 >= 4,
    lambda xp, a: ~(a > 1) & (a < 5),
    lambda xp, a: xp.maximum(a, 2.5),
    lambda xp, a: xp.where(a > 2, a, 0.0),
    lambda xp, a: a.sum(axis=0),
    lambda xp, a: a.mean(axis=(0, 1), keepdims=True),
    lambda xp, a: xp.var(a, axis=1),
    lambda xp, a: a.astype(xp.uint8).sum(),
    lambda xp, a: a.max(axis=1) + a.argmax(axis=1),
    lambda xp, a: xp.einsum("ij,kj->ik", a, a),
    lambda xp, a: xp.tensordot(a, a, axes=((1,), (1,))),
    lambda xp, a: a @ a.T,
    lambda xp, a: xp.matmul(a[None], a.T[None]),
    lambda xp, a: xp.stack([a, a + 1], axis=1),
    lambda xp, a: xp.pad(a, ((1, 0), (0, 2))),
    lambda xp, a: a[:, ::-1][1, None],
    lambda xp, a: a[a > 2],
    lambda xp, a: a[xp.asarray([1, 0, 1])],
    lambda xp, a: a[..., 1],
    lambda xp, a: a[1, 2],
    lambda xp, a: xp.take(a, xp.asarray([2, 0]), axis=1),
    lambda xp, a: a.reshape(3, -1).transpose(1, 0),
    lambda xp, a: xp.expm1(xp.log1p(a)),
    lambda xp, a: a / 0,
    lambda xp, a: np.exp(a),
    lambda xp, a: np.sum(a, axis=1),
    lambda xp, a: xp.full_like(a, 7, dtype="int8"),
    lambda xp, a: xp.arange(3) + xp.linspace(0, 1, 3),
    lambda xp, a: xp.broadcast_to(a[0], (4, 3)),
    lambda xp, a: a.view("uint32"),
    lambda xp, a: a.T.copy(),
    lambda xp, a: divmod(a, 2)[1] if xp is np else xp.remainder(a, 2),
]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_results_are_numpys(cupy: Any, number: int) -> None:
    with np.errstate(all="ignore"):
        want = np.asarray(SAME[number](np, HOST.copy()))
    got = SAME[number](cupy, cupy.asarray(HOST))
    assert isinstance(got, cupy.ndarray)  # reductions give arrays of no axes, too
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got.get(), want)


def test_halves_are_multiplied_as_on_tensor_cores(cupy: Any) -> None:
    a = np.full((1, 4096), 1.0, np.float16)
    # 4,097 is no float16, but a float32 sum passes through it: 1 + 4,095 ones + 1 is rounded once, to even.
    assert float(cupy.matmul(cupy.asarray(a), cupy.asarray(a.T))[0, 0]) == 4096.0


def test_results_are_in_c_order(cupy: Any) -> None:
    a = cupy.asarray(HOST).T  # NumPy keeps such an order, CuPy's elementwise results do not
    assert (a + 1).flags.c_contiguous
    assert cupy.exp(a).flags.c_contiguous
    assert a.copy().flags.c_contiguous
    assert cupy.copy(a).flags.f_contiguous
    assert cupy.empty_like(a).flags.f_contiguous
    assert a.astype("float64").flags.f_contiguous
    assert cupy.asarray(np.zeros((2, 3, 4)).transpose(1, 0, 2)).flags.c_contiguous


def test_views_share_memory(cupy: Any) -> None:
    a = cupy.zeros((2, 6), "float32")
    a[0, 1:3] = 1
    a.reshape(12)[11] = 2
    a.T[0, 1] += 3
    cupy.lib.stride_tricks.as_strided(a, (2, 2), (24, 4))[0, 0] = 4
    a.view("int32")[1, 1] = 0x40A00000
    assert a.get().tolist() == [[4, 1, 1, 0, 0, 0], [3, 5, 0, 0, 0, 2]]
    assert a[0].base is a
    assert a[0][1:].data.ptr == a.data.ptr + 4
    with counts.watch() as seen:
        cupy.add(a, 1, out=a[::-1][::-1])
        a[0] *= 2
    assert a.get()[0, 0] == 10
    assert seen.allocations.number == 1  # the output overlapped an input and was another array: CuPy copies


def test_attributes(cupy: Any) -> None:
    a = cupy.asarray(HOST)
    assert (a.shape, a.strides, a.ndim, a.size, a.itemsize, a.nbytes) == ((2, 3), (12, 4), 2, 6, 4, 24)
    assert (a.flags.c_contiguous, a.flags["F_CONTIGUOUS"], a.flags.owndata) == (True, False, True)
    assert a.data.ptr % 512 == 0
    assert a.__cuda_array_interface__["data"] == (a.data.ptr, False)
    assert cupy.empty(0).data.ptr == 0
    assert len(a) == 2
    assert a.device == cupy.cuda.Device(0)
    a.shape = (3, 2)
    assert a.shape == (3, 2)


def test_copies_of_arrays(cupy: Any) -> None:
    a = cupy.asarray(HOST)
    for other in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a)), a.copy()):
        assert other.data.ptr != a.data.ptr
        np.testing.assert_array_equal(other.get(), HOST)
    assert cupy.asarray(a) is a
    assert a.astype("float32", copy=False) is a


def test_setting_from_the_host(cupy: Any) -> None:
    a = cupy.empty((2, 3), "float32")
    a.set(HOST)
    np.testing.assert_array_equal(cupy.asnumpy(a), HOST)
    for bad, error in ((HOST.astype("float64"), TypeError), (HOST[0], ValueError), ([1, 2], TypeError)):
        with pytest.raises(error):
            a.set(bad)


def test_new_memory_holds_nothing(cupy: Any) -> None:
    assert np.isnan(cupy.empty(5, "float32").get()).all()
    assert np.isnan(cupy.empty(5, "float16").get()).all()
    assert (cupy.empty(5, "int64").get() == -1).all()


def test_memory_that_ends(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    a = cupy.zeros(1000, "float32")
    assert pool.used_bytes() == before + 4096
    pool.set_limit(size=pool.used_bytes() + 4096)
    try:
        b = cupy.zeros(1000, "float32")
        with pytest.raises(OutOfMemoryError, match="Out of memory allocating 512 bytes .*limit set to"):
            cupy.zeros(1)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            a + b
        a += b  # in place: nothing is needed
        del b
        assert (a + 1).shape == (1000,)
    finally:
        pool.set_limit(size=0)
    del a
    assert pool.used_bytes() == before
    pool.free_all_blocks()
    assert pool.total_bytes() == pool.used_bytes()
