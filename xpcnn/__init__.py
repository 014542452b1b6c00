"""xpcnn: convolutional neural networks from one readable source, on NumPy or CuPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from xpcnn.device import Device, asnumpy, get_array_module, get_device
from xpcnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    ShapeError,
    TrainingError,
    XpcnnError,
)

if TYPE_CHECKING:
    from xpcnn.network import Network, Sequential
    from xpcnn.training.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Device",
    "DeviceError",
    "Network",
    "Sequential",
    "ShapeError",
    "Trainer",
    "TrainingError",
    "XpcnnError",
    "__version__",
    "asnumpy",
    "get_array_module",
    "get_device",
]

# Loaded when first asked for, so that `import xpcnn` costs little more than NumPy.
_LATER = {
    "Network": "xpcnn.network",
    "Sequential": "xpcnn.network",
    "Trainer": "xpcnn.training.trainer",
    "layers": "",
    "models": "",
    "onnx": "",
    "ops": "",
    "datasets": "",
    "optimizers": "",
    "schedules": "",
    "training": "",
    "data": "",
    "sklearn": "",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'xpcnn' has no attribute {name!r}")
    module = importlib.import_module(_LATER[name] or f"xpcnn.{name}")
    return getattr(module, name) if _LATER[name] else module


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
