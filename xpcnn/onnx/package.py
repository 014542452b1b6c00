"""The package `onnx`, imported when first used: it is an extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from xpcnn.errors import ConfigError

__all__ = ["onnx_package"]


def onnx_package() -> ModuleType:
    """The package. Raises ConfigError with the install line where it is not installed."""
    try:
        package = importlib.import_module("onnx")
        for part in ("checker", "defs", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError('reading and writing ONNX needs the package onnx; pip install "xpcnn[onnx]"') from error
    return package
