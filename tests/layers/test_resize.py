"""The resizing layer: every mode's gradient, sizes and policies, and pictures with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import Resize, ResizeWay, upsample
from xpcnn.network import Sequential
from xpcnn.ops.reference import COORDINATES

WAYS = [
    ResizeWay("nearest", "asymmetric", "floor"),
    ResizeWay("nearest", "half_pixel", "ceil"),
    ResizeWay("nearest", "tf_crop_and_resize"),
    ResizeWay("linear", "align_corners"),
    ResizeWay("linear", antialias=True),
    ResizeWay("cubic", exclude_outside=True),
    ResizeWay("cubic", "tf_crop_and_resize", extrapolation=3.0),
    ResizeWay("cubic", antialias=True, cubic_a=-0.5),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [(5, 7), (2, 3), (3, 4)])
def test_gradients(device: Device, way: ResizeWay, sizes: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 4))
    check_sound(device, Resize(sizes=sizes, way=way), x)
    check_sound(device, Resize([n / m for n, m in zip(sizes, (3, 4), strict=True)], way=way, axes=(2, 3)), x)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_region_that_reaches_outside(device: Device, mode: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    way = ResizeWay(mode, "tf_crop_and_resize", extrapolation=9.0)
    layer = Resize(sizes=(4, 5), way=way, roi=[(-0.4, 0.8), (0.5, 1.5)])
    y = asnumpy(layer.forward(device.asarray(x)))
    assert (y[:, :, 0] == 9.0).all()
    assert (y[:, :, :, 3:] == 9.0).all()
    assert (y[:, :, 2:, :2] != 9.0).all()
    check_sound(device, layer, x)


def test_known_pictures(device: Device) -> None:
    x = device.asarray(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    nearest = Resize((2, 2), way=ResizeWay("nearest", "asymmetric", "floor")).forward(x)
    assert asnumpy(nearest)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    linear = Resize(sizes=(3, 3), way=ResizeWay("linear", "align_corners")).forward(x)
    assert asnumpy(linear)[0, 0].tolist() == [[1.0, 1.5, 2.0], [2.0, 2.5, 3.0], [3.0, 3.5, 4.0]]
    halves = Resize((1.0, 2.0), way=ResizeWay("linear")).forward(x)
    assert asnumpy(halves)[0, 0].tolist() == [[1.0, 1.25, 1.75, 2.0], [3.0, 3.25, 3.75, 4.0]]


def test_whole_numbers_and_whole_arrays(device: Device) -> None:
    x = device.asarray(np.array([[0, 100]], dtype=np.uint8))
    y = Resize((2.0, 1.0), way=ResizeWay("linear")).forward(x)
    assert (y.dtype, asnumpy(y).tolist()) == ("uint8", [[0, 100], [0, 100]])
    layer = Resize((2.0, 1.5))
    check_sound(device, layer, np.random.default_rng(0).standard_normal((2, 4)), in_network=False)
    with pytest.raises(ShapeError, match="samples cannot be resized to more or fewer samples"):
        layer.output_shape((4,))
    assert Resize((1.0, 1.5)).output_shape((4,)) == (6,)  # N times 1 is N
    with pytest.raises(ShapeError, match="axis 0 is the batch's; it has no size of its own"):
        Resize(sizes=(2, 3)).output_shape((4,))


def test_a_length_that_rounding_alone_makes_less_than_whole() -> None:
    assert 100 * 0.29 < 29.0
    assert Resize((0.29,)).output_shape((100,)) == (29,)
    assert Resize((0.2899,)).output_shape((100,)) == (28,)


@pytest.mark.parametrize(("policy", "want"), [("stretch", (6, 6)), ("not_larger", (3, 6)), ("not_smaller", (6, 12))])
def test_policies(policy: str, want: tuple[int, int]) -> None:
    assert Resize(sizes=(6, 6), policy=policy).output_shape((2, 3, 6)) == (2, *want)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_picture_of_one_colour_stays_so(mode: str, coordinates: str) -> None:
    x = np.full((1, 1, 3, 4), 0.7)
    y = Resize((1.7, 0.6), way=ResizeWay(mode, coordinates)).forward(x)
    assert y.shape == (1, 1, 5, 2)
    np.testing.assert_allclose(y, 0.7, rtol=1e-14)  # weights that add up to 1, but for rounding


def test_a_large_table_is_made_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, way = np.random.default_rng(0).standard_normal((2, 6)), ResizeWay("cubic")
    want = Resize(sizes=(9,), way=way).forward(x)
    monkeypatch.setattr("xpcnn.layers.resize._REMEMBERED", 10)
    np.testing.assert_array_equal(Resize(sizes=(9,), way=way).forward(x), want)


def test_arguments_that_are_none() -> None:
    for arguments, words in [
        ({}, "either scales or sizes"),
        ({"scales": (2.0,), "sizes": (2,)}, "either scales or sizes"),
        ({"scales": (0.0, 2.0)}, r"above 0, got \(0.0, 2.0\)"),
        ({"scales": (float("nan"),)}, "above 0"),
        ({"sizes": (-3,)}, "above 0"),
        ({"sizes": (3,), "policy": "shrink"}, "policy is one of stretch, not_larger, not_smaller, got 'shrink'"),
        ({"sizes": (3,), "axes": (1, 2)}, "1 scales or sizes and 1 regions for 2 axes"),
    ]:
        with pytest.raises(ConfigError, match=words):
            Resize(**arguments)
    with pytest.raises(ConfigError, match="a resize's coordinates: one of align_corners, .* got 'pixel'"):
        ResizeWay(coordinates="pixel")
    with pytest.raises(ShapeError, match=r"axis 2 of shape \(1, 1, 3, 4\) would be left without elements"):
        Resize((0.3, 1.0)).output_shape((1, 3, 4))
    with pytest.raises(ShapeError, match="without elements"):
        Resize(sizes=(3,)).forward(np.zeros((2, 0)))
    with pytest.raises(ShapeError, match="a resized array of shape .* would take"):
        Resize((1e15, 1e15)).output_shape((1, 3, 4))
    with pytest.raises(ConfigError, match="one of nearest, bilinear, bicubic, got 'area'"):
        upsample(2, "area")
    with pytest.raises(ConfigError, match=r"a number or a pair \(h, w\)"):
        upsample((2, 2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_in_a_network(mode: str) -> None:
    net = Sequential([upsample((2, 1.5), mode), "relu"], input_shape=(2, 3, 4))
    assert net.predict(np.ones((5, 2, 3, 4), np.float32)).shape == (5, 2, 6, 6)
