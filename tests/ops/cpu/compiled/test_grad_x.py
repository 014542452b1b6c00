"""The input's gradient by compiled kernels against `xpcnn.ops.reference`, over random shapes, strides and pads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.ops.cpu.compiled.test_kernels import CHANNELS, HOSTS, Guarded, nchw, over_shapes
from tests.oracles import assert_close
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cpu.compiled.grad_x import GradX
from xpcnn.ops.cpu.compiled.host import Host


def inside(whole: np.ndarray, margin: tuple[int, ...]) -> np.ndarray:
    top, left, bottom, right = margin
    return whole[:, top : whole.shape[1] - bottom, left : whole.shape[2] - right]


@given(
    N=st.integers(1, 3),
    C=CHANNELS,
    FN=CHANNELS,
    window=st.tuples(st.integers(1, 5), st.one_of(st.integers(1, 5), st.just(7))),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    pad=st.tuples(*[st.integers(0, 4)] * 4),
    size=st.tuples(st.integers(1, 11), st.integers(1, 40)),
    host=st.sampled_from(HOSTS),
    masked=st.booleans(),
)
@over_shapes
def test_equals_the_reference(
    N: int,
    C: int,
    FN: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int, int, int],
    size: tuple[int, int],
    host: Host | None,
    masked: bool,
) -> None:
    top, left, bottom, right = pad
    assume(size[0] + top + bottom >= window[0] and size[1] + left + right >= window[1])
    rng = np.random.default_rng(0)
    x, W = np.zeros((N, C, *size)), rng.uniform(-1.0, 1.0, (FN, C, *window)).astype(np.float32)
    y, col = reference.conv2d_forward(x, W.astype(np.float64), None, stride, pad)
    g = rng.uniform(-1.0, 1.0, y.transpose(0, 2, 3, 1).shape).astype(np.float32)
    want, _, _ = reference.conv2d_backward(nchw(g), col, W.astype(np.float64), x.shape, stride, pad)
    grad_x = GradX(C, FN, window, stride, (top, left), size, y.shape[2:], host=host)
    whole = np.zeros((N, *grad_x.g_size, FN), np.float32)
    inside(whole, grad_x.margin)[...] = g
    dx, mask_y = Guarded((N, *size, C)), Guarded((N, *size, C))
    dx.array[...] = np.nan
    mask_y.array[...] = rng.integers(-1, 2, dx.array.shape)  # zeros too: not above 0
    again = grad_x(whole, grad_x.flipped(W), dx.array, mask_y.array if masked else None)
    if masked:
        want = reference.relu_backward(want, nchw(mask_y.array))
    terms = FN * window[0] * window[1]
    assert_close(nchw(dx.check()).astype(np.float32), want, terms, terms)  # |each product| <= 1
    first = dx.array.copy()
    dx.array[...] = np.nan
    again()
    np.testing.assert_array_equal(dx.check(), first)


def test_every_product_is_made_once() -> None:
    """Stride 2, 3x3: 4 phases whose windows have 4, 2, 2 and 1 of the 9 weights, and a quarter of the pixels each."""
    grad_x = GradX(8, 8, (3, 3), (2, 2), (1, 1), (8, 8), (4, 4))
    assert sorted(len(rows.weights) * len(columns.weights) for rows, columns in grad_x._phases) == [1, 2, 2, 4]
    assert {(rows.pixels, columns.pixels) for rows, columns in grad_x._phases} == {(4, 4)}


def test_arrays_that_do_not_fit_are_refused_by_name() -> None:
    grad_x = GradX(2, 3, (3, 3), (1, 1), (1, 1), (6, 6), (6, 6))
    g, w, dx = np.zeros((1, 8, 8, 3), np.float32), np.zeros(54, np.float32), np.zeros((1, 6, 6, 2), np.float32)
    grad_x(g, w, dx)
    with pytest.raises(ShapeError, match="g must be"):
        grad_x(g[:, 1:], w, dx)
    with pytest.raises(ShapeError, match="one after another"):
        grad_x(np.zeros((1, 8, 9, 3), np.float32)[:, :, 1:], w, dx)
    with pytest.raises(ShapeError, match="flipped must be"):
        grad_x(g, w[1:], dx)
    with pytest.raises(ShapeError, match="dx must be"):
        grad_x(g, w, dx[:, 1:])
    with pytest.raises(ShapeError, match="mask_y must be"):
        grad_x(g, w, dx, dx[:, 1:])
