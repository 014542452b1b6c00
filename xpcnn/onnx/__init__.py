"""ONNX in and out: `load` takes in what was trained elsewhere, `export` lets others run what was trained here.

Needs the extra `onnx`, which is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpcnn.onnx.backend import Backend
    from xpcnn.onnx.call import UnsupportedOperator
    from xpcnn.onnx.exporting import export
    from xpcnn.onnx.loading import load

__all__ = ["Backend", "UnsupportedOperator", "export", "load"]

_WHERE = {"Backend": "backend", "UnsupportedOperator": "call", "export": "exporting", "load": "loading"}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'xpcnn.onnx' has no attribute {name!r}")
    return getattr(importlib.import_module(f"xpcnn.onnx.{_WHERE[name]}"), name)
