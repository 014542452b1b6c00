"""Pictures from people's files, made into what a network was trained on: size, channels, light ink on dark paper."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data.dataset import as_float
from xpcnn.data.picture_files import MOST_PIXELS, background, fit, opened, pixels, resized
from xpcnn.errors import CheckpointError, ConfigError, DataError
from xpcnn.formats.limits import most_unpacked, one_line
from xpcnn.formats.npz import load_npy, load_npz

__all__ = ["INVERT", "open_picture", "read_picture", "read_pictures"]

INVERT = ("auto", "yes", "no")

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's own grey
_SMALL = 32  # "auto" inverts only for networks that see no more than this: digits, letters, not photographs
_BOX, _MNIST = 20, 28  # MNIST's digits fill a box of 20x20, placed by their mass in 28x28
_LEAST_CONTRAST = 8 / 255  # below this between paper and ink a picture counts as blank

Pixels = np.ndarray[Any, Any]


def read_picture(
    path: str | os.PathLike[str], shape: tuple[int, ...], *, invert: str = "auto", center: bool = False
) -> Pixels:
    """One picture file as float32 (C, H, W) = `shape`, values 0..1; see `read_pictures`, whose errors it raises.

    Raises DataError also where the file holds several pictures.
    """
    return _only(read_pictures(path, shape, invert=invert, center=center), path)


def read_pictures(
    path: str | os.PathLike[str], shape: tuple[int, ...], *, invert: str = "auto", center: bool = False
) -> Pixels:
    """The pictures of a file as float32 (N, C, H, W) with (C, H, W) = `shape`, values 0..1.

    path: PNG, JPEG, GIF, BMP, TIFF, WebP or PPM, in 8 bits as `load_image_folder` reads it for training; or .npy /
    .npz with one picture or several: (H, W), (C, H, W), (H, W, C), those with N before them, or rows of C*H*W; whole
    numbers of 0..255 or floats of 0..1.
    Other sizes are brought to (H, W) with smoothing, keeping their proportions, and filled up with their background.
    invert: "auto" turns dark ink on light paper round for grey networks of up to 32x32, "yes" and "no" force it.
    center: for grey 28x28 networks, cuts the ink out and places it as MNIST's was (LeCun et al. 1998): scaled into
    20x20, its centre of mass in the middle; paper becomes 0 and ink 1. Pictures that are 28x28 already stay.
    An array that has the network's shape already is taken as it is, but for "yes".

    Raises DataError, with path and reason, for a file that is missing, damaged, suspiciously large or no picture;
    ConfigError for an unknown `invert` or a shape that is not one of pictures, or is larger than any.
    """
    if invert not in INVERT:
        raise ConfigError(f"invert is one of {', '.join(INVERT)}, got {invert!r}")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ConfigError(f"pictures have the shape (1, H, W) or (3, H, W); this network takes {tuple(shape)}")
    if math.prod(shape) > MOST_PIXELS:
        raise ConfigError(f"this network takes pictures of {tuple(shape)}, larger than any that are read")
    as_is = False
    if Path(path).suffix.lower() in (".npy", ".npz"):
        found = _as_pictures(_load_array(path), shape, path)
        as_is = found.shape[1:] == tuple(shape)
        if not as_is and 4 * len(found) * math.prod(shape) > most_unpacked(os.path.getsize(path)):
            raise DataError(
                f"{path}: {len(found):,} pictures would become far larger at {tuple(shape)}; split the file"
            )
    else:
        found = _open(path, shape[0])[None]
    if as_is:
        return 1.0 - found if invert == "yes" else found
    return np.stack([_fit(_channels(picture, shape[0]), shape, invert, center) for picture in found])


def open_picture(path: str | os.PathLike[str], channels: int = 1) -> Pixels:
    """A picture in its own size and shades: float32 (channels, H, W), values 0..1. Raises DataError."""
    if Path(path).suffix.lower() not in (".npy", ".npz"):
        return as_float(_open(path, channels))
    return _channels(_only(_as_pictures(_load_array(path), (channels, 0, 0), path), path), channels)


def _only(pictures: Pixels, path: object) -> Pixels:
    if len(pictures) != 1:
        raise DataError(f"{path}: holds {len(pictures)} pictures where one is wanted; save one of them alone")
    first: Pixels = pictures[0]
    return first


# -- from files ------------------------------------------------------------------------------------------------------


def _open(path: str | os.PathLike[str], channels: int) -> Pixels:
    """uint8 (channels, h, w)."""
    with opened(path) as image:
        return pixels(image, channels)


def _load_array(path: str | os.PathLike[str]) -> Pixels:
    """The array of a .npy or .npz file, as stored."""
    if Path(path).suffix.lower() == ".npz":
        try:
            arrays = load_npz(path)
        except CheckpointError as error:
            raise DataError(f"{path}: {error}") from error
        if len(arrays) != 1 and "x" not in arrays:
            names = ", ".join(sorted(arrays)) or "nothing"
            raise DataError(f"{path}: holds {one_line(names)}; wanted one array, or one named x")
        return arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    try:
        return load_npy(path)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"cannot read {os.fspath(path)!r}: ")
        raise DataError(f"{path}: cannot be read as a .npy array ({reason})") from error


def _as_pictures(a: Pixels, shape: tuple[int, ...], path: object) -> Pixels:
    """Any of the layouts as float32 (N, c, h, w)."""
    size, (C, H, W) = math.prod(shape), shape
    if a.size == 0 or a.dtype.kind not in "biuf":
        raise DataError(f"{path}: an array of {a.dtype} {a.shape} is not a picture")
    if a.ndim in (1, 2) and size and a.shape[-1] == size and a.shape != (H, W):
        a = a.reshape(-1, C, H, W)
    elif a.ndim == 2:
        a = a[None, None]
    elif a.ndim == 3:
        if C == 1 and a.shape[1:] == (H, W):
            a = a[:, None]
        elif a.shape[2] in (1, 3, 4) and a.shape != shape:
            a = a.transpose(2, 0, 1)[None]
        else:
            a = a[None] if a.shape[0] in (1, 3, 4) else a[:, None]
    elif a.ndim == 4 and a.shape[3] in (1, 3, 4) and a.shape[1:] != shape and a.shape[1] not in (1, 3, 4):
        a = a.transpose(0, 3, 1, 2)
    if a.ndim != 4 or a.shape[1] not in (1, 3, 4):
        raise DataError(f"{path}: an array of shape {a.shape} is not one picture, nor several; wanted (N, C, H, W)")
    return np.ascontiguousarray(_unit(a, path))


def _unit(a: Pixels, path: object) -> Pixels:
    """Values 0..1 from booleans, whole numbers of 0..255 (uint16: 0..65535) or floats of 0..1."""
    if a.dtype.kind == "b" or (a.dtype.kind == "f" and a.min() >= 0 and a.max() <= 1):
        return a.astype(np.float32)
    full = 65535 if a.dtype == np.uint16 else 255
    # NaN fails the comparisons as well.
    if not (a.min() >= 0 and a.max() <= full) or (a.dtype.kind == "f" and (a != np.rint(a)).any()):
        raise DataError(
            f"{path}: holds {a.dtype} from {a.min():g} to {a.max():g}; "
            f"wanted whole numbers of 0..{full} or floats of 0..1"
        )
    return a.astype(np.float32) / float(full)


# -- to the network's form -------------------------------------------------------------------------------------------


def _grey(picture: Pixels) -> Pixels:
    return np.asarray(np.tensordot(_LUMA, picture, 1), np.float32)[None]


def _channels(picture: Pixels, C: int) -> Pixels:
    """(C, h, w) from (c, h, w): grey from colour or colour from grey; a fourth channel is opacity over white."""
    if len(picture) == 4:
        picture = picture[:3] * picture[3] + (1.0 - picture[3])
    if C == 1:
        return _grey(picture) if len(picture) == 3 else picture
    return np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture


def _fit(picture: Pixels, shape: tuple[int, ...], invert: str, center: bool) -> Pixels:
    """float32 `shape` from (C, h, w) of uint8 or floats; files of pictures stay uint8 till they have their size, so
    that they are to the bit what a folder of pictures gives in training."""
    C, H, W = shape
    light = invert == "yes" or (
        invert == "auto" and C == 1 and max(H, W) <= _SMALL and _has_dark_ink(_unit_float(picture[0]))
    )
    if center and shape == (1, _MNIST, _MNIST) and picture.shape != shape:
        ink = _unit_float(picture[0])
        return _centered(1.0 - ink if light else ink)[None]
    fitted = _unit_float(fit(picture, H, W))
    return 1.0 - fitted if light else fitted


def _unit_float(a: Pixels) -> Pixels:
    return as_float(a) if a.dtype == np.uint8 else a


def _has_dark_ink(channel: Pixels) -> bool:
    # Third powers keep the sign and let the far values, ink, outweigh the many near ones, uneven paper.
    return float(((channel - background(channel)) ** 3).sum()) < 0.0


def _centered(ink: Pixels) -> Pixels:
    """(28, 28) with the ink of (h, w) placed as MNIST's is; a blank picture gives zeros."""
    framed = np.zeros((_MNIST, _MNIST), np.float32)
    paper = float(background(ink))
    contrast = float(ink.max()) - paper
    if contrast < _LEAST_CONTRAST:
        return framed
    ink = np.clip((ink - paper) / contrast, 0.0, 1.0)
    rows, columns = np.nonzero(ink > 0.2)  # below it lie the paper's grain and JPEG's ringing
    ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = _BOX / max(ink.shape)
    small = resized(ink, max(1, round(ink.shape[0] * scale)), max(1, round(ink.shape[1] * scale)))
    place = []
    for axis, length in enumerate(small.shape):
        along = small.sum(axis=1 - axis)
        mass = float((along * (np.arange(length) + 0.5)).sum() / along.sum())
        place.append(min(max(round(_MNIST / 2 - mass), 0), _MNIST - length))
    framed[place[0] : place[0] + small.shape[0], place[1] : place[1] + small.shape[1]] = small
    return framed
