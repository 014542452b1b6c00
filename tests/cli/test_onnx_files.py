"""`xpcnn predict` and `evaluate` on .onnx files: the same figures as for the network they were written from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xpcnn.layers import affine, conv
from xpcnn.models import SimpleConvNet
from xpcnn.network import Sequential
from xpcnn.onnx import export


@pytest.fixture
def files(tiny):
    """net.safetensors and net.onnx of one network, beside tiny.npz."""
    network = SimpleConvNet((1, 8, 8), {"filter_num": 4, "filter_size": 3}, 6, 3, "he", seed=2)
    network.save_params("net.safetensors")
    export(network, "net.onnx")
    np.save("pictures.npy", tiny["x_test"][:4])
    return network


def write(path, nodes, given, gives, weights=()):
    """An ONNX model of `nodes` from "x" to "y"."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", *given)],
        [helper.make_tensor_value_info("y", *gives)],
        [numpy_helper.from_array(a, name) for name, a in weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def figures(run, *words):
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_evaluate_gives_the_same_figures(run, files):
    words = ("--dataset", "tiny.npz")
    wanted = figures(run, "evaluate", "net.safetensors", *words)
    found = figures(run, "evaluate", "net.onnx", *words)
    assert found.pop("loss") == pytest.approx(wanted.pop("loss"), abs=1e-6)  # float32 sums in another order
    assert found == wanted


def test_evaluate_in_double_precision(run, files):
    words = ("--dataset", "tiny.npz", "--dtype", "float64")
    wanted = figures(run, "evaluate", "net.safetensors", *words)["loss"]
    assert figures(run, "evaluate", "net.onnx", *words)["loss"] == pytest.approx(wanted, rel=1e-12)


def test_predict_gives_the_same_classes(run, files):
    wanted = figures(run, "predict", "net.safetensors", "pictures.npy")
    found = figures(run, "predict", "net.onnx", "pictures.npy")
    assert [item["label"] for item in found] == [item["label"] for item in wanted]
    np.testing.assert_allclose(
        [item["probability"] for item in found], [item["probability"] for item in wanted], atol=1e-6
    )


def test_a_softmax_at_the_end_is_not_taken_twice(run, tiny):
    W = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"]),
    ]
    write("soft.onnx", nodes, (TensorProto.FLOAT, ["N", 1, 8, 8]), (TensorProto.FLOAT, ["N", 3]), [("W", W)])
    x = tiny["x_test"].reshape(20, 64).astype(np.float64) / 255.0
    e = np.exp(x @ W.astype(np.float64))
    p = e / e.sum(axis=1, keepdims=True)
    loss = figures(run, "evaluate", "soft.onnx", "--dataset", "tiny.npz")["loss"]
    assert loss == pytest.approx(-np.log(p[np.arange(20), tiny["t_test"]]).mean(), rel=1e-5)  # float32
    np.save("pictures.npy", tiny["x_test"][:1])
    first = figures(run, "predict", "soft.onnx", "pictures.npy", "--invert", "no")[0]
    assert first["probability"] == pytest.approx(p[0].max(), rel=1e-5)


def test_beside_a_run_its_data_is_known(run, tiny):
    words = ("--dataset", "tiny.npz", "--epochs", "1", "--out", "r", "--quiet")
    assert run("train", *words).exit_code == 0
    assert run("export", "r", "r/net.onnx").exit_code == 0
    assert figures(run, "evaluate", "r/net.onnx") == {
        **figures(run, "evaluate", "r"),
        "loss": pytest.approx(figures(run, "evaluate", "r")["loss"], abs=1e-6),
    }


def refused(run, *words):
    """The one error line of a command that ends with 2."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("command", [("evaluate", "--dataset", "tiny.npz"), ("predict", "pictures.npy")])
def test_what_is_no_network_is_told(run, files, command):
    word, *rest = command
    add = helper.make_node("Add", ["x", "x"], ["y"])
    write("whole.onnx", [add], (TensorProto.INT64, ["N", 3]), (TensorProto.INT64, ["N", 3]))
    message = refused(run, word, "whole.onnx", *rest)
    assert "whole.onnx is not a network from samples to scores: its input 'x' is of int64" in message
    export(Sequential([conv(2, 3), "relu"], (1, 8, 8), seed=0), "maps.onnx")
    assert "gives (2, 6, 6) a sample, not a row of scores" in refused(run, word, "maps.onnx", *rest)
    export(Sequential([affine(3)], (64,), seed=0), "rows.onnx")
    assert "this network takes (64,)" in refused(run, word, "rows.onnx", *rest)
    Path("damaged.onnx").write_bytes(b"ONNX")
    assert "damaged.onnx" in refused(run, word, "damaged.onnx", *rest)
    assert "missing.onnx" in refused(run, word, "missing.onnx", *rest)


def test_options_of_our_own_models_are_refused(run, files):
    words = ("evaluate", "net.onnx", "--dataset", "tiny.npz")
    assert "leave out: model" in refused(run, *words, "--model", "simple")
    assert "leave out: dropout" in refused(run, *words, "--dropout", "book")


def test_on_a_gpu(run, files, cuda):
    wanted = figures(run, "predict", "net.safetensors", "pictures.npy")
    found = figures(run, "predict", "net.onnx", "pictures.npy", "--device", "cuda")
    assert [item["label"] for item in found] == [item["label"] for item in wanted]
