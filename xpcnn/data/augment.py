"""Random changes to training pictures: shift, rotate, crop, flip; whole batches at once in NumPy.

Each is called as augment(x, rng) with x float (N, C, H, W), draws anew for every picture, and returns a new array of
the same shape and dtype; x is never changed. What comes in from outside the picture is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpcnn.errors import ConfigError, ShapeError

__all__ = ["Compose", "RandomCrop", "RandomFlip", "RandomRotate", "RandomShift", "parse_augment", "rotate"]

Array = np.ndarray[Any, Any]


class RandomShift:
    """Move each picture by a whole number of pixels in -pixels..pixels, both down and across."""

    name = "shift"

    def __init__(self, pixels: int) -> None:
        if not (pixels >= 0 and float(pixels).is_integer()):
            raise ConfigError(f"{self.name} by {pixels} pixels given; a whole number, 0 or more, is needed")
        self.pixels = int(pixels)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        n, _, height, width = _checked(x)
        reach = self.pixels
        down, across = rng.integers(0, 2 * reach + 1, (2, n))
        padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        moved: Array = windows[np.arange(n), :, down, across]
        return moved

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pixels})"


class RandomCrop(RandomShift):
    """Pad each picture by `pad` zeros all round and cut a window of its own size at a random place.

    Source: the augmentation of K. He et al., "Deep residual learning for image recognition", 2015, section 4.2.
    For whole pixels and zero padding this is what RandomShift does, under the name that CIFAR recipes use.
    """

    name = "crop"


class RandomRotate:
    """Turn each picture about its centre by an angle drawn evenly from -degrees..degrees, bilinearly."""

    def __init__(self, degrees: float) -> None:
        if not 0 <= degrees <= 180:
            raise ConfigError(f"rotation by {degrees} degrees given; 0 to 180 is needed")
        self.degrees = float(degrees)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        _checked(x)
        return rotate(x, rng.uniform(-self.degrees, self.degrees, len(x)))

    def __repr__(self) -> str:
        return f"RandomRotate({self.degrees:g})"


class RandomFlip:
    """Mirror each picture left to right with probability `p` (not for digits: a mirrored 2 is no 2)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"flip with probability {p} given; 0 to 1 is needed")
        self.p = float(p)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        _checked(x)
        flipped = rng.random(len(x)) < self.p
        return np.where(flipped[:, None, None, None], x[..., ::-1], x)

    def __repr__(self) -> str:
        return f"RandomFlip({self.p:g})"


class Compose:
    """One augmentation after another, all drawing from the same generator."""

    def __init__(self, augments: Sequence[Callable[[Array, np.random.Generator], Array]]) -> None:
        self.augments = tuple(augments)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        result = _copied(x) if not self.augments else x
        for augment in self.augments:
            result = augment(result, rng)
        return result

    def __repr__(self) -> str:
        return f"Compose({list(self.augments)})"


def rotate(x: Array, degrees: Array) -> Array:
    """Turn picture n of x, float (N, C, H, W), by degrees[n] about its centre, anticlockwise as one sees it.

    Bilinear; zero outside. Returns a new array of the same shape and dtype.
    """
    n, channels, height, width = _checked(x)
    angle = np.deg2rad(degrees).reshape(n, 1, 1)
    down = np.arange(height).reshape(1, -1, 1) - (height - 1) / 2
    across = np.arange(width).reshape(1, 1, -1) - (width - 1) / 2
    # Where each result pixel comes from: the inverse turn. Rows grow downwards, hence the signs.
    source_down = np.cos(angle) * down + np.sin(angle) * across + (height - 1) / 2
    source_across = np.cos(angle) * across - np.sin(angle) * down + (width - 1) / 2
    top, left = np.floor(source_down), np.floor(source_across)
    part_down, part_across = (source_down - top).astype(x.dtype), (source_across - left).astype(x.dtype)
    # A frame of zeros, to which every place outside is led.
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(n, channels, -1)
    rows = [np.clip(top + step, 0, height + 1).astype(np.intp) for step in (1, 2)]
    columns = [np.clip(left + step, 0, width + 1).astype(np.intp) for step in (1, 2)]

    def corner(row: Array, column: Array) -> Array:
        places = (row * (width + 2) + column).reshape(n, 1, height * width)
        return np.take_along_axis(framed, places, axis=2).reshape(x.shape)

    part_down, part_across = part_down[:, None], part_across[:, None]
    upper = corner(rows[0], columns[0]) * (1.0 - part_across) + corner(rows[0], columns[1]) * part_across
    lower = corner(rows[1], columns[0]) * (1.0 - part_across) + corner(rows[1], columns[1]) * part_across
    result: Array = upper * (1.0 - part_down) + lower * part_down
    return result


def parse_augment(text: str) -> Compose:
    """Augmentations from words such as "shift=2,rotate=10,flip", in that order.

    shift=PIXELS, crop=PAD, rotate=DEGREES, flip or flip=PROBABILITY. "" and "none" give none.
    Raises ConfigError for other words and for values out of range.
    """
    makers: dict[str, Callable[[float], Callable[[Array, np.random.Generator], Array]]] = {
        "shift": lambda value: RandomShift(value),  # type: ignore[arg-type]  # it refuses fractions itself
        "crop": lambda value: RandomCrop(value),  # type: ignore[arg-type]
        "rotate": RandomRotate,
        "flip": RandomFlip,
    }
    chosen = []
    for word in text.split(",") if text.strip() not in ("", "none") else ():
        name, equals, value = (part.strip() for part in word.partition("="))
        if name not in makers:
            raise ConfigError(
                f"augmentation {name!r} given; known are {', '.join(makers)}, as in shift=2,rotate=10,flip"
            )
        if not equals and name == "flip":
            value = "0.5"
        try:
            number = float(value)
        except ValueError:
            raise ConfigError(f"augmentation {word.strip()!r} given; {name} needs a number, as in {name}=2") from None
        chosen.append(makers[name](number))
    return Compose(chosen)


def _copied(x: Array) -> Array:
    _checked(x)
    return x.copy()


def _checked(x: Array) -> tuple[int, int, int, int]:
    if x.ndim != 4 or x.dtype.kind != "f":
        raise ShapeError(f"augmentation was given {x.dtype} {x.shape}; it works on float pictures (N, C, H, W)")
    n, channels, height, width = x.shape
    return n, channels, height, width
