"""Random changes to training pictures: shift, crop, rotate, zoom, slant, bend, flip; whole batches at once in NumPy.

Each is called as augment(x, rng) with x float (N, C, H, W), draws anew for every picture, and returns a new array of
the same shape and dtype; x is never changed. What comes in from outside the picture is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from xpcnn.data.warp import affine_places, bend_places, warp
from xpcnn.errors import ConfigError, ShapeError

__all__ = [
    "Compose",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate",
    "RandomShift",
    "RandomWarp",
    "parse_augment",
    "rotate",
]

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


class RandomWarp:
    """Turn, zoom, slant and bend each picture at random, all in one bilinear pass.

    rotate: degrees, drawn evenly from -rotate..rotate. zoom: height and width are each multiplied by a factor of
    its own from 1 - zoom..1 + zoom. slant: degrees from -slant..slant by which upright lines lean, as handwriting
    does. bend: pixels, the most by which a smooth wave moves rows, and another columns (the lines of a table then
    look hand-drawn): a cheap kin of the elastic distortions of P. Simard et al., "Best practices for convolutional
    neural networks applied to visual document analysis", 2003.
    """

    def __init__(self, rotate: float = 0.0, zoom: float = 0.0, slant: float = 0.0, bend: float = 0.0) -> None:
        if not 0 <= rotate <= 180:
            raise ConfigError(f"rotation by {rotate} degrees given; 0 to 180 is needed")
        if not 0 <= zoom < 1:
            raise ConfigError(f"zoom by {zoom} given; 0 to below 1 is needed, as in 0.1 for factors from 0.9 to 1.1")
        if not 0 <= slant < 90:
            raise ConfigError(f"slant by {slant} degrees given; 0 to below 90 is needed")
        if not 0 <= bend < math.inf:
            raise ConfigError(f"bend by {bend} pixels given; a finite number, 0 or more, is needed")
        self.rotate, self.zoom, self.slant, self.bend = float(rotate), float(zoom), float(slant), float(bend)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        n, _, height, width = _checked(x)
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate, n))
        factor = rng.uniform(1.0 - self.zoom, 1.0 + self.zoom, (2, n))
        lean = np.tan(np.deg2rad(rng.uniform(-self.slant, self.slant, n)))
        matrix = _turns(angle)
        # From a place in the new picture to the old one: turned back, then upright again, then unzoomed.
        matrix[:, 1] += lean[:, None] * matrix[:, 0]
        matrix /= factor.T[:, :, None]
        places = affine_places(height, width, matrix)
        return warp(x, bend_places(places, self.bend, rng) if self.bend else places)

    def __repr__(self) -> str:
        values = {"rotate": self.rotate, "zoom": self.zoom, "slant": self.slant, "bend": self.bend}
        return f"RandomWarp({', '.join(f'{name}={value:g}' for name, value in values.items() if value)})"


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
    _, _, height, width = _checked(x)
    return warp(x, affine_places(height, width, _turns(np.deg2rad(degrees))))


def _turns(angle: Array) -> Array:
    """(n, 2, 2): from a place (down, across) in the turned picture to its place before; rows grow downwards."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turn.transpose(2, 0, 1)


_Augment = Callable[[Array, np.random.Generator], Array]
_WARPS = ("rotate", "zoom", "slant", "bend")
_OTHERS: dict[str, Callable[[float], _Augment]] = {
    "shift": lambda value: RandomShift(value),  # type: ignore[arg-type]  # it refuses fractions itself
    "crop": lambda value: RandomCrop(value),  # type: ignore[arg-type]
    "flip": RandomFlip,
}


def parse_augment(text: str) -> Compose:
    """Augmentations from words such as "shift=2,rotate=10,zoom=0.1,flip", in that order.

    shift=PIXELS, crop=PAD, flip or flip=PROBABILITY, and rotate=DEGREES, zoom=SHARE, slant=DEGREES, bend=PIXELS, of
    which those that stand together are done in one pass (a RandomWarp; rotate alone is a RandomRotate).
    "" and "none" give none. Raises ConfigError for other words, for values out of range, and for one of the warps
    twice in one pass.
    """
    words = [_parsed(word) for word in text.split(",")] if text.strip() not in ("", "none") else []
    chosen: list[_Augment] = []
    for warps, several in groupby(words, lambda word: word[0] in _WARPS):
        if not warps:
            chosen += [_OTHERS[name](number) for name, number in several]
            continue
        together: dict[str, float] = {}
        for name, number in several:
            if name in together:
                raise ConfigError(f"augmentation {text!r} given; {name} stands there twice")
            together[name] = number
        chosen.append(RandomRotate(together["rotate"]) if [*together] == ["rotate"] else RandomWarp(**together))
    return Compose(chosen)


def _parsed(word: str) -> tuple[str, float]:
    name, equals, value = (part.strip() for part in word.partition("="))
    if name not in (*_OTHERS, *_WARPS):
        raise ConfigError(
            f"augmentation {name!r} given; known are shift, crop, rotate, flip, zoom, slant, bend, "
            "as in shift=2,rotate=10,flip"
        )
    if not equals and name == "flip":
        value = "0.5"
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"augmentation {word.strip()!r} given; {name} needs a number, as in {name}=2") from None


def _copied(x: Array) -> Array:
    _checked(x)
    return x.copy()


def _checked(x: Array) -> tuple[int, int, int, int]:
    if x.ndim != 4 or x.dtype.kind != "f":
        raise ShapeError(f"augmentation was given {x.dtype} {x.shape}; it works on float pictures (N, C, H, W)")
    n, channels, height, width = x.shape
    return n, channels, height, width
