"""Arrays that a model makes out of nothing, or of a shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcnn.onnx.call import Call, Known, Translated, operator
from xpcnn.onnx.function import Function
from xpcnn.onnx.operators.shape import ints
from xpcnn.ops.geometry import check_size

# TensorProto.DataType: numbers of the dtypes that NumPy has, too.
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


@operator("Constant", 1, 9, 11, 12, 13, 19, 21, 23, 24, 25)
def constant(call: Call) -> Translated:
    for name, dtype in (("value_int", "int64"), ("value_ints", "int64")):
        if name in call.attributes:
            return Known(np.array(call.attributes[name], dtype), call.outputs[0])
    for name, dtype in (("value_float", "float32"), ("value_floats", "float32")):
        if name in call.attributes:
            return Known(np.array(call.attributes[name], dtype), call.outputs[0])
    if "value" not in call.attributes:
        raise call.unsupported(f"its value is given by {', '.join(call.attributes) or 'nothing'}")
    return Known(call.attributes["value"], call.outputs[0])


@operator("ConstantOfShape", 9, 20, 21, 23, 24, 25)
def constant_of_shape(call: Call) -> Translated:
    shape = ints(call.constant(0))
    value = np.asarray(call.attribute("value", np.zeros(1, dtype=np.float32))).reshape(-1)
    if min(shape, default=0) < 0 or value.size != 1:
        raise call.unsupported(f"{value.size} values for the shape {shape}")
    check_size(shape, value.dtype.itemsize, f"{call}: an array")
    return Known(np.full(shape, value[0], dtype=value.dtype), call.outputs[0])


@operator("Range", 11, 27)
def range_(call: Call) -> Translated:
    start, limit, step = (np.asarray(call.constant(i)).reshape(-1)[0] for i in range(3))
    if step == 0:
        raise call.unsupported("its step is 0")
    if not all(np.isfinite(n) for n in (start, limit, step)):
        raise call.unsupported(f"its limits are {start} and {limit}, its step is {step}")
    length = math.ceil((limit.item() - start.item()) / step.item())
    check_size((max(0, length),), 8, f"{call}: an array")
    numbers = np.arange(max(0, length), dtype=np.int64 if start.dtype.kind in "iu" else np.float64)
    numbers *= step.item()
    numbers += start.item()
    return Known(numbers.astype(start.dtype, copy=False), call.outputs[0])


@operator("EyeLike", 9, 22)
def eye_like(call: Call) -> Translated:
    call.need_program("an identity matrix is of no sample")
    code = call.attribute("dtype")
    if code is not None and code not in _DTYPES:
        raise call.unsupported(f"it wants the data type numbered {code}")
    dtype: Any = call.dtype(0) if code is None else _DTYPES[code]
    if len(call.shape(0)) != 2:
        raise call.unsupported(f"an array of shape {call.shape(0)} is no matrix")
    rows, columns = call.shape(0)
    return Known(np.eye(rows, columns, call.attribute("k", 0), dtype=dtype), call.outputs[0])


@operator("Trilu", 14)
def triangle(call: Call) -> Translated:
    call.need_program("a triangle of a matrix has no layer")
    k = ints(call.constant(1, 0))[0]
    name = "triu" if call.attribute("upper", 1) else "tril"
    return call.apply(Function(lambda xp, x: getattr(xp, name)(x, k), name="Trilu"))
