"""The kernels of whole networks: what they leave alone, and a digest that no change escapes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.ops.cpu.compiled.test_kernels import GUARD, HOSTS
from xpcnn.ops import reference
from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT
from xpcnn.ops.cpu.compiled.host import this_host
from xpcnn.ops.cpu.compiled.inference.affine import parts_of, streaming_kernel
from xpcnn.ops.cpu.compiled.inference.convolution import PanelShape, conv_kernel, pack_panels
from xpcnn.ops.cpu.compiled.inference.digest import DIGEST, FACTOR, digest_kernel
from xpcnn.ops.cpu.compiled.inference.elementwise import RowShape, lrn_kernel, lrn_room
from xpcnn.ops.cpu.compiled.inference.pooling import PoolShape, pool_kernel

hosts = pytest.mark.parametrize("host", [host or this_host() for host in HOSTS], ids=lambda host: host.cpu)


def spread(a, pixel, before=3):
    """a (H, W, C) in the channels from `before` on of pixels of `pixel` floats, amid guards."""
    H, W, C = a.shape
    whole = np.full((H, W, pixel), GUARD, np.float32)
    whole[..., before : before + C] = a
    return whole, whole[0, 0, before:].ctypes.data


def only_there(whole, C, before=3):
    """What lies in the channels that a kernel was to write; nothing else may have changed."""
    assert (whole[..., :before] == GUARD).all()
    assert (whole[..., before + C :] == GUARD).all()
    return whole[..., before : before + C]


@hosts
@pytest.mark.parametrize("FN", [1, 3, 16, 37, 100])
@pytest.mark.parametrize("OW", [1, 6, 15])
def test_convolution_in_the_middle_of_others_channels(FN, OW, host):
    rng = np.random.default_rng(FN + OW)
    C, FH, FW, OH = 5, 2, 3, 4
    x = rng.uniform(-1.0, 1.0, (OH + FH - 1, (OW - 1) * 2 + FW, C)).astype(np.float32)
    W, b = (rng.uniform(-1.0, 1.0, s).astype(np.float32) for s in ((FN, C, FH, FW), (FN,)))
    given, x_at = spread(x, C + 6)
    y, y_at = spread(np.zeros((OH, OW, FN), np.float32), FN + 7)
    other, other_at = spread(rng.uniform(-1.0, 1.0, (OH, OW, FN)).astype(np.float32), FN + 4)
    shape = PanelShape(C, FN, FH, FW, 2, 1, OW, C + 6, FN + 7, FN + 4, "add")
    cut, _ = shape.filters(host)
    packed = pack_panels(W, cut)
    steps = (given.strides[0], given.strides[0])
    places = (x_at, *steps, packed.ctypes.data, b.ctypes.data, 0.0, y_at, y.strides[0], other_at, other.strides[0])
    conv_kernel(shape, host)(OH, 0, cut.count, *places, NUMBERS_AT)
    wide = x.transpose(2, 0, 1)[None].astype(float)
    plain = reference.conv2d_forward(wide, W.astype(float), b.astype(float), stride=(1, 2))[0][0].transpose(1, 2, 0)
    want = np.maximum(plain + other[..., 3 : 3 + FN], 0.0)
    # float32: 30 products of at most 1, a bias and a residual.
    np.testing.assert_allclose(only_there(y, FN), want, atol=40 * np.finfo(np.float32).eps * 32)


@hosts
@pytest.mark.parametrize("C", [1, 2, 7, 16, 33])
@pytest.mark.parametrize(("average", "count_pad"), [(False, True), (True, False), (True, True)])
def test_pooling_in_the_middle_of_others_channels(C, average, count_pad, host):
    rng = np.random.default_rng(C)
    x = rng.uniform(-1.0, 1.0, (7, 6, C)).astype(np.float32)
    given, x_at = spread(x, C + 5)
    y, y_at = spread(np.zeros((4, 3, C), np.float32), C + 9)
    shape = PoolShape(C, 7, 6, 3, (3, 3), (2, 2), (1, 1), C + 5, C + 9, average, count_pad)
    kernel = pool_kernel(shape, host)
    for first, rows in ((0, 1), (1, 3)):
        kernel(first, rows, x_at, given.strides[0], y_at, y.strides[0], 9, NUMBERS_AT)
    wide, pad = x.transpose(2, 0, 1)[None], (1, 1, 1, 0)
    if average:
        want = reference.average_pool2d_forward(wide.astype(float), 3, 3, (2, 2), pad, count_pad)
    else:
        want = reference.max_pool2d_forward(wide, 3, 3, (2, 2), pad)[0]
    # The largest is one of the numbers themselves; a mean is of nine at most.
    np.testing.assert_allclose(only_there(y, C), want[0].transpose(1, 2, 0), atol=1e-6 if average else 0.0)


@hosts
@pytest.mark.parametrize("C", [1, 5, 16, 50])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_response_normalisation(C, size, host):
    x = np.random.default_rng(C).uniform(-3.0, 3.0, (2, 3, C)).astype(np.float32)
    given, x_at = spread(x, C + 3)
    y, y_at = spread(np.zeros_like(x), C + 3)
    room = np.full(lrn_room(C, size), 0xFF, np.uint8)  # NaN where nothing is written
    kernel = lrn_kernel(RowShape(C, 3, C + 3, 0, C + 3), size, host)
    kernel(2, x_at, given.strides[0], y_at, y.strides[0], 0.3, 1.5, room.ctypes.data, NUMBERS_AT)
    wide = x.transpose(0, 2, 1)[:, :, :, None].astype(float)  # each row as a sample
    want = reference.lrn_forward(wide, size, 0.3, 0.75, 1.5)[0][..., 0].transpose(0, 2, 1)
    np.testing.assert_allclose(only_there(y, C), want, rtol=1e-5)  # two square roots and a division in float32


@hosts
@pytest.mark.parametrize("M", [1, 16, 45, 100])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("D", [1, 8, 21])
def test_streaming_weights(n, D, M, host):
    rng = np.random.default_rng(M)
    x, W, b = (rng.uniform(-1.0, 1.0, s).astype(np.float32) for s in ((n, D + 2), (D, M + 1), (M,)))
    y = np.full((n, M + 3), GUARD, np.float32)
    for first, vectors, lanes in parts_of(M, host.lanes):
        weights = W.ctypes.data + 4 * first, W.strides[0], b.ctypes.data + 4 * first
        places = x.ctypes.data, x.strides[0], *weights, -math.inf, y.ctypes.data + 4 * first, y.strides[0]
        streaming_kernel(n, lanes, host)(vectors, D, *places, NUMBERS_AT)
    want = x[:, :D].astype(float) @ W[:, :M].astype(float) + b
    np.testing.assert_allclose(y[:, :M], want, atol=(D + 1) ** 2 * np.finfo(np.float32).eps)  # a chain of D + 1 sums
    assert (y[:, M:] == GUARD).all()


def digest(a, host):
    target = np.full(DIGEST + 8, 0x5A, np.uint8)
    kernel = digest_kernel(host)
    kernel(FACTOR, a.nbytes // DIGEST, a.nbytes % DIGEST // 4, a.ctypes.data, target.ctypes.data, NUMBERS_AT)
    assert (target[DIGEST:] == 0x5A).all()
    return target.tobytes()


@hosts
@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 200, 256, 1000, 4096])
def test_a_digest_tells_any_change(size, host):
    a = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    before = digest(a, host)
    assert digest(a.copy(), host) == before
    for i in {0, 1, size // 2, size - 1} & set(range(size)):
        b = a.copy()
        b.view(np.uint32)[i] ^= 1  # the least bit of one number
        assert digest(b, host) != before
        assert digest(np.roll(a, 1), host) != before or size == 1
    # Changes of many numbers alike that sums, or sums of products, would miss.
    assert digest(-a, host) != before
    assert digest(a * np.float32(0.5), host) != before
    assert digest(a[::-1].copy(), host) != before or size == 1
    assert digest(np.zeros_like(a), host) != digest(-np.zeros_like(a), host)
