"""Data sets in one call, shaped as the book's `load_mnist` shapes them."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from xpcnn.data.dataset import as_float
from xpcnn.data.registry import load_dataset

__all__ = ["load_cifar10", "load_cifar100", "load_fashion_mnist", "load_mnist"]

Part = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def load_mnist(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part]:
    """MNIST as ((x_train, t_train), (x_test, t_test)): 60,000 and 10,000 digits of 28x28.

    normalize: float32 in 0..1 (divided by 255), else uint8. flatten: (N, 784), else (N, 1, 28, 28).
    one_hot_label: float32 (N, 10), else int64 (N,).
    data_dir: the folder to look in before $XPCNN_DATA and the user's cache folder; then MNIST is downloaded. Where no
    mirror answers, the 5,000 real digits of mnist-5k are returned, 4,000 and 1,000, with a warning of one line.

    Raises DataError where a file is damaged or mislabelled, or neither MNIST nor mnist-5k is to be had.
    """
    return _load("mnist", normalize, flatten, one_hot_label, data_dir)


def load_fashion_mnist(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part]:
    """Fashion-MNIST, shaped as `load_mnist`'s; DataError where it is neither found nor to be downloaded."""
    return _load("fashion-mnist", normalize, flatten, one_hot_label, data_dir)


def load_cifar10(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part]:
    """CIFAR-10: 50,000 and 10,000 pictures, (N, 3072) or (N, 3, 32, 32); otherwise as `load_fashion_mnist`."""
    return _load("cifar10", normalize, flatten, one_hot_label, data_dir)


def load_cifar100(
    normalize: bool = True,
    flatten: bool = True,
    one_hot_label: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part]:
    """CIFAR-100 with its 100 fine labels, shaped as `load_cifar10`'s."""
    return _load("cifar100", normalize, flatten, one_hot_label, data_dir)


def _load(
    name: str, normalize: bool, flatten: bool, one_hot_label: bool, data_dir: str | os.PathLike[str] | None
) -> tuple[Part, Part]:
    messages: list[str] = []
    data = load_dataset(name, data_dir, on_message=messages.append)
    if data.name != name:
        # Level 3 is the line that called load_mnist.
        warnings.warn(messages[-1], stacklevel=3)

    def part(x: np.ndarray[Any, Any], t: np.ndarray[Any, Any]) -> Part:
        if flatten:
            x = x.reshape(len(x), -1)
        if normalize:
            x = as_float(x)
        return x, (np.eye(len(data.classes), dtype=np.float32)[t] if one_hot_label else t)

    return part(data.x_train, data.t_train), part(data.x_test, data.t_test)
