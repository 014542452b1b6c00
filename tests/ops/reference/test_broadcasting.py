"""Gradients of what broadcasting repeats, against loops over elements."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference import divide_backward, multiply_backward, subtract_backward, unbroadcast

SHAPES = [
    ((2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (3, 1)),
    ((2, 3, 4), (1, 1, 4)),
    ((2, 3, 4), ()),
    ((2, 3, 4), (1,)),
    ((2, 1, 4), (2, 1, 1)),
    ((1, 3), (1, 1)),
    ((0, 3), (1, 3)),
    ((), ()),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("wide", "narrow"), SHAPES)
def test_unbroadcast(device: Device, wide: tuple[int, ...], narrow: tuple[int, ...], dtype: str) -> None:
    gradient = np.random.default_rng(0).integers(-9, 10, wide).astype(dtype)
    want = np.zeros(narrow, dtype)
    for place in np.ndindex(*wide):  # each element goes to the one that it was a copy of
        last = place[len(wide) - len(narrow) :]
        want[tuple(0 if n == 1 else i for i, n in zip(last, narrow, strict=True))] += gradient[place]
    got = unbroadcast(device.asarray(gradient), narrow)
    assert (got.dtype, got.shape) == (dtype, narrow)
    np.testing.assert_array_equal(asnumpy(got), want)  # whole numbers: exact


@pytest.mark.parametrize(("wide", "narrow"), [((2, 3), (2,)), ((3,), (2, 3)), ((2, 3), (2, 2))])
def test_shapes_that_do_not_broadcast(wide: tuple[int, ...], narrow: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="does not broadcast to"):
        unbroadcast(np.zeros(wide), narrow)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [subtract_backward, multiply_backward, divide_backward])
def test_gradients_keep_their_arrays_dtype_and_shape(device: Device, function: object, dtype: str) -> None:
    dout = device.asarray(np.ones((2, 3, 4), dtype))
    a, b = (device.asarray(np.full(shape, 2.0, dtype)) for shape in [(3, 1), (2, 1, 4)])
    da, db = function(dout, a, b)  # type: ignore[operator]
    assert (da.dtype, da.shape, db.dtype, db.shape) == (dtype, (3, 1), dtype, (2, 1, 4))
    assert function(dout, a, b, (False, True))[0] is None  # type: ignore[operator]
    assert function(dout, a, b, (True, False))[1] is None  # type: ignore[operator]
