"""The large networks of inference_zoo.py are the same in all libraries, for any number of pictures."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.parity
onnx = pytest.importorskip("onnx")


@pytest.mark.parametrize("network", ["shufflenet", "squeezenet"])  # the smallest, and with all that needs a change
@pytest.mark.parametrize("N", [2])
def test_all_libraries_agree(network, N, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    from zoo_models import build_model, pictures
    from zoo_torch import torch_network

    from xpcnn.onnx import load

    model, x = build_model(network, N), pictures(N)
    onnx.save(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {session.get_inputs()[0].name: x})
    assert wanted.shape[0] == N
    assert wanted.std() > 1e-4  # the random weights keep something of the pictures
    ours = load(tmp_path / "net.onnx")
    got = ours.run({ours.inputs[0]: x})[ours.outputs[0]]
    for y in (got, torch_network(model, False)(x), torch_network(model, True)(x)):
        # float32, some fifty layers, relative to the largest; ours folds and goes Winograd's way.
        np.testing.assert_allclose(y.reshape(wanted.shape), wanted, rtol=0.0, atol=2e-5 * np.abs(wanted).max())


def test_weights_are_the_same_every_time():
    from zoo_models import build_model

    one, other = build_model("squeezenet", 1), build_model("squeezenet", 8)
    assert [t.raw_data for t in one.graph.initializer] == [t.raw_data for t in other.graph.initializer]
    assert one.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert other.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 8
    assert not any(node.op_type == "ConstantOfShape" for node in other.graph.node)
