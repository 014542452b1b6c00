from __future__ import annotations

import importlib.resources
import re

import numpy as np
import pytest

from xpcnn.device import Device
from xpcnn.errors import DeviceError, ShapeError
from xpcnn.ops.cuda import fused, module


def test_numpy_arrays_are_refused() -> None:
    with pytest.raises(DeviceError, match="the CUDA kernel bias_relu got NumPy arrays; bring them to the GPU"):
        fused.bias_relu(np.zeros((2, 3), dtype="float32"), None)


def test_arrays_that_are_not_contiguous_are_refused(gpu: Device) -> None:
    with pytest.raises(ShapeError, match=r"bias_relu got an array of shape \(3, 2\) that is not C-contiguous"):
        fused.bias_relu(gpu.xp.zeros((2, 3), dtype="float32").T, None)


def test_a_null_pointer_is_an_address_of_0(gpu: Device) -> None:
    assert module._null(gpu.xp).ptr == 0


def test_sums_are_shared_by_the_shape_alone() -> None:
    assert module.parts_of(100, 3) == 1  # too few elements for a second block
    assert module.parts_of(2049, 3) == 2
    assert module.parts_of(10**6, 1) == module.PARTS
    assert module.parts_of(10**6, 256) == 3  # enough channels to fill the card
    assert module.parts_of(0, 0) == 1


def test_every_kernel_has_its_caller() -> None:
    """No kernel lies about unused, and every one that is named exists."""
    folder = importlib.resources.files("xpcnn.ops.cuda")
    python = "".join(f.read_text() for f in folder.iterdir() if f.name.endswith(".py"))
    kernels = [f for f in (folder / "kernels").iterdir() if f.name.endswith(".cu")]
    assert kernels
    for file in kernels:
        assert f'"{file.name[:-3]}"' in python
        for name in re.findall(r"__global__ void (\w+)\(", file.read_text()):
            assert f'"{name}"' in python, f"{name} of {file.name} is never launched"
