"""Sizes that no array can have, or no machine: an error in words before any memory is taken."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from xpcnn import Network, Sequential
from xpcnn.device import Device
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import (
    Affine,
    Concatenate,
    Convolution,
    Flatten,
    LocalResponseNormalization,
    Pooling,
    affine,
    average_pool,
    conv,
    lrn,
    max_pool,
)
from xpcnn.models import DeepConvNet, LeNet5, SimpleConvNet
from xpcnn.ops import col2im, im2col, reference
from xpcnn.ops.geometry import check_size, window_output

HUGE = 10**12  # its square is beyond 63 bits
x = np.zeros((2, 1, 6, 6), np.float32)
W = np.zeros((3, 1, 2, 2), np.float32)


@pytest.fixture(autouse=True)
def takes_no_memory() -> Iterator[None]:
    """Whatever is refused here, and how: under 4 MB."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "item", "words"),
    [
        ((2**31, 2**31, 8), 1, r"columns of shape .* would take .* GiB"),  # 0 in 64 bits
        ((2**32 + 1, 2**32 + 1), 1, "would take"),  # 2**33 + 1 in 64 bits
        ((3, 2**62), 4, "would take"),
        ((2**50,), 1, "1,048,576 GiB, this machine has .* GiB; take smaller pictures, batches or layers"),
    ],
)
def test_check_size(shape: tuple[int, ...], item: int, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        check_size(shape, item, "columns")


def test_a_gpu_has_its_own_memory() -> None:
    check_size((2**50,), 4, "columns", host=False)
    with pytest.raises(ShapeError, match="more than there are addresses"):
        check_size((2**62,), 4, "columns", host=False)
    check_size((0, 2**62, 2**62), 8, "nothing")
    check_size((), 8, "one number")


OPERATIONS: dict[str, Callable[[], object]] = {
    "im2col, pad": lambda: im2col(x, 2, 2, pad=HUGE),
    "im2col, pad on one side": lambda: im2col(x, 2, 2, pad=(0, 0, 0, 2**62)),
    "im2col, pad and stride": lambda: im2col(x, 2, 2, stride=10**6, pad=10**6),
    "im2col, wide window": lambda: im2col(x, 10**6, 10**6, pad=10**6),
    "im2col, one view of many": lambda: im2col(np.broadcast_to(x[:1], (10**9, 10**4, 6, 6)), 2, 2),
    "col2im": lambda: col2im(np.zeros((1, 4), np.float32), (2**40, 1, 2**40, 2), 2, 2),
    "fold": lambda: reference.fold(np.zeros((1, 1, 2, 2, 5, 5), np.float32), (2**20, 2**20, 6, 6)),
    "convolution": lambda: reference.conv2d_forward(x, W, pad=10**9),
    "max pooling": lambda: reference.max_pool2d_forward(x, HUGE, HUGE, 1, HUGE - 1),
    "average pooling": lambda: reference.average_pool2d_forward(x, 10**6, 10**6, 10**6, 10**6 - 1),
    "window_output": lambda: window_output((6, 6), (1, 1), 1, (2**40, 2**40)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name: str) -> None:
    with pytest.raises(ShapeError):
        OPERATIONS[name]()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Convolution(W, pad=HUGE), (1, 6, 6)),
        (Convolution(W, stride=10**7, pad=10**7), (1, 6, 6)),
        (Convolution(W), (1, 2**40, 2**40)),
        (Pooling(2, 2, 1), (1, 2**40, 2**40)),
        (Pooling(10**7, 10**7, 10**7, 10**7 - 1, "average"), (1, 6, 6)),
    ],
)
def test_layers_know_it_from_the_shape_alone(layer: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="one padded channel of shape .* would take"):
        layer.output_shape(shape)


def test_sizes_are_not_rounded_or_wrapped() -> None:
    assert Flatten().output_shape((2**40, 2**40, 3)) == (3 * 2**80,)
    assert Concatenate().output_shape((2**63, 2), (2**63, 2)) == (2**64, 2)
    with pytest.raises(ShapeError, match="wanted 4 inputs, got 18446744073709551620"):
        Affine(np.zeros((4, 2))).output_shape((2**64 + 4,))


NETWORKS: dict[str, tuple[list[Any], tuple[int, ...], str]] = {
    "affine": ([affine(HUGE)], (1, 28, 28), "layer 'affine1' after 'input': parameters of shape"),
    "affine, wrapping to 0": ([affine(2**32)], (2**32,), "layer 'affine1' after 'input': parameters"),
    "filters": ([conv(HUGE, 3)], (1, 28, 28), "layer 'conv1' after 'input': parameters"),
    "size": ([conv(4, HUGE, pad=HUGE)], (1, 28, 28), "layer 'conv1' after 'input': parameters"),
    "pad": ([conv(4, 3, pad=10**9)], (1, 28, 28), "layer 'conv1' after 'input': one padded channel"),
    "output": (
        [conv(2, 1, pad=10**4), conv(10**5, 1)],
        (1, 28, 28),
        "layer 'conv2' after 'conv1': one sample's output",
    ),
    "input": ([average_pool(1)], (1, 2**40, 2**40), "layer 'pool1' after 'input': one padded channel"),
    "flat input": (["relu"], (2**62,), "layer 'relu1' after 'input': one sample's output"),
    "pool": ([max_pool(1, stride=1), "flatten"], (2**30, 2**10, 2**10), "layer 'pool1' after 'input'"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_name_the_layer(name: str) -> None:
    layers, shape, words = NETWORKS[name]
    with pytest.raises(ShapeError, match=words):
        Sequential(layers, shape, seed=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimpleConvNet(hidden_size=HUGE),
        lambda: SimpleConvNet((1, HUGE, HUGE)),
        lambda: SimpleConvNet(conv_param={"filter_num": HUGE, "filter_size": 5, "pad": 0, "stride": 1}),
        lambda: DeepConvNet(output_size=HUGE),
        lambda: LeNet5(output_size=HUGE),
    ],
)
def test_models(make: Callable[[], Network]) -> None:
    with pytest.raises(ShapeError, match="GiB"):
        make()


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", None, True, [3]])
def test_sizes_that_are_no_whole_numbers(size: Any) -> None:
    for make in (
        lambda: affine(size),
        lambda: conv(size, 3),
        lambda: conv(4, size),
        lambda: Sequential([conv(4, 3, groups=size)], (4, 6, 6)),
        lambda: Sequential([max_pool(size)], (4, 6, 6)),  # [3] is a size, of sequences
        lambda: Sequential([average_pool(size)], (4, 6, 6)),
        lambda: Sequential([lrn(size)], (4, 6, 6)),
        lambda: LocalResponseNormalization(size),
        lambda: SimpleConvNet(hidden_size=size),
        lambda: SimpleConvNet(output_size=size),
    ):
        with pytest.raises((ConfigError, ShapeError)):
            make()


def test_a_devices_windows_are_only_counted(device: Device) -> None:
    """What is refused on the host for want of memory is left to a GPU to refuse; what cannot be is refused by both."""
    with pytest.raises(ShapeError, match="would take"):
        im2col(device.asarray(x), 2, 2, pad=2**31)
