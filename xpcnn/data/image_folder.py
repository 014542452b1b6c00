"""A folder of pictures, one subfolder for each class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn.data.dataset import Dataset
from xpcnn.data.picture_files import MOST_PIXELS, fit, is_grey, opened, pixels
from xpcnn.data.split import stratified_split
from xpcnn.errors import DataError

__all__ = ["SUFFIXES", "load_image_folder"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

Picture = tuple[Path, int]


def load_image_folder(
    root: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    colour: bool | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
) -> Dataset:
    """Read `root/class/picture.png`, or `root/train/class/...` and `root/test/class/...`.

    Without a test folder, about `test_fraction` of every class becomes the test set, chosen from `seed`.
    Classes are the folders' names in order (as numbers where all are numbers). Files that are not pictures by their
    suffix are passed over, and so is what begins with a dot.

    size: side, or (height, width), that pictures are brought to, keeping their proportions and filled up with their
    background; None takes them as they are, all of one size.
    colour: three channels if True, one if False; None takes colour if any picture has it. What is transparent
    becomes white (in grey, black under light ink), 16-bit grey is brought to 8 bits, and the camera's orientation
    mark is obeyed. `xpcnn.pictures.read_picture` does the same to a picture that a network is asked about.

    Raises DataError naming the folder or picture: missing, empty, damaged, of another size, of another kind than
    PNG, JPEG, GIF, BMP, TIFF, WebP or PPM, or of more than 67 million pixels (16 million in a small file).
    PNG, JPEG, GIF, BMP, TIFF, WebP or PPM, or of more than 67 million pixels (16 million in a small file).
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: not a folder; give a folder with one subfolder for each class")
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = root / "test" if train_root != root and (root / "test").is_dir() else None
    classes = _classes(train_root)
    train = _list(train_root, classes)
    test = _list(test_root, classes) if test_root else []
    height, width, in_colour = _form([*train, *test], size, colour)
    x, t = _read(train, height, width, in_colour, resize=size is not None)
    if test_root:
        x_test, t_test = _read(test, height, width, in_colour, resize=size is not None)
    else:
        kept, held_out = stratified_split(t, seed, test_fraction)
        if not len(held_out):
            raise DataError(f"{root}: one picture in each class is too few to hold some out for testing; add pictures")
        x, x_test, t, t_test = x[kept], x[held_out], t[kept], t[held_out]
    return Dataset(root.resolve().name, x, t, x_test, t_test, tuple(classes), str(root)).checked()


def _classes(folder: Path) -> list[str]:
    names = [entry.name for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    if not names:
        raise DataError(f"{folder}: no subfolders; pictures must lie in one subfolder for each class")
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _list(folder: Path, classes: list[str]) -> list[Picture]:
    extra = sorted(set(_classes(folder)) - set(classes))
    if extra:
        raise DataError(f"{folder / extra[0]}: the training folder has no class of this name")
    pictures = []
    for label, name in enumerate(classes):
        entries = sorted(_entries(folder / name)) if (folder / name).is_dir() else []
        files = [
            entry
            for entry in entries
            if entry.suffix.lower() in SUFFIXES and entry.is_file() and not entry.name.startswith(".")
        ]
        if not files:
            raise DataError(f"{folder / name}: no pictures ({', '.join(sorted(SUFFIXES))})")
        pictures += [(file, label) for file in files]
    return pictures


def _form(pictures: list[Picture], size: int | tuple[int, int] | None, colour: bool | None) -> tuple[int, int, bool]:
    """Height, width and whether in colour, reading no more than the headers that these need."""
    if isinstance(size, int):
        size = (size, size)
    if size is not None and (min(size) < 1 or size[0] * size[1] > MOST_PIXELS):
        raise DataError(f"size {size} given; sizes are 1 or more, and at most {MOST_PIXELS:,} pixels together")
    for path, _ in pictures:
        if size is not None and colour is not None:
            break
        with opened(path) as image:
            if size is None:
                size = (image.height, image.width)
            if colour is None and not is_grey(image):
                colour = True
    assert size is not None  # there is at least one picture
    return size[0], size[1], bool(colour)


def _read(
    pictures: list[Picture], height: int, width: int, colour: bool, *, resize: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    shape = (len(pictures), 3 if colour else 1, height, width)
    try:
        x = np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise DataError(f"{shape[0]:,} pictures of {height}x{width} are more than fit into memory") from error
    for row, (path, _) in zip(x, pictures, strict=True):
        with opened(path) as image:
            if not resize and (image.height, image.width) != (height, width):
                raise DataError(
                    f"{image.height}x{image.width} pixels, but the first picture has {height}x{width}; "
                    "give a size (size, image_size or --image-size) to bring all to"
                )
            row[...] = fit(pixels(image, len(row)), height, width)
    return x, np.array([label for _, label in pictures], np.int64)
