"""Convolutions of all kinds and matrix products as ONNX: its own reference code and our importer give the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from xpcnn import Network, Sequential
from xpcnn.layers import (
    MatMul,
    Projection,
    affine,
    conv1d,
    conv3d,
    conv_transpose,
    depthwise_conv,
)
from xpcnn.onnx import load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork


def _matrix(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


NETWORKS: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "sequences": ([conv1d(4, 3, stride=2, pad=(2, 1), groups=2), "relu", conv1d(2, 2, dilation=2, bias=False)], (2, 9)),
    "volumes": ([conv3d(3, (1, 2, 3), stride=(1, 2, 1), pad=(0, 1, 2)), depthwise_conv(2)], (2, 3, 4, 5)),
    "larger": (
        [conv_transpose(4, 3, stride=2, pad=1, output_pad=1), conv_transpose(1, 2, bias=False)],
        (2, 3, 4),
    ),
    "larger by groups": ([conv_transpose(4, 3, stride=2, groups=2)], (2, 3, 4)),
    "products": (
        [
            ("p", Projection(_matrix(4, 3)), "input"),
            ("q", Projection(_matrix(3, 5), left=True), "input"),
            ("r", Projection(_matrix(4, 5)), "q"),
            ("m", MatMul(), ("p", "r")),
            ("end", affine(2)),
        ],
        (5, 4),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_scores(name: str) -> None:
    items, shape = NETWORKS[name]
    make = Network if name == "products" else Sequential
    network = make(items, shape, seed=0)
    proto = to_onnx(network)
    onnx.checker.check_model(proto, full_check=True)
    x = np.random.default_rng(0).random((3, *shape), np.float32)
    want = network.predict(x)
    size = max(1.0, float(np.abs(want).max()))
    # float32 sums of at most some hundred terms in another order.
    if "groups" not in name:  # of which ONNX's reference code (1.23) fails to make a transposed convolution
        theirs = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x})[0]
        np.testing.assert_allclose(theirs, want, rtol=0.0, atol=1e-5 * size)
    ours = load(proto)
    assert isinstance(ours, OnnxNetwork), ours.why
    np.testing.assert_allclose(ours.predict(x), want, rtol=0.0, atol=1e-5 * size)
    assert list(ours.params) == list(network.params)
