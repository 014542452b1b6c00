"""The door that programs written for `onnx.backend` come in by."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.making import node, small_cnn
from xpcnn.errors import ShapeError
from xpcnn.onnx import Backend


def test_prepare_and_run():
    x = np.random.default_rng(0).standard_normal((1, 1, 6, 6)).astype(np.float32)
    prepared = Backend.prepare(small_cnn())
    (y,) = prepared.run([x])
    assert y.shape == (1, 5)
    np.testing.assert_array_equal(prepared.run({"x": x})[0], y)
    np.testing.assert_array_equal(Backend.run_model(small_cnn(), [x])[0], y)


def test_one_node():
    x = np.array([-1.0, 2.0], np.float32)
    np.testing.assert_array_equal(Backend.run_node(node("Relu", ["x"], ["y"]), [x], opset_version=14)[0], [0.0, 2.0])


def test_devices():
    assert Backend.supports_device("CPU")
    assert not Backend.supports_device("TPU")


def test_as_many_inputs_as_the_model_has():
    with pytest.raises(ShapeError, match="takes 1 inputs, 'x'; got 2"):
        Backend.prepare(small_cnn()).run([np.zeros((1, 1, 6, 6), np.float32)] * 2)
