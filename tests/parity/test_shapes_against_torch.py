"""Resizing, padding and channel moves against PyTorch, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn.layers import ChannelShuffle, Layer, Pad, PixelShuffle, Resize, ResizeWay, SpaceToDepth, upsample
from xpcnn.layers.spec import Spec

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity


def _compare(layer: Layer, function, shape: tuple[int, ...], rtol: float = 0.0) -> None:
    """Both ways of one layer in float64; atol: a few roundings of numbers of about 1."""
    random = np.random.default_rng(0)
    x = random.standard_normal(shape)
    theirs = torch.tensor(x, requires_grad=True)
    want = function(theirs)
    y = layer.forward(x)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=rtol, atol=1e-12)
    dout = random.standard_normal(y.shape)
    want.backward(torch.tensor(dout))
    np.testing.assert_allclose(layer.backward(dout), theirs.grad.numpy(), rtol=rtol, atol=1e-12)


def _built(spec: Spec) -> Layer:
    return spec.build(((3, 5, 7),), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [2, 3, (1.5, 2.5)])
@pytest.mark.parametrize(
    ("mode", "align_corners"),
    [("nearest", False), ("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True)],
)
def test_upsample(mode: str, align_corners: bool, scale) -> None:
    more = {} if mode == "nearest" else {"align_corners": align_corners}
    layer = _built(upsample(scale, mode, align_corners))
    _compare(layer, lambda x: F.interpolate(x, scale_factor=scale, mode=mode, **more), (2, 3, 5, 7))


@pytest.mark.parametrize("sizes", [(3, 4), (9, 5), (5, 7), (1, 1)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_resize_to_a_size(mode: str, antialias: bool, sizes: tuple[int, int]) -> None:
    # PyTorch's cubic kernel is flatter when it smooths, as Pillow's.
    way = ResizeWay(
        {"bilinear": "linear", "bicubic": "cubic"}[mode],
        "half_pixel",
        cubic_a=-0.5 if antialias else -0.75,
        antialias=antialias,
        exclude_outside=antialias,
    )
    _compare(
        Resize(sizes=sizes, way=way),
        lambda x: F.interpolate(x, size=sizes, mode=mode, align_corners=False, antialias=antialias),
        (2, 3, 5, 7),
    )


@pytest.mark.parametrize(
    ("mode", "theirs"),
    [("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")],
)
def test_pad(mode: str, theirs: str) -> None:
    value = {"value": 0.5} if mode == "constant" else {}
    layer = Pad([(1, 2), (3, 0)], mode, **value)
    _compare(layer, lambda x: F.pad(x, (3, 0, 1, 2), theirs, **value), (2, 3, 5, 7))


def test_negative_pad() -> None:
    _compare(Pad([(-1, 2), (3, -2)]), lambda x: F.pad(x, (3, -2, -1, 2)), (2, 3, 5, 7))


def test_channels() -> None:
    _compare(PixelShuffle(2), lambda x: F.pixel_shuffle(x, 2), (2, 12, 3, 4))
    _compare(SpaceToDepth(2, "CRD"), lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6))
    # F.channel_shuffle of PyTorch 2.13 has no gradient.
    _compare(ChannelShuffle(3), lambda x: x.reshape(2, 3, 4, 5).transpose(1, 2).reshape(2, 12, 5), (2, 12, 5))
    x = np.arange(24.0).reshape(2, 12, 1, 1)
    assert ChannelShuffle(3).forward(x).tolist() == F.channel_shuffle(torch.tensor(x), 3).tolist()
