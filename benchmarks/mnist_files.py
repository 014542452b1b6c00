"""MNIST's four idx files for libraries that do not bring a reader; NumPy and the standard library only."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

__all__ = ["read_mnist"]


def _values(folder: Path, pattern: str) -> np.ndarray:
    path = sorted(folder.glob(pattern))[0]
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_mnist(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x_train, t_train, x_test, t_test): float32 (N, 1, 28, 28) in 0..1, int64 (N,)."""
    found = []
    for part in ("train", "t10k"):
        x = _values(Path(folder), f"{part}-images?idx3-ubyte*")
        found += [
            x[:, None].astype(np.float32) / np.float32(255.0),
            _values(Path(folder), f"{part}-labels?idx1-ubyte*").astype(np.int64),
        ]
    return found[0], found[1], found[2], found[3]
