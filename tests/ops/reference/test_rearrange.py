"""Channels and pixels that change places, against loops over elements."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.ops.reference import channel_shuffle, depth_to_space, space_to_depth


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 2, 3), 3), ((2, 6, 2, 3), 1), ((1, 4), 2), ((0, 4, 1, 1), 4)])
def test_channel_shuffle(device: Device, shape: tuple[int, ...], groups: int, dtype: str) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    got = channel_shuffle(device.asarray(x), groups)
    assert got.dtype == dtype
    want = [x[:, g * (shape[1] // groups) + i] for i in range(shape[1] // groups) for g in range(groups)]
    np.testing.assert_array_equal(asnumpy(got), np.stack(want, axis=1))


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
@pytest.mark.parametrize(("shape", "r"), [((2, 8, 2, 3), 2), ((1, 9, 1, 2), 3), ((2, 3, 2, 2), 1)])
def test_depth_to_space_and_back(device: Device, shape: tuple[int, ...], r: int, mode: str) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype("float32")
    N, D, H, W = shape
    C = D // (r * r)
    want = np.zeros((N, C, H * r, W * r), "float32")
    for n, c, h, w in np.ndindex(*want.shape):
        block = (h % r) * r + w % r
        channel = c * r * r + block if mode == "CRD" else block * C + c
        want[n, c, h, w] = x[n, channel, h // r, w // r]
    got = depth_to_space(device.asarray(x), r, mode)
    assert got.dtype == "float32"
    np.testing.assert_array_equal(asnumpy(got), want)
    np.testing.assert_array_equal(asnumpy(space_to_depth(got, r, mode)), x)


def test_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"groups=2 does not divide the 3 channels of an input of shape \(1, 3\)"):
        channel_shuffle(np.zeros((1, 3)), 2)
    with pytest.raises(ShapeError, match="channels divisible by 4, got 6"):
        depth_to_space(np.zeros((1, 6, 2, 2)), 2)
    with pytest.raises(ShapeError, match="blocks of 2x2 pixels do not tile pictures of 4x3"):
        space_to_depth(np.zeros((1, 1, 4, 3)), 2)
    with pytest.raises(ShapeError, match="one of CRD, DCR, got 'RCD'"):
        depth_to_space(np.zeros((1, 4, 2, 2)), 2, "RCD")
    with pytest.raises(ShapeError, match=r"wanted pictures \(N, C, H, W\)"):
        space_to_depth(np.zeros((4, 4)), 2)
    with pytest.raises(ShapeError, match="at least 1, got 0"):
        depth_to_space(np.zeros((1, 4, 2, 2)), 0)
