from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, assert_same, judged, normal, window
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda import pooling

SEEDS = range(12)
BIG = {"shape": (2, 1, 20, 21), "window": (17, 18), "stride": (2, 1), "pad": (3, 0, 1, 2)}  # places beyond 255


def cases() -> list[dict]:
    return [window(seed, most=4, dilated=False) for seed in SEEDS] + [BIG]


def pictures(seed: int, shape: tuple[int, ...], dtype: str, kind: str) -> np.ndarray:
    if kind == "normal":
        return normal(seed, shape, dtype)
    random = np.random.default_rng(seed)
    x = random.integers(-1, 2, shape).astype(dtype)  # many equals
    if kind == "special":
        x[random.random(shape) < 0.3] = np.nan
        x[random.random(shape) < 0.3] = -np.inf
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
def test_max_pooling(gpu: Device, kind: str, dtype: str) -> None:
    for seed, case in enumerate(cases()):
        x = pictures(seed, case["shape"], dtype, kind)
        where = (*case["window"], case["stride"], case["pad"])
        y, winner = pooling.max_pool2d_forward(gpu.asarray(x), *where)
        want, want_winner = reference.max_pool2d_forward(x, *where)
        assert_same(gpu.asnumpy(y), want, dtype)
        assert_same(gpu.asnumpy(winner), want_winner, want_winner.dtype.name)
        silent, nothing = pooling.max_pool2d_forward(gpu.asarray(x), *where, note_winner=False)
        assert nothing is None
        assert_same(gpu.asnumpy(silent), want, dtype)

        dout = normal(seed + 100, want.shape, dtype)
        dx = pooling.max_pool2d_backward(gpu.asarray(dout), winner, x.shape, *where)
        want_dx = reference.max_pool2d_backward(judged(dout), want_winner, x.shape, *where)
        assert_near(gpu.asnumpy(dx), want_dx, dtype, terms=4) if dtype == "float16" else assert_same(
            gpu.asnumpy(dx), want_dx, dtype
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count_pad", [True, False])
def test_average_pooling(gpu: Device, count_pad: bool, dtype: str) -> None:
    wide_pad = {"shape": (1, 2, 3, 4), "window": (2, 2), "stride": (1, 2), "pad": (3, 2, 3, 4)}  # windows of pad only
    for seed, case in enumerate([*cases(), wide_pad]):
        x = normal(seed, case["shape"], dtype)
        where = (*case["window"], case["stride"], case["pad"], count_pad)
        terms = case["window"][0] * case["window"][1]
        want = reference.average_pool2d_forward(judged(x), *where)
        assert_near(gpu.asnumpy(pooling.average_pool2d_forward(gpu.asarray(x), *where)), want, dtype, terms, 4.0)
        dout = normal(seed + 100, want.shape, dtype)
        want_dx = reference.average_pool2d_backward(judged(dout), x.shape, *where)
        dx = pooling.average_pool2d_backward(gpu.asarray(dout), x.shape, *where)
        assert_near(gpu.asnumpy(dx), want_dx, dtype, terms, 4.0)


def test_no_pictures_buffers_and_errors(gpu: Device) -> None:
    xp = gpu.xp
    y, winner = pooling.max_pool2d_forward(xp.zeros((0, 2, 4, 4), dtype="float32"), 2, 2, 2)
    assert y.shape == winner.shape == (0, 2, 2, 2)
    assert pooling.max_pool2d_backward(y, winner, (0, 2, 4, 4), 2, 2, 2).shape == (0, 2, 4, 4)
    x = gpu.asarray(normal(0, (1, 2, 4, 4), "float32"))
    out, places = xp.empty((1, 2, 2, 2), dtype="float32"), xp.empty((1, 2, 2, 2), dtype="uint8")
    y, winner = pooling.max_pool2d_forward(x, 2, 2, 2, out=out, winner=places)
    assert y is out
    assert winner is places
    with pytest.raises(ShapeError, match="pads smaller than itself"):
        pooling.max_pool2d_forward(x, 2, 2, pad=2)
    with pytest.raises(ShapeError, match="winner must be"):
        pooling.max_pool2d_backward(y, winner.astype("int32"), x.shape, 2, 2, 2)
    with pytest.raises(ShapeError, match="dout must be"):
        pooling.average_pool2d_backward(y, (1, 2, 6, 6), 2, 2, 2)
