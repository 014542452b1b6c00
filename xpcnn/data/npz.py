"""Data sets in NumPy's .npz files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.atomic import atomic_write
from xpcnn.data.dataset import Dataset
from xpcnn.data.split import stratified_split
from xpcnn.errors import CheckpointError, DataError
from xpcnn.formats.limits import one_line
from xpcnn.formats.npz import load_npz as load_arrays

__all__ = ["load_npz", "save_npz"]

_MOST_CLASSES = 1 << 16
_BLOCK = 1 << 20  # elements made whole at a time


def load_npz(path: str | os.PathLike[str], *, seed: int = 0, test_fraction: float = 0.2) -> Dataset:
    """Read x_train and t_train, and x_test and t_test where given; t_ may also be spelt y_. Pickles are refused.

    x: (N, H, W), (N, C, H, W), or (N, H, W, C) with 1 or 3 channels last; uint8, other whole numbers in 0..255, or
    floats that are such numbers, or such numbers / 255. t: whole numbers, (N,) or (N, 1).
    classes: their names where the file has an array of this name, else "0", "1", ...
    Without a test set, about `test_fraction` of every class becomes it, chosen from `seed`.

    Raises DataError with the file and the reason.
    """
    path = Path(path)
    try:
        arrays = load_arrays(path, lambda present: _names(present, path))
    except CheckpointError as error:
        reason = str(error).removeprefix(f"cannot read {os.fspath(path)!r}: ")
        raise DataError(f"{path}: cannot be read as .npz ({reason})") from error
    named = {("t" + name[1:] if name.startswith("y_") else name): array for name, array in arrays.items()}
    x, t = _pictures(named["x_train"], f"{path}: x_train"), _labels(named["t_train"], f"{path}: t_train")
    if len(x) != len(t):
        raise DataError(f"{path}: {len(x):,} training pictures but {len(t):,} labels; they must be as many")
    if "x_test" in named:
        x_test, t_test = _pictures(named["x_test"], f"{path}: x_test"), _labels(named["t_test"], f"{path}: t_test")
    else:
        kept, held_out = stratified_split(t, seed, test_fraction)
        x, x_test, t, t_test = x[kept], x[held_out], t[kept], t[held_out]
    classes = _classes(named.get("classes"), [part for part in (t, t_test) if len(part)], path)
    return Dataset(path.stem, x, t, x_test, t_test, classes, str(path)).checked()


def save_npz(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a data set so that `load_npz` gives it back: the four arrays and the classes' names, compressed."""
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            x_train=dataset.x_train,
            t_train=dataset.t_train,
            x_test=dataset.x_test,
            t_test=dataset.t_test,
            classes=np.array(dataset.classes),
        )


def _names(present: list[str], path: Path) -> list[str]:
    """The names to read, once it is clear that they make a data set."""
    chosen = {}
    for part in ("x_train", "t_train", "x_test", "t_test"):
        spellings = [part, "y" + part[1:]] if part.startswith("t") else [part]
        chosen[part] = [name for name in spellings if name in present]
        if len(chosen[part]) > 1:
            raise DataError(f"{path}: has both {' and '.join(spellings)}; keep one")
    missing = [part for part in ("x_train", "t_train") if not chosen[part]]
    if bool(chosen["x_test"]) != bool(chosen["t_test"]):
        missing.append("t_test" if chosen["x_test"] else "x_test")
    if missing:
        raise DataError(
            f"{path}: without {', '.join(missing)}; it has {one_line(', '.join(sorted(present))) or 'nothing'}"
        )
    return [name for names in chosen.values() for name in names] + (["classes"] if "classes" in present else [])


def _pictures(x: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    if x.ndim == 3:
        x = x[:, np.newaxis]
    if x.ndim != 4:
        raise DataError(f"{what} is {x.shape}; expected (N, H, W), (N, C, H, W) or (N, H, W, C)")
    if x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.dtype.kind not in "iuf":
        raise DataError(f"{what} is {x.dtype}; expected uint8")
    if x.size and x.dtype != np.uint8:
        x = _whole(x, what)
    return np.ascontiguousarray(x, dtype=np.uint8)


def _whole(x: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    """uint8 from numbers that are whole, or whole / 255."""
    with np.errstate(invalid="ignore"):  # a signalling NaN
        low, high = float(x.min()), float(x.max())
    scale = 255.0 if x.dtype.kind == "f" and low >= 0 and high <= 1 else 1.0
    whole = np.empty(x.shape, np.uint8)
    good = low >= 0 and high * scale <= 255.001  # NaN fails this as well
    # Block by block: whole sets of float64 beside one another would take many times the file's own memory.
    rows = max(1, _BLOCK // math.prod(x.shape[1:]))
    for start in range(0, len(x) if good else 0, rows):
        block = x[start : start + rows] * scale
        near = np.rint(block)
        # 1e-3 is far above float32's rounding of n / 255 and far below a step of one.
        good = good and bool(np.abs(block - near).max() < 1e-3)
        whole[start : start + rows] = near
    if not good:
        raise DataError(
            f"{what} holds {x.dtype} from {low:g} to {high * scale:g}; expected whole numbers in 0..255, or those / 255"
        )
    return whole


def _labels(t: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    if t.ndim == 2 and t.shape[1] == 1:
        t = t[:, 0]
    if t.ndim != 1 or t.dtype.kind not in "iu":
        raise DataError(f"{what} is {t.dtype} {t.shape}; expected whole numbers (N,), each a class's index")
    return t.astype(np.int64)


def _classes(names: np.ndarray[Any, Any] | None, labels: list[np.ndarray[Any, Any]], path: Path) -> tuple[str, ...]:
    """The classes' names as the file gives them, else as many numbers as its labels need."""
    count = 1 + max((int(part.max()) for part in labels), default=0) if names is None else names.size
    if count > _MOST_CLASSES:
        raise DataError(f"{path}: {count:,} classes; labels are indices of at most {_MOST_CLASSES:,} classes from 0 on")
    if names is None:
        return tuple(map(str, range(count)))
    words = tuple(map(str, names.ravel().tolist()))
    try:
        "".join(words).encode()
    except UnicodeEncodeError as error:  # halves of characters, which no file of ours could hold
        raise DataError(f"{path}: classes holds names that are no text ({error.reason})") from error
    return words
