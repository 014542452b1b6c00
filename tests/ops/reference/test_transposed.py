"""The transposed convolution against sums over indices, and against the convolution whose gradient it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops import reference

Ints = tuple[int, ...]
Case = tuple[Ints, Ints, tuple[Any, ...]]  # x, W, (stride, pads, output_pad, dilation, groups)


def _random_case(seed: int) -> Case:
    r = np.random.default_rng(100 + seed)
    n, groups = 1 + seed % 3, int(r.integers(1, 4))
    stride, dilation, more = (tuple(int(v) for v in r.integers(1, 4, n)) for _ in range(3))
    window = tuple(int(v) for v in r.integers(1, 4, n))
    sizes = tuple(int(v) for v in r.integers(1, 6 - n, n))
    output_pad = tuple(m - 1 for m in more)
    axes = zip(stride, sizes, dilation, window, output_pad, strict=True)
    whole = [s * (a - 1) + d * (w - 1) + 1 + o for s, a, d, w, o in axes]
    pads = [[int(r.integers(0, min(3, size))) for size in whole] for _ in range(2)]
    pads[1] = [min(e, size - b - 1) for b, e, size in zip(*pads, whole, strict=True)]  # something is left
    N, C, FN = (int(r.integers(1, 3)) for _ in range(3))
    W = (C * groups, FN, *window)
    return (N, C * groups, *sizes), W, (stride, (*pads[0], *pads[1]), output_pad, dilation, groups)


CASES: list[Case] = [
    ((1, 1, 1), (1, 1, 1), ((1,), (0, 0), (0,), (1,), 1)),
    ((2, 3, 4), (3, 2, 3), ((2,), (1, 0), (1,), (2,), 1)),
    ((1, 4, 3, 3), (4, 1, 2, 3), ((2, 3), (0, 1, 2, 0), (1, 2), (1, 1), 4)),
    ((1, 2, 2, 3, 2), (2, 2, 2, 1, 2), ((2, 1, 1), (0, 1, 0, 1, 0, 0), (0, 0, 1), (1, 1, 2), 2)),
    ((1, 1, 3, 3), (1, 1, 3, 3), ((1, 1), (0, 0, 0, 0), (4, 2), (1, 1), 1)),  # more output_pad than stride
    *(_random_case(seed) for seed in range(15)),
]
each_case = pytest.mark.parametrize(("x_shape", "W_shape", "options"), CASES, ids=str)


def _whole_numbers(shape: Ints, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_sums(device: Device, x_shape: Ints, W_shape: Ints, options: tuple[Any, ...], dtype: str) -> None:
    stride, pads, _, dilation, groups = options
    x, W, b = _whole_numbers(x_shape, 0), _whole_numbers(W_shape, 1), _whole_numbers((W_shape[1] * groups,), 2)
    given = [device.asarray(a, dtype) for a in (x, W, b)]
    y = reference.conv_transpose_forward(*given, *options)
    assert y.dtype == dtype
    # Sums of small whole numbers are exact, in float32 too.
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.conv_transpose(x, W, b, *options))
    dout = _whole_numbers(y.shape, 3)
    got = reference.conv_transpose_backward(
        device.asarray(dout, dtype), given[0], given[1], stride, pads, dilation, groups
    )
    wanted = oracles_nd.conv_transpose_gradients(dout, x, W, stride, pads, dilation, groups)
    for one, want in zip(got, wanted, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(asnumpy(one), want)
    for a, kept in zip(given, (x, W, b), strict=True):
        np.testing.assert_array_equal(asnumpy(a), kept)


@each_case
def test_it_is_the_transpose_of_the_convolution(x_shape: Ints, W_shape: Ints, options: tuple[Any, ...]) -> None:
    stride, pads, _, dilation, groups = options
    x, W = _whole_numbers(x_shape, 4), _whole_numbers(W_shape, 5)
    y = reference.conv_transpose_forward(x, W, None, *options)
    v = _whole_numbers(y.shape, 6)
    forth, _ = reference.conv_nd_forward(v, W, None, stride, pads, dilation, groups)
    # output_pad may leave room for more windows than x has elements; these meet nothing.
    seen = forth[:, :, *(slice(0, size) for size in x_shape[2:])]
    assert (x * seen).sum() == (y * v).sum()  # <x, conv(v)> = <convT(x), v>, exact in whole numbers


def test_no_dx_and_no_samples(device: Device) -> None:
    x, W = device.asarray(np.ones((2, 1, 2))), device.asarray(np.ones((1, 1, 2)))
    y = reference.conv_transpose_forward(x, W, None, (1,), (0, 0), (0,), (1,))
    assert asnumpy(y).tolist() == [[[1.0, 2.0, 1.0]]] * 2
    assert reference.conv_transpose_backward(y, x, W, (1,), (0, 0), (1,), need_dx=False)[0] is None
    assert reference.conv_transpose_forward(x[:0], W, None, (1,), (0, 0), (0,), (1,)).shape == (0, 1, 3)


def test_errors() -> None:
    W = np.zeros((4, 2, 3))
    with pytest.raises(ShapeError, match=r"needs an input \(N, 4, ...\) of 1 spatial axes"):
        reference.conv_transpose_forward(np.zeros((1, 2, 5)), W, None, (1,), (0, 0), (0,), (1,))
    with pytest.raises(ShapeError, match="a number of channels that 3 divides"):
        reference.conv_transpose_forward(np.zeros((1, 4, 5)), W, None, (1,), (0, 0), (0,), (1,), 3)
    with pytest.raises(ShapeError, match=r"an output of sizes \(0,\) is left of an input of sizes \(1,\)"):
        reference.conv_transpose_forward(np.zeros((1, 4, 1)), W, None, (1,), (2, 1), (0,), (1,))
    with pytest.raises(ShapeError, match="filters over 1 spatial axes do not fit an input of 2"):
        reference.conv_transpose_sizes((3, 3), (3,), (1,), (0, 0), (0,), (1,))
