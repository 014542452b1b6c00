"""A data set in memory: pictures and labels, for training and for testing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.errors import DataError

__all__ = ["Dataset", "as_float"]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no generated ==
class Dataset:
    """Pictures and labels.

    x_train, x_test: uint8 (N, C, H, W). t_train, t_test: int64 (N,), indices into `classes`.
    source: where it was read from, for people.
    """

    name: str
    x_train: np.ndarray[Any, Any]
    t_train: np.ndarray[Any, Any]
    x_test: np.ndarray[Any, Any]
    t_test: np.ndarray[Any, Any]
    classes: tuple[str, ...]
    source: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    def checked(self) -> Dataset:
        """This data set, once shapes, dtypes, lengths and labels are seen to fit together; else DataError."""
        if not self.classes:
            raise self._fault("has no classes")
        for part, x, t in (("training", self.x_train, self.t_train), ("test", self.x_test, self.t_test)):
            if x.dtype != np.uint8 or x.ndim != 4 or 0 in x.shape[1:]:
                raise self._fault(f"{part} pictures must be uint8 (N, C, H, W), not {x.dtype} {x.shape}")
            if t.dtype != np.int64 or t.ndim != 1:
                raise self._fault(f"{part} labels must be int64 (N,), not {t.dtype} {t.shape}")
            if len(x) != len(t):
                raise self._fault(f"{len(x):,} {part} pictures but {len(t):,} labels; they must be as many")
            if len(x) == 0:
                raise self._fault(f"the {part} set is empty")
            if t.min() < 0 or t.max() >= len(self.classes):
                wrong = int(np.flatnonzero((t < 0) | (t >= len(self.classes)))[0])
                raise self._fault(
                    f"{part} label {wrong} is {t[wrong]}, but with {len(self.classes)} classes "
                    f"labels go from 0 to {len(self.classes) - 1}"
                )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise self._fault(
                f"training pictures are {self.x_train.shape[1:]} and test pictures {self.x_test.shape[1:]}"
            )
        return self

    def _fault(self, reason: str) -> DataError:
        return DataError(f"{self.name} ({self.source}): {reason}")


def as_float(x: np.ndarray[Any, Any], dtype: str = "float32") -> np.ndarray[Any, Any]:
    """uint8 pictures as floats in 0..1: x / 255 in `dtype`, same shape, without a second temporary array."""
    result: np.ndarray[Any, Any] = np.divide(x, 255.0, dtype=np.dtype(dtype))
    return result
