"""Picture files opened, flattened and brought to a size: one way for training and for predicting."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpcnn.errors import DataError

__all__ = ["background", "fit", "is_grey", "opened", "pixels", "resized"]

Pixels = np.ndarray[Any, Any]


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A picture as Pillow opens it (the first frame of a film), turned as its camera's mark says.

    What goes wrong while it is open, missing or damaged files and DataError without a path, becomes DataError with
    path and reason. Pillow's remarks on odd metadata are kept silent: the pixels are what counts.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow only warns between one and two times its limit; no picture for a network is that large.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                ImageOps.exif_transpose(image, in_place=True)  # in place: a copy would decode what only asks for sizes
                yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        cause = "a folder; name the pictures in it" if os.path.isdir(path) else "you may not read it"
        raise DataError(f"{path}: {cause}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture that Pillow can read, whatever its name says") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: suspiciously large ({error})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # decoders meet damaged bytes with nearly any exception
        raise DataError(f"{path}: damaged or cut short ({error or type(error).__name__})") from error


def is_grey(image: Any) -> bool:
    """Whether a picture that Pillow opened has no colours, by its header."""
    return image.mode in {"1", "L", "LA", "La"} or _is_deep(image)


def pixels(image: Any, channels: int) -> Pixels:
    """uint8 (channels, h, w), channels 1 or 3, of a picture that Pillow opened.

    16-bit grey, and floats of 0..1, are brought to 8 bits. What is transparent becomes white; in grey it becomes
    black under light ink, which would vanish on white. Raises DataError for deep pixels without a known white.
    """
    if _is_deep(image):
        image = _shallow(image)
    elif image.has_transparency_data:
        image = _on_paper(image.convert("RGBA"), channels)
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _is_deep(image: Any) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _shallow(image: Any) -> Any:
    from PIL import Image

    deep = np.asarray(image).astype(np.float64)
    full = 1.0 if image.mode == "F" else 65535.0
    if not (np.isfinite(deep).all() and deep.min() >= 0 and deep.max() <= full):
        raise DataError(f"its pixels lie outside 0..{full:g}, so there is no telling white; save it with 8 bits")
    return Image.fromarray(np.rint(deep * (255.0 / full)).astype(np.uint8))


def _on_paper(image: Any, channels: int) -> Any:
    from PIL import Image

    shade, alpha = (np.asarray(band, np.float64) for band in image.convert("LA").split())
    light = channels == 1 and (shade * alpha).sum() > 127.5 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if light else "white")
    paper.alpha_composite(image)
    return paper


def fit(picture: Pixels, height: int, width: int) -> Pixels:
    """(C, h, w) of uint8 or float32 as (C, height, width) of the same: resized with smoothing, its proportions kept,
    in the middle, and filled up with its background. One that has the size already is returned as it is."""
    h, w = picture.shape[1:]
    if (h, w) == (height, width):
        return picture
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    fitted = np.empty((len(picture), height, width), picture.dtype)
    for channel, target in zip(picture, fitted, strict=True):
        target[...] = background(channel)
        target[top : top + inner_h, left : left + inner_w] = resized(channel, inner_h, inner_w)
    return fitted


def background(channel: Pixels) -> Any:
    """Median of the outermost pixels of (h, w): the upper one of two, so that it is a shade of the picture."""
    edge = np.concatenate([channel[0], channel[-1], channel[1:-1, 0], channel[1:-1, -1]])
    return np.partition(edge, len(edge) // 2)[len(edge) // 2]


def resized(channel: Pixels, height: int, width: int) -> Pixels:
    """(h, w) of uint8 or float32 stretched to (height, width), smoothed where it shrinks."""
    from PIL import Image

    # Bilinear, which Pillow widens when it shrinks, so that thin lines do not break up.
    image = Image.fromarray(np.ascontiguousarray(channel))
    values: Pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return values.clip(channel.min(), channel.max())  # it does not overshoot, but for the rounding of floats
