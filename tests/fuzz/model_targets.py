"""Readers of whole models: ONNX. What is loaded is run, too, on inputs of the shape that the file says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.harness import Target
from tests.fuzz.mutate import LENGTHS
from tests.onnx.making import model, node, small_cnn
from xpcnn.errors import XpcnnError
from xpcnn.onnx import sizes
from xpcnn.onnx.call import OPERATORS
from xpcnn.onnx.loading import load
from xpcnn.onnx.program import Program

__all__ = ["TARGETS"]

_LIMITS = {"ALWAYS": 32 << 20, "A_SAMPLE": 8 << 20}  # in place of those of `sizes`, so that what goes beyond is seen
_FED = 2**16  # elements of an input that is tried


def _ones(*shape: int) -> np.ndarray:
    return np.linspace(0.5, 1.5, math.prod(shape), dtype=np.float32).reshape(shape)


def _whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _chains() -> list[Any]:
    """One model for each family of operators, each a few nodes on one picture or table."""
    image, table, vector = {"x": ["N", 2, 4, 4]}, {"x": ["N", 6]}, {"x": [6]}
    made = [
        model(
            [
                node("Resize", ["x", "", "scales"], ["a"], mode="linear"),
                node("Resize", ["a", "", "", "sizes"], ["b"], mode="cubic"),
                node("Pad", ["b", "pads", "value"], ["c"], mode="constant"),
                node("Pad", ["c", "pads"], ["y"], mode="reflect"),
            ],
            image,
            ["y"],
            {
                "scales": np.array([1, 1, 2, 0.5], np.float32),
                "sizes": _whole(1, 2, 5, 3),
                "pads": _whole(0, 0, 1, 0, 0, 0, 1, 2),
                "value": np.array(2.0, np.float32),
            },
        ),
        model(
            [
                node("ConvTranspose", ["x", "W"], ["a"], strides=[2, 2], pads=[0, 1, 0, 1], output_padding=[1, 1]),
                node("Conv", ["a", "V", "b"], ["c"], dilations=[2, 1], pads=[1, 1, 1, 1], group=1),
                node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2], pads=[1, 0, 1, 0], ceil_mode=1),
                node("LpPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[1, 2], p=2),
                node("GlobalMaxPool", ["e"], ["y"]),
            ],
            image,
            ["y"],
            {"W": _ones(2, 3, 2, 2), "V": _ones(2, 3, 2, 3), "b": _ones(2)},
        ),
        model(
            [
                node("MaxPool", ["x"], ["a", "places"], kernel_shape=[2, 2], strides=[2, 2]),
                node("MaxUnpool", ["a", "places"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
                node("BatchNormalization", ["b", "g", "g", "g", "g"], ["c"], epsilon=0.1),
                node("InstanceNormalization", ["c", "g", "g"], ["d"]),
                node("LayerNormalization", ["d", "scale"], ["e"], axis=-1),
                node("LRN", ["e"], ["y"], size=3),
            ],
            {"x": [1, 2, 4, 4]},
            ["y"],
            {"g": _ones(2), "scale": _ones(4)},
        ),
        model(
            [
                node("Slice", ["x", "starts", "ends", "axes", "steps"], ["a"]),
                node("ReduceMean", ["a"], ["b"], axes=[2], keepdims=1),
                node("Concat", ["a", "b"], ["c"], axis=2),
                node("Gather", ["c", "places"], ["d"], axis=1),
                node("Split", ["d", "parts"], ["e", "f"], axis=1),
                node("Transpose", ["e"], ["y"], perm=[0, 3, 1, 2]),
            ],
            image,
            ["y"],
            {
                "starts": _whole(0, 1),
                "ends": _whole(3, 4),
                "axes": _whole(2, 3),
                "steps": _whole(1, 2),
                "places": _whole(0, 1, -1),
                "parts": _whole(1, 2),
            },
        ),
        model(
            [
                node("Range", ["zero", "six", "one"], ["a"]),
                node("Expand", ["a", "shape"], ["b"]),
                node("Tile", ["b", "repeats"], ["c"]),
                node("ConstantOfShape", ["shape"], ["d"], value=numpy_helper.from_array(_whole(2))),
                node("Add", ["b", "d"], ["e"]),
                node("OneHot", ["e", "depth", "values"], ["f"], axis=-1),
                node("ReduceSum", ["f", "axes"], ["g"], keepdims=0),
                node("CumSum", ["g", "one"], ["h"]),
                node("EyeLike", ["h"], ["i"], k=1),
                node("Add", ["x", "i"], ["y"]),
            ],
            {"x": [3, 6]},
            ["y"],
            {
                "zero": np.array(0),
                "six": np.array(6),
                "one": np.array(1),
                "shape": _whole(3, 6),
                "repeats": _whole(2, 1),
                "depth": np.array(4),
                "values": _ones(2),
                "axes": _whole(2),
            },
        ),
        model(
            [
                node("Shape", ["x"], ["s"], start=0),
                node("Gather", ["s", "zero"], ["n"], axis=0),
                node("Unsqueeze", ["n", "axes"], ["n1"]),
                node("Concat", ["n1", "minus"], ["to"], axis=0),
                node("Reshape", ["x", "to"], ["a"]),
                node("ConstantOfShape", ["s"], ["z"]),
                node("Reshape", ["z", "to"], ["z1"]),
                node("Add", ["a", "z1"], ["y"]),
            ],
            image,
            ["y"],
            {"zero": np.array(0), "axes": _whole(0), "minus": _whole(-1)},
        ),
        model(
            [
                node("MatMul", ["x", "W"], ["a"]),
                node("Mul", ["a", "c"], ["b"]),
                node("Clip", ["b", "low", "high"], ["d"]),
                node("Pow", ["d", "two"], ["e"]),
                node("Max", ["e", "c"], ["f"]),
                node("PRelu", ["f", "c"], ["g"]),
                node("Dropout", ["g"], ["h"]),
                node("LogSoftmax", ["h"], ["y"], axis=-1),
            ],
            table,
            ["y"],
            {"W": _ones(6, 4), "c": _ones(4), "low": np.float32(0), "high": np.float32(6), "two": np.float32(2)},
        ),
        model(
            [
                node("TopK", ["x", "k"], ["a", "i"], axis=-1),
                node("GatherElements", ["x", "i"], ["b"], axis=0),
                node("Greater", ["b", "c"], ["m"]),
                node("Where", ["m", "a", "c"], ["d"]),
                node("Cast", ["d"], ["e"], to=TensorProto.INT64),
                node("Trilu", ["grid"], ["t"], upper=1),
                node("ScatterElements", ["x", "i", "a"], ["f"], axis=0, reduction="add"),
                node("ArgMax", ["f"], ["g"], axis=0, keepdims=1),
                node("Add", ["e", "g"], ["h"]),
                node("Einsum", ["grid", "grid"], ["j"], equation="ij,kj->ik"),
                node("NonZero", ["j"], ["y"]),
            ],
            vector,
            ["h", "y", "t"],
            {"k": _whole(3), "c": _ones(3), "grid": _ones(3, 3)},
        ),
        model(
            [
                node("DepthToSpace", ["x"], ["a"], blocksize=1, mode="CRD"),
                node("SpaceToDepth", ["a"], ["b"], blocksize=2),
                node("Squeeze", ["b", "axes"], ["c"]),
                node("Unsqueeze", ["c", "axes"], ["d"]),
                node("Flatten", ["d"], ["e"], axis=1),
                node("Gemm", ["e", "B", "C"], ["f"], alpha=0.5, beta=2.0, transB=1),
                node("Softmax", ["f"], ["y"], axis=1),
            ],
            {"x": ["N", 1, 2, 4]},
            ["y"],
            {"axes": _whole(2), "B": _ones(3, 8), "C": _ones(3)},
        ),
        model(
            [
                node("Shape", ["x"], ["s"], end=1),
                node("Concat", ["s", "sizes"], ["want"], axis=0),
                node("Equal", ["want", "minus"], ["left"]),
                node("Where", ["left", "ones", "want"], ["to"]),
                node("Expand", ["x", "to"], ["y"]),
            ],
            {"x": ["N", 3, 1]},
            ["y"],
            {"sizes": _whole(-1, 4), "minus": _whole(-1, -1, -1), "ones": _whole(1, 1, 1)},
        ),
        model([node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 1.5])], image, ["y"], opset=7),
    ]
    return [small_cnn(), *made]


_MODELS = _chains()
_NUMBERS = (
    0,
    0,
    1,
    1,
    2,
    3,
    5,
    -1,
    -1,
    -2,
    7,
    1000,
    65536,
    10**6,
    *LENGTHS,
    2**31,
    -(2**31),
    2**62,
    -(2**62),
    -(2**63),
)
_FLOATS = (0.0, -1.0, 1.0, 0.5, 1e-9, 1e9, 1e38, float("nan"), float("inf"), -float("inf"), 3.7)


def _number(rng: Random) -> int:
    value = rng.choice(_NUMBERS) if rng.random() < 0.8 else rng.randint(-9, 99)
    return (value + 2**63) % 2**64 - 2**63


# ------------------------------------------------------------------------------ changes to a whole model
def _attribute(rng: Random, proto: Any) -> None:
    found = [a for n in proto.graph.node for a in n.attribute]
    if not found:
        return
    a = rng.choice(found)
    if a.type == onnx.AttributeProto.INTS:
        if a.ints and rng.random() < 0.8:
            a.ints[rng.randrange(len(a.ints))] = _number(rng)
        else:
            a.ints.append(_number(rng))
    elif a.type == onnx.AttributeProto.INT:
        a.i = _number(rng)
    elif a.type == onnx.AttributeProto.FLOAT:
        a.f = rng.choice(_FLOATS)
    elif a.type == onnx.AttributeProto.FLOATS and a.floats:
        a.floats[rng.randrange(len(a.floats))] = rng.choice(_FLOATS)
    elif a.type == onnx.AttributeProto.STRING:
        words = (b"", b"SAME_UPPER", b"VALID", b"NOTSET", b"edge", b"wrap", b"cubic", b"nearest", b"linear", b"mul",
                 b"...ij->ji", b"ij,kl->ijkl", b"i" * 99, b"\xff\x00", b"\x1b[2J" * 500)  # fmt: skip
        a.s = rng.choice(words)


def _more_attributes(rng: Random, proto: Any) -> None:
    names = ("axis", "axes", "kernel_shape", "pads", "strides", "dilations", "auto_pad", "group", "ceil_mode", "mode",
             "keepdims", "allowzero", "perm", "noop_with_empty_axes", "output_shape", "num_outputs", "antialias",
             "coordinate_transformation_mode", "keep_aspect_ratio_policy", "storage_order", "exclusive", "batch_dims",
             "count_include_pad", "training_mode", "p", "to", "end", "start", "dtype", "seed")  # fmt: skip
    value: Any = rng.choice(
        (_number(rng), [_number(rng) for _ in range(rng.randint(1, 5))], rng.choice(_FLOATS), "SAME_LOWER",
         "align_corners", "tf_crop_and_resize", "not_larger")
    )  # fmt: skip
    n = rng.choice(proto.graph.node)
    n.attribute.append(helper.make_attribute(rng.choice(names), value))


def _constant(rng: Random, proto: Any) -> None:
    """Other numbers, or another shape or type, in an array of the file."""
    if not proto.graph.initializer:
        return
    tensor = rng.choice(proto.graph.initializer)
    try:
        a = np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError):  # an earlier change has broken it
        return
    pick = rng.random()
    if pick < 0.6 and a.size and a.dtype != object:
        flat = a.reshape(-1)
        value: Any = _number(rng) if a.dtype.kind in "iu" else rng.choice(_FLOATS)
        with np.errstate(all="ignore"):
            flat[rng.randrange(flat.size)] = np.array(value).astype(a.dtype)
    elif pick < 0.7 and a.dtype != object:
        with np.errstate(all="ignore"):
            a = a.astype(rng.choice(("float32", "float64", "float16", "int64", "int32", "uint8", "bool", "complex64")))
    elif pick < 0.8 and a.dtype != object:
        a = np.resize(a, rng.choice(((), (0,), (1,), (2, 1), (1, 1, 1, 1), (8,), (3, 0), (2, 3, 4))))
    elif pick < 0.9:
        a = np.array(["a", "b" * 999, "\x1b"], dtype=object)
    else:
        tensor.dims.append(_number(rng))
        return
    tensor.CopyFrom(numpy_helper.from_array(a, tensor.name))


def _broken_constant(rng: Random, proto: Any) -> None:
    if proto.graph.initializer:
        tensor = rng.choice(proto.graph.initializer)
        if rng.random() < 0.5 and tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = _number(rng)
        else:
            tensor.data_type = rng.randint(0, 30)


def _wires(rng: Random, proto: Any) -> None:
    names = [*(i.name for i in proto.graph.input), *(t.name for t in proto.graph.initializer), ""]
    names += [name for n in proto.graph.node for name in n.output]
    n = rng.choice(proto.graph.node)
    if n.input and rng.random() < 0.7:
        n.input[rng.randrange(len(n.input))] = rng.choice(names)
    elif rng.random() < 0.5:
        n.input.append(rng.choice(names))
    else:
        proto.graph.output[0].name = rng.choice(names)


def _nodes(rng: Random, proto: Any) -> None:
    """A node left out, put in again under another output, or of another type."""
    at = rng.randrange(len(proto.graph.node))
    pick = rng.random()
    if pick < 0.3 and len(proto.graph.node) > 1:
        gone = proto.graph.node[at]
        for n in proto.graph.node:
            for i, name in enumerate(n.input):
                if name in gone.output and gone.input:
                    n.input[i] = gone.input[0]
        del proto.graph.node[at]
    elif pick < 0.6:
        copies = rng.choice((1, 2, 30))
        last = proto.graph.output[0].name
        for k in range(copies):
            n = proto.graph.node.add()
            n.CopyFrom(proto.graph.node[at])
            n.input[:] = [last, *n.input[1:]]
            n.output[:] = [f"again{k}", *(f"{name}/{k}" for name in n.output[1:])]
            last = f"again{k}"
        proto.graph.output[0].name = last
    else:
        domain, proto.graph.node[at].op_type = rng.choice(sorted(OPERATORS))
        proto.graph.node[at].domain = domain


def _doubled(rng: Random, proto: Any) -> None:
    """Each takes twice what the one before made: 2**40 elements after 40 lines."""
    op, at = rng.choice(("Concat", "MatMul", "Add", "Einsum")), proto.graph.output[0].name
    for k in range(rng.choice((3, 40))):
        extra = {"Concat": {"axis": 0}, "Einsum": {"equation": "...i,...j->...ij"}}.get(op, {})
        second = at
        if op == "Add":
            proto.graph.node.append(node("Unsqueeze", [at, "first axis"], [f"up{k}"]))
            second = f"up{k}"
        proto.graph.node.append(node(op, [at, second], [f"twice{k}"], **extra))
        at = f"twice{k}"
    if op == "Add":
        proto.graph.initializer.append(numpy_helper.from_array(_whole(rng.choice((0, 1, -1))), "first axis"))
    proto.graph.output[0].name = at


def _ends(rng: Random, proto: Any) -> None:
    tensor = proto.graph.input[0].type.tensor_type
    if rng.random() < 0.3:
        tensor.elem_type = rng.randint(0, 25)
    elif tensor.shape.dim and rng.random() < 0.8:
        rng.choice(tensor.shape.dim).dim_value = _number(rng)
    else:
        tensor.shape.dim.add().dim_value = rng.choice((1, 2, 3))


def _opset(rng: Random, proto: Any) -> None:
    proto.opset_import[0].version = rng.choice((*range(1, 29), -1, 0, 99, 2**62))


def _names(rng: Random, proto: Any) -> None:
    name = rng.choice(("\x1b[2J", "a" * 10**5, "\u202e", "y/part", "input", "", "0", "same"))
    for n in proto.graph.node if rng.random() < 0.5 else [rng.choice(proto.graph.node)]:
        n.name = name


_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    _attribute, _attribute, _attribute, _more_attributes, _constant, _constant, _constant, _broken_constant, _wires,
    _nodes, _doubled, _ends, _opset, _names,
)  # fmt: skip


def _changed(rng: Random) -> bytes:
    """A whole model in which one to three things are not what they should be."""
    proto = onnx.ModelProto()
    proto.CopyFrom(rng.choice(_MODELS))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_CHANGES)(rng, proto)
    return proto.SerializeToString()


def _run(path: Path) -> object:
    """Loads the model and runs it, if its inputs are of a size that anybody would give it."""
    with mock.patch.multiple(sizes, **_LIMITS):
        loaded = load(path)
        feeds = {}
        for value in loaded.model_inputs:
            shape = [2 if n is None else n for n in value.shape or ()]
            if value.dtype is None or value.dtype.kind not in "biuf" or math.prod(shape) > _FED:
                return None
            count = np.arange(math.prod(shape)) % 7
            feeds[value.name] = count.astype(value.dtype).reshape(shape)
        try:
            return loaded.run(feeds)
        except XpcnnError:
            assert isinstance(loaded, Program), "a Network fits what it was made for"
            raise


TARGETS = [
    Target(
        "onnx",
        lambda: [proto.SerializeToString() for proto in _MODELS],
        _run,
        ".onnx",
        tokens=(b"Conv", b"Relu", b"Gemm", b"Softmax", b"kernel_shape", b"axis", b"\x0a\x05", b"\x08\x07"),
        make=_changed,
    )
]
