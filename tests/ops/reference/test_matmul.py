"""Matrix products that broadcast, against sums over indices and central differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests import oracles, oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import DeviceError, ShapeError
from xpcnn.ops import reference

Ints = tuple[int, ...]

SHAPES: list[tuple[Ints, Ints]] = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 1)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((1, 4, 2, 3), (5, 1, 3, 2)),
    ((3,), (2, 4, 3, 2)),
    ((2, 4, 2, 3), (3,)),
    ((0, 2, 3), (3, 4)),
    ((2, 0), (0, 3)),
]
each_shapes = pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)


def _whole_numbers(shape: Ints, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


@each_shapes
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_forward(device: Device, a_shape: Ints, b_shape: Ints, dtype: str) -> None:
    a, b = _whole_numbers(a_shape, 0), _whole_numbers(b_shape, 1)
    y = reference.matmul_forward(device.asarray(a, dtype), device.asarray(b, dtype))
    assert y.dtype == dtype
    assert y.shape == reference.matmul_shape(a_shape, b_shape)
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.matmul(a, b))  # whole numbers: exact


@each_shapes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward(device: Device, a_shape: Ints, b_shape: Ints, dtype: str) -> None:
    a, b = _whole_numbers(a_shape, 2), _whole_numbers(b_shape, 3)
    dout = _whole_numbers(reference.matmul_shape(a_shape, b_shape), 4)
    got = reference.matmul_backward(*(device.asarray(v, dtype) for v in (dout, a, b)))
    for one, array in zip(got, (a, b), strict=True):
        assert one.dtype == dtype
        # Linear in each argument: a step of 1 differentiates whole numbers exactly.
        want = oracles.central_difference(lambda: float((np.matmul(a, b) * dout).sum()), array, h=1.0)
        np.testing.assert_array_equal(asnumpy(one), want)


def test_a_gradient_that_nobody_wants() -> None:
    a, b = np.ones((2, 3)), np.ones((3, 4))
    assert reference.matmul_backward(np.ones((2, 4)), a, b, (False, True))[0] is None
    assert reference.matmul_backward(np.ones((2, 4)), a, b, (True, False))[1] is None


def test_shapes_as_numpy_has_them() -> None:
    sizes = list(itertools.chain.from_iterable(itertools.product((1, 2, 3), repeat=n) for n in (1, 2, 3)))
    for a, b in itertools.product(sizes, sizes):
        try:
            want = np.matmul(np.empty(a), np.empty(b)).shape
        except ValueError:
            with pytest.raises(ShapeError, match="do not fit a matrix product"):
                reference.matmul_shape(a, b)
        else:
            assert reference.matmul_shape(a, b) == want
    with pytest.raises(ShapeError, match=r"takes vectors and matrices, got shapes \(\) and \(2,\)"):
        reference.matmul_shape((), (2,))


# ------------------------------------------------------------------------------------------------------- gemm
_GEMM = list(itertools.product([(False, False), (True, False), (False, True), (True, True)], [None, (), (4,), (1, 4)]))
_GEMM += [((False, True), (2, 4)), ((False, False), (2, 1)), ((True, False), (1,)), ((False, False), (1, 1))]


@pytest.mark.parametrize(("flips", "c_shape"), _GEMM, ids=str)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, -2.0), (2.0, 0.0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gemm(
    device: Device, flips: tuple[bool, bool], c_shape: Ints | None, alpha: float, beta: float, dtype: str
) -> None:
    a, b = _whole_numbers((3, 2) if flips[0] else (2, 3), 5), _whole_numbers((4, 3) if flips[1] else (3, 4), 6)
    c = None if c_shape is None else np.asarray(_whole_numbers(c_shape, 7))

    def by_hand() -> np.ndarray:
        y = np.zeros((2, 4))
        for p, q in np.ndindex(2, 4):
            terms = [(a[d, p] if flips[0] else a[p, d]) * (b[q, d] if flips[1] else b[d, q]) for d in range(3)]
            y[p, q] = alpha * sum(terms)
        return y if c is None else y + beta * np.broadcast_to(c, (2, 4))

    given = [device.asarray(v, dtype) if v is not None else None for v in (a, b, c)]
    y = reference.gemm_forward(*given, alpha, beta, *flips)
    assert (y.dtype, y.shape) == (dtype, (2, 4))
    np.testing.assert_array_equal(asnumpy(y), by_hand())  # whole numbers and powers of two: exact
    dout = _whole_numbers((2, 4), 8)
    got = reference.gemm_backward(device.asarray(dout, dtype), *given[:2], c_shape, alpha, beta, *flips)
    for one, array in zip(got, (a, b, c), strict=True):
        if array is None:
            assert one is None
            continue
        assert one.dtype == dtype
        want = oracles.central_difference(lambda: float((by_hand() * dout).sum()), array, h=1.0)
        np.testing.assert_array_equal(asnumpy(one), want)


def test_gemm_of_whole_numbers() -> None:
    a, b, c = np.array([[3, 1]]), np.array([[1], [4]]), np.array([5])
    y = reference.gemm_forward(a, b, c)
    assert (y.tolist(), y.dtype) == ([[12]], a.dtype)
    y = reference.gemm_forward(a, b, c, alpha=0.5, beta=2.0)
    assert (y.tolist(), y.dtype) == ([[13]], a.dtype)  # 3.5 is rounded towards zero


def test_errors(cuda: Device) -> None:
    with pytest.raises(ShapeError, match=r"takes two matrices, got shapes \(2,\) and \(2, 3\)"):
        reference.gemm_forward(np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"shapes \(2, 3\) and \(2, 3\) do not fit"):
        reference.gemm_forward(np.zeros((2, 3)), np.zeros((2, 3)))
    for c in (np.zeros(2), np.zeros((1, 2, 4)), np.zeros((3, 1))):
        with pytest.raises(ShapeError, match=r"does not broadcast to the product's shape \(2, 4\)"):
            reference.gemm_forward(np.zeros((2, 3)), np.zeros((3, 4)), c)
    with pytest.raises(DeviceError):
        reference.matmul_forward(np.zeros((2, 2)), cuda.asarray(np.zeros((2, 2))))
