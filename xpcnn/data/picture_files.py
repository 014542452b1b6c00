"""Picture files opened, flattened and brought to a size: one way for training and for predicting."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpcnn.errors import DataError
from xpcnn.formats.limits import not_a_file

__all__ = ["MOST_PIXELS", "background", "fit", "is_grey", "opened", "pixels", "resized"]

Pixels = np.ndarray[Any, Any]

# No others: Pillow hands some (EPS) to programs outside, and each is one more decoder for a stranger to try.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 1 << 26  # 67 million: beyond nearly every camera
_SMALL_PIXELS = 1 << 24  # what any file may have: done with within a second
_PIXELS_A_BYTE = 100  # cameras' pictures have under 20; one of a single colour can have thousands
_ROWS = 256  # brought from float64 at a time


class _File(io.BufferedReader):
    """A file that is asked for no more bytes than it has: Python makes room for as many as a decoder asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A picture as Pillow opens it (the first frame of a film), turned as its camera's mark says.

    Only the formats of `FORMATS` are opened, and at most `MOST_PIXELS` pixels, fewer in small files.
    What goes wrong while it is open, missing or damaged files and DataError without a path, becomes DataError with
    path and reason. Pillow's remarks on odd metadata are kept silent: the pixels are what counts.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if not_a_file(path):
            raise DataError("a device or pipe, not a file")
        with warnings.catch_warnings(), _File(io.FileIO(path)) as file:
            warnings.simplefilter("ignore")
            # Pillow only warns between one and two times its own limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            size = os.fstat(file.fileno()).st_size
            _check_size(*(_announced(file.read(64)) or (0, 0)), size)
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(image.width, image.height, size)
                ImageOps.exif_transpose(image, in_place=True)  # in place: a copy would decode what only asks for sizes
                yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        cause = "a folder; name the pictures in it" if os.path.isdir(path) else "you may not read it"
        raise DataError(f"{path}: {cause}") from error
    except UnidentifiedImageError as error:
        known = ", ".join(name for name in FORMATS if name != "DIB")
        raise DataError(f"{path}: not a picture of a kind that is read ({known}), whatever its name says") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: suspiciously large ({error})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # decoders meet damaged bytes with nearly any exception
        raise DataError(f"{path}: damaged or cut short ({error or type(error).__name__})") from error


def _announced(head: bytes) -> tuple[int, int] | None:
    """Width and height in a WebP file's first bytes: its decoder makes room for them before Pillow can object."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _check_size(width: int, height: int, size: int) -> None:
    """Refuses what is larger than a camera's picture, or than a file of `size` bytes can mean honestly."""
    most = min(MOST_PIXELS, max(_SMALL_PIXELS, _PIXELS_A_BYTE * size))
    if width * height > most:
        raise DataError(
            f"suspiciously large, {width:,} x {height:,} pixels in {size:,} bytes, where at most {most:,} are read; "
            "make it smaller"
        )


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

    deep = np.asarray(image)
    full = 1.0 if image.mode == "F" else 65535.0
    if not (deep.min() >= 0 and deep.max() <= full):  # NaN fails this as well
        raise DataError(f"its pixels lie outside 0..{full:g}, so there is no telling white; save it with 8 bits")
    shallow = np.empty(deep.shape, np.uint8)
    for start in range(0, len(deep), _ROWS):  # in float64, for which there is not the room at once
        shallow[start : start + _ROWS] = np.rint(deep[start : start + _ROWS].astype(np.float64) * (255.0 / full))
    return Image.fromarray(shallow)


def _on_paper(image: Any, channels: int) -> Any:
    from PIL import Image

    light = channels == 1 and _has_light_ink(image)
    paper = Image.new("RGBA", image.size, "black" if light else "white")
    paper.alpha_composite(image)
    return paper


def _has_light_ink(image: Any) -> bool:
    """Whether an RGBA picture, weighed by its opacity, is lighter than the middle of 0..255."""
    ink = paper = 0
    values = np.asarray(image.convert("LA"))
    for start in range(0, len(values), _ROWS):  # whole numbers, so that no sum is rounded
        shade, alpha = values[start : start + _ROWS].transpose(2, 0, 1)
        ink += int(np.einsum("ij,ij->", shade, alpha, dtype=np.int64))
        paper += int(alpha.sum(dtype=np.int64))
    return 2 * ink > 255 * paper


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
