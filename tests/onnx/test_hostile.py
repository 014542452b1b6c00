"""Models from strangers: whatever a file says, it ends in a result or in one line that names the node."""

from __future__ import annotations

import os
import time

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.onnx.making import model, node, save, small_cnn
from xpcnn.errors import CheckpointError, XpcnnError
from xpcnn.onnx import load, sizes
from xpcnn.onnx.call import UnsupportedOperator
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

PICTURES = {"x": ["N", 2, 4, 4]}


def whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def refused(proto, words, feeds=None):
    """The one line that loading and running ends in."""
    started = time.process_time()
    with pytest.raises(XpcnnError, match=words) as caught:
        load(proto.SerializeToString()).run(feeds or {"x": np.ones((2, 2, 4, 4), np.float32)})
    text = str(caught.value)
    assert len(text) < 700
    assert text.isprintable()
    assert time.process_time() - started < 2.0  # each would take hours, or all memory
    return text


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("ConstantOfShape", ["s"], ["y"])], {"s": whole(2**14, 2**15)}),
        ([node("ConstantOfShape", ["s"], ["y"])], {"s": whole(0, 2**62, 2**62)}),
        ([node("Expand", ["x", "s"], ["y"])], {"s": whole(2**26, 1, 2, 4, 4)}),
        ([node("Expand", ["c", "s"], ["y"])], {"c": np.zeros((0, 1), np.float32), "s": whole(0, 2**40)}),
        ([node("Expand", ["x", "s"], ["y"])], {"s": whole(-(2**62), 4)}),
        ([node("Tile", ["x", "s"], ["y"])], {"s": whole(1, 1, 2**14, 2**14)}),
        ([node("Pad", ["x", "s"], ["y"], mode="edge")], {"s": whole(0, 0, 2**14, 0, 0, 0, 0, 2**14)}),
        ([node("Resize", ["x", "", "s"], ["y"])], {"s": floats(1, 1, 1e4, 1e5)}),
        ([node("Resize", ["x", "", "s"], ["y"], mode="linear")], {"s": floats(1, 1, 1e7, 1)}),
        ([node("Range", ["a", "b", "c"], ["y"])], {"a": np.float32(0), "b": np.float32(1), "c": np.float32(1e-30)}),
        ([node("OneHot", ["i", "d", "v"], ["y"])], {"i": whole(), "d": np.array(2**50), "v": floats(0, 1)}),
        ([node("Conv", ["x", "w"], ["y"], pads=[2**15] * 4)], {"w": np.ones((1, 2, 1, 1), np.float32)}),
        ([node("Conv", ["x", "w"], ["y"], pads=[2**11] * 4)], {"w": np.ones((1, 2, 64, 64), np.float32)}),
        ([node("ConvTranspose", ["x", "w"], ["y"], strides=[2**14] * 2)], {"w": np.ones((2, 1, 1, 1), np.float32)}),
        ([node("ConvTranspose", ["x", "w"], ["y"], output_padding=[2**30] * 2)], {"w": np.ones((2, 1, 1, 1), "f4")}),
        (
            [
                node("MaxPool", ["x"], ["a", "i"], kernel_shape=[2, 2]),
                node("MaxUnpool", ["a", "i"], ["y"], kernel_shape=[2, 2], strides=[2**40, 2**20]),
            ],
            {},
        ),
        ([node("MaxPool", ["x"], ["y"], kernel_shape=[10**4] * 2, pads=[9999] * 4)], {}),
        ([node("AveragePool", ["x"], ["y"], kernel_shape=[5000] * 2, pads=[2500] * 4)], {}),
        ([node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2**62)], {}),
        ([node("Einsum", ["c"] * 4, ["y"], equation="a,b,c,d->")], {"c": np.ones(2000, np.float32)}),
        ([node("Unsqueeze", ["x", "a"], ["y"])], {"a": whole(*range(1, 80))}),
        ([node("Unsqueeze", ["x", "a"], ["y"])], {"a": whole(*range(1, 100_000))}),
        ([node("DepthToSpace", ["x"], ["y"], blocksize=1, mode="\x1b[2J")], {}),
        ([node("Clip", ["x", "low"], ["y"])], {"low": np.zeros((9, 1, 1, 1, 1), np.float32)}),
    ],
)
def test_sizes_are_looked_at_before_memory_and_time_are_taken(nodes, constants):
    refused(model(nodes, PICTURES, ["y"], constants, opset=18), r"node '\w' ")


@pytest.mark.parametrize(
    "last",
    [
        node("Add", ["row", "column"], ["y"], "last"),
        node("Where", ["truth", "row", "column"], ["y"], "last"),
        node("Max", ["row", "column"], ["y"], "last"),
        node("MatMul", ["column", "row"], ["y"], "last"),
        node("Gemm", ["column", "row"], ["y"], "last"),
        node("PRelu", ["row", "column"], ["y"], "last"),
        node("Pow", ["row", "column"], ["y"], "last"),
    ],
)
def test_small_arrays_that_broadcast_to_a_huge_one(last):
    nodes = [
        node("Reshape", ["c", "a"], ["row"]),
        node("Reshape", ["c", "b"], ["column"]),
        node("Greater", ["row", "c"], ["truth"]) if "truth" in last.input else node("Relu", ["row"], ["unused"]),
        last,
    ]
    constants = {"c": np.ones(60_000, np.float32), "a": whole(1, -1), "b": whole(-1, 1)}
    refused(model(nodes, PICTURES, ["y"], constants), "node 'last' .*60000, 60000.* would take")


@pytest.mark.parametrize("op", ["Concat", "Einsum"])
def test_arrays_that_double_with_each_node(op, monkeypatch):
    monkeypatch.setattr(sizes, "ALWAYS", 1 << 24)  # as any other limit, and faster
    how = {"axis": 0} if op == "Concat" else {"equation": "...i,...j->...ij"}
    nodes = [node(op, [f"v{i}" if i else "x"] * 2, [f"v{i + 1}"], **how) for i in range(40)]
    refused(
        model(nodes, {"x": [None, None]}, ["v40"]), f"node 'v.*{op}.*would take", {"x": np.ones((2, 2), np.float32)}
    )


def test_what_is_alive_together_is_limited(monkeypatch):
    monkeypatch.setattr(sizes, "ALWAYS", 10_000)
    kept = [node("Relu", ["x"], [f"v{i}"], f"r{i}") for i in range(20)]
    proto = model(kept, {"x": [None]}, [f"v{i}" for i in range(20)])
    x = {"x": np.ones(1000, np.float32)}
    monkeypatch.setattr(sizes, "TIMES", 20)
    assert len(load(proto).run(x)) == 20  # as many bytes as there may be
    monkeypatch.setattr(sizes, "TIMES", 1)
    refused(model([*kept, node("Concat", ["v0", "v1"], ["y"], "joined", axis=0)], {"x": [None]},
                  [*(f"v{i}" for i in range(20)), "y"]), "node 'joined' .* left for it", x)  # fmt: skip
    chain = [node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(50)]
    assert load(model(chain, {"x": [None]}, ["v50"])).run(x)["v50"].shape == (1000,)  # one after the other


def test_constants_are_not_folded_for_ever():
    """What would take long beforehand is left for the runs of a Program."""
    nodes = [
        node("ConstantOfShape", ["s"], ["c"]),
        node("MatMul", ["c", "c"], ["d"], "product"),
        node("ReduceSum", ["d"], ["e"]),
        node("Add", ["x", "e"], ["y"]),
    ]
    started = time.process_time()
    loaded = load(model(nodes, PICTURES, ["y"], {"s": whole(6000, 6000)}))
    assert time.process_time() - started < 2.0
    assert isinstance(loaded, Program)
    assert "'product' (MatMul): so much work" in loaded.why


@pytest.mark.parametrize("count", [20_000])
def test_long_chains_of_nodes_that_all_have_one_name(count):
    nodes = [node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"], "same") for i in range(count)]
    started = time.process_time()
    network = load(model(nodes, {"x": ["N", 3]}, [f"v{count}"]))
    assert isinstance(network, OnnxNetwork)
    assert list(network.layers)[:3] == ["same", "same_2", "same_3"]
    assert time.process_time() - started < 20.0  # 3 s; a minute where each name was looked for among all others


def test_more_nodes_than_any_network_has():
    proto = model([], {"x": [1]}, ["y"])
    proto.graph.node.extend([node("Relu", ["x"], ["y"])] * (2**18 + 1))
    with pytest.raises(CheckpointError, match="more than 262,144 nodes"):
        read_model(proto)


def test_many_names_are_not_all_told():
    many = {f"i{k}": ["N"] for k in range(1000)}
    refused(model([node("Relu", ["x"], ["y"])], {"x": [3], **many}, ["y"]), "takes 'x', .* and 996 more; got 'x'")
    refused(model([node("Relu", ["x"], ["y"])], {"x": [3]}, [f"o{k}" for k in range(1000)]), "'o0', .* and 995 more")


@pytest.mark.parametrize("name", ["\x1b[2J\u202e", "a" * 10**6, "line\nbreak"])
def test_names_that_are_no_words(name):
    """They cannot clear a terminal, and no message holds a megabyte of them."""
    network = load(model([node("Relu", ["x"], [name], name)], PICTURES, [name]))
    assert isinstance(network, OnnxNetwork)
    (layer,) = network.layers
    assert layer.isprintable()
    assert len(layer) <= 200
    refused(model([node("Add", ["x", name], ["y"], name)], {"x": [2], name: [2]}, ["y"]), "this model takes")
    refused(model([node(name, ["x"], ["y"], name)], {"x": [2]}, ["y"]), "is not one that xpcnn knows")
    refused(model([node("Relu", [name], ["y"], name)], {"x": [2]}, ["y"]), "which nothing gives")
    program = load(model([node("Concat", ["x", "c"], ["y"], name, axis=1)], PICTURES, ["y"], {"c": floats(1.0)}))
    assert program.why.isprintable()
    assert len(program.why) < 700


def test_names_that_are_no_text():
    data = model([node("Relu", ["x"], ["y"], "QQQQ")], {"x": [2]}, ["y"]).SerializeToString()
    for bad in (b"\xff\xfeQQ", b"QQ\x00Q"):
        with pytest.raises(CheckpointError, match="is no text"):
            load(data.replace(b"QQQQ", bad))


def test_names_between_an_operator_s_layers_meet_none_of_the_model():
    """SoftmaxCrossEntropyLoss and others go by way of a value of their own, here given the name of another."""
    nodes = [
        node("Neg", ["x"], ["y/cropped"]),
        node("CenterCropPad", ["x", "size"], ["y"], axes=[1]),
        node("Add", ["y/cropped", "y"], ["z"]),
    ]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for shape in ([None, 3], [None, None]):  # a Network and a Program
        found = load(model(nodes, {"x": shape}, ["z"], {"size": whole(3)}, opset=18)).run({"x": x})["z"]
        np.testing.assert_array_equal(found, np.zeros((2, 3)))


def attribute(kind: int, **fields) -> AttributeProto:
    made = AttributeProto(name="alpha", type=kind)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ([attribute(AttributeProto.FLOAT, f=0.1), attribute(AttributeProto.FLOAT, f=0.2)], "attribute twice"),
        ([attribute(AttributeProto.FLOAT, ref_attr_name="q")], "of a function"),
        ([attribute(AttributeProto.INT, i=3)], "node 'y' .*attribute type"),
        ([attribute(AttributeProto.FLOAT, i=3)], "node 'y' .*mismatch"),
        ([attribute(AttributeProto.GRAPH)], "of a kind that xpcnn does not read"),
    ],
)
def test_attributes_that_say_two_things_or_nothing(attributes, words):
    leaky = node("LeakyRelu", ["x"], ["y"])
    leaky.attribute.extend(attributes)
    refused(model([leaky], PICTURES, ["y"]), words)


def test_opsets_that_nobody_knows():
    for version in (0, -1, onnx.defs.onnx_opset_version() + 1, 2**62):
        proto = small_cnn()
        proto.opset_import[0].version = version
        with pytest.raises(UnsupportedOperator, match="opset"):
            load(proto)
    proto = small_cnn()
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 9))  # the same domain by its other name
    with pytest.raises(CheckpointError, match="two opsets"):
        load(proto)


@pytest.mark.parametrize("op", ["Squeeze", "Unsqueeze", "Reshape", "Expand", "Tile", "ReduceSum", "Resize"])
def test_axes_and_sizes_by_the_million(op):
    """An array of numbers is small, a list of them is not."""
    nodes = [
        node("ConstantOfShape", ["s"], ["many"], value=numpy_helper.from_array(whole(1))),
        node(op, ["x", "", "", "many"] if op == "Resize" else ["x", "many"], ["y"], "last"),
    ]
    refused(model(nodes, PICTURES, ["y"], {"s": whole(2**22)}, opset=18), "node 'last' .*4,194,304 numbers")


def test_text_is_not_multiplied():
    nodes = [node("Mul", ["s", "n"], ["r"], "much"), node("Shape", ["r"], ["y"])]
    proto = model(nodes, PICTURES, ["y"], {"s": np.array(["a" * 1000], dtype=object), "n": whole(10**9)})
    refused(proto, "node 'much' .* is text")


def test_inputs_of_no_type_are_no_samples():
    proto = small_cnn()
    proto.graph.input[0].type.tensor_type.elem_type = 0
    assert isinstance(load(proto), Program)  # None == numpy.dtype("float64"), says NumPy


def test_an_output_that_is_not_made():
    proto = model([node("Dropout", ["x"], ["a", "mask"]), node("Relu", ["a"], ["y"])], PICTURES, ["mask"])
    loaded = load(proto)  # a Network has no use for the mask, a Program gives it
    assert isinstance(loaded, Program)
    assert loaded.run({"x": np.ones((2, 2, 4, 4), np.float32)})["mask"].all()


def test_a_window_over_more_channels_than_there_are():
    proto = model([node("LRN", ["x"], ["y"], size=2**31 - 1)], PICTURES, ["y"])
    found = load(proto).run({"x": np.ones((2, 2, 4, 4), np.float32)})["y"]
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)  # alpha is shared out over all that the window sees


def test_numbers_out_of_one_file_again_and_again(tmp_path):
    proto = model([node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"], {f"c{i}": np.ones(4, np.float32) for i in range(9)})
    onnx.save_model(proto, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
    proto = onnx.load_model(str(tmp_path / "m.onnx"), load_external_data=False)
    (tmp_path / "m.bin").write_bytes(bytes(16))
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "offset":
                entry.value = "0"
    with pytest.raises(CheckpointError, match="again and again"):
        load(save(proto, tmp_path / "m.onnx"))


def test_pipes_are_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes by name on this system")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(CheckpointError, match="pipe"):
        load(tmp_path / "pipe.onnx")


def test_the_name_of_a_file_does_not_say_how_to_read_it(tmp_path):
    path = tmp_path / "m.json"  # the package onnx would read JSON
    path.write_bytes(small_cnn().SerializeToString())
    assert isinstance(load(path), OnnxNetwork)


def test_numbers_that_are_none():
    w = numpy_helper.from_array(floats(np.nan, np.inf, -np.inf, 1.0).reshape(1, 1, 2, 2), "w")
    proto = model([node("Conv", ["x", "w"], ["c"]), node("Exp", ["c"], ["y"])], {"x": ["N", 1, 4, 4]}, ["y"])
    proto.graph.initializer.append(w)
    assert np.isnan(load(proto).run({"x": np.ones((1, 1, 4, 4), np.float32)})["y"]).all()
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[2**33])
    proto.graph.initializer.append(tensor)
    refused(proto, "not a sound ONNX model")
