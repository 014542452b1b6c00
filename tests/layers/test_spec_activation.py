"""Words and specs of activation layers."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import layers
from xpcnn.device import asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import prelu
from xpcnn.layers.base import Shape
from xpcnn.layers.spec import spec_of

WORDS = {
    "celu": layers.Celu,
    "gelu": layers.Gelu,
    "gelu_tanh": layers.Gelu,
    "hard_sigmoid": layers.HardSigmoid,
    "hard_swish": layers.HardSwish,
    "mish": layers.Mish,
    "prelu": layers.PRelu,
    "relu6": layers.Clip,
    "selu": layers.Selu,
    "shrink": layers.Shrink,
    "silu": layers.Silu,
    "softplus": layers.Softplus,
    "softsign": layers.Softsign,
    "thresholded_relu": layers.ThresholdedRelu,
}


@pytest.mark.parametrize(("word", "kind"), WORDS.items())
def test_words_in_a_network(word: str, kind: type[layers.Layer]) -> None:
    net = xpcnn.Sequential([layers.conv(2, 3), word, layers.affine(3)], input_shape=(1, 4, 4), seed=0)
    names = list(net.layers)
    assert type(net.layers[names[1]]) is kind
    assert names[1] == f"{word}1"
    x = np.random.default_rng(0).standard_normal((5, 1, 4, 4)).astype(np.float32)
    gradients = net.gradient(x, np.array([0, 1, 2, 0, 1]))
    assert all(np.isfinite(asnumpy(g)).all() for g in gradients.values())
    assert net.predict(x).dtype == np.float32


def test_what_the_words_stand_for() -> None:
    made = {word: spec_of(word).build(((3, 4, 4),), None) for word in ("relu6", "gelu", "gelu_tanh", "hard_sigmoid")}
    assert (made["relu6"].low, made["relu6"].high) == (0.0, 6.0)
    assert (made["gelu"].approximate, made["gelu_tanh"].approximate) == (False, True)
    assert (made["hard_sigmoid"].alpha, made["hard_sigmoid"].beta) == (1.0 / 6.0, 0.5)


@pytest.mark.parametrize(
    ("sample", "shared", "shape"),
    [((3, 4, 4), False, (3, 1, 1)), ((7,), False, (7,)), ((3, 4, 4), True, (1,)), ((3, 9), False, (3, 1))],
)
def test_prelu(sample: Shape, shared: bool, shape: Shape) -> None:
    net = xpcnn.Sequential([("act", prelu(0.1, shared)), "flatten"], input_shape=sample, seed=0)
    slope = net.params["act.slope"]
    assert slope.shape == shape
    assert slope.dtype == np.float32
    np.testing.assert_array_equal(slope, np.full(shape, 0.1, dtype=np.float32))


def test_slopes_are_learned() -> None:
    net = xpcnn.Sequential([("act", "prelu"), ("fc", layers.affine(2))], input_shape=(3,), seed=0)
    x, t = -np.ones((4, 3), dtype=np.float32), np.array([0, 1, 0, 1])
    before = net.params["act.slope"].copy()
    xpcnn.Trainer(net, x, t, x, t, epochs=1, verbose=False, optimizer_param={"lr": 1.0}).step(x[:3], t[:3])
    assert (before == 0.25).all()
    assert (net.params["act.slope"] != before).any()


def test_prelu_of_samples_without_channels() -> None:
    with pytest.raises(ShapeError, match="an axis of channels"):
        prelu().build(((),), None)
