"""The workload's network as an ONNX file, by the `onnx` package's helper and with xpcnn's parameters.

As a script it writes the file for onnxruntime's worker, whose memory is then measured without `onnx` in it:
    python onnx_model.py NET BATCH FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["model"]


def model(net: Net, batch: int) -> onnx.ModelProto:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError
