"""Convolution kernels compiled at run time for the shape and the processor at hand (extra `fast`: llvmlite).

    if available():
        kernels = ConvKernels(16, 32, 3, 3, IW=30)
        kernels.forward(x, w, b, out, relu=True)        # NHWC, float32; w is (FH, FW, C, FN)

docs/compiled.md tells how. Importing this imports no LLVM.
"""

from __future__ import annotations

import functools
import os

import numpy as np

from xpcnn.ops.cpu.compiled.cache import cache_folder
from xpcnn.ops.cpu.compiled.kernels import ConvKernels
from xpcnn.ops.cpu.compiled.llvm import CompileError

__all__ = ["CompileError", "ConvKernels", "available", "cache_folder", "why_not"]


def available() -> bool:
    """Whether kernels can be compiled and run here; the first call finds out by doing it once."""
    return not why_not()


def why_not() -> str:
    """Why `available` says no, in a line; "" where it says yes. XPCNN_COMPILED=0 in the environment switches off."""
    if os.environ.get("XPCNN_COMPILED", "").strip() == "0":
        return "switched off by XPCNN_COMPILED=0"
    return _trial()


@functools.cache
def _trial() -> str:
    """Compiles the smallest kernel and runs it: 3 * 2 + 1."""
    x, w, b, out = (np.full(shape, value, np.float32) for shape, value in _TRIAL)
    try:
        ConvKernels(1, 1, 1, 1, IW=1).forward(x, w, b, out)
    except CompileError as error:
        return str(error)
    return "" if out.item() == 7.0 else f"a trial kernel gave {out.item()} for 3 * 2 + 1"


_TRIAL = (((1, 1, 1, 1), 3.0), ((1, 1, 1, 1), 2.0), ((1,), 1.0), ((1, 1, 1, 1), 0.0))
