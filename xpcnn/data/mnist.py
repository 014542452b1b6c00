"""MNIST and Fashion-MNIST: four idx files each, found, downloaded, checked and read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpcnn.data.dataset import Dataset
from xpcnn.data.download import Progress, RemoteFile, download
from xpcnn.data.idx import read_idx, read_idx_header
from xpcnn.data.places import DataMissingError, cache_dir, places, where
from xpcnn.errors import DataError

__all__ = ["FASHION_MNIST", "IDX_SETS", "MNIST", "IdxSet", "find_idx_files", "load_idx_folder", "load_idx_set"]

_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


@dataclass(frozen=True)
class IdxSet:
    """A data set published as four idx files.

    folders: subfolders to look in besides the folder itself. counts: pictures for training and for testing.
    files: what to download, in the order of train images, train labels, test images, test labels.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    image: tuple[int, int] = (28, 28)


def _files(urls: tuple[str, ...], key: str, digests: tuple[str, str, str, str]) -> tuple[RemoteFile, ...]:
    files = []
    for part, digest in zip(_PARTS, digests, strict=True):
        name = f"{part}-idx{3 if 'images' in part else 1}-ubyte.gz"
        addresses = tuple(url + name for url in urls)
        files.append(
            RemoteFile(
                name,
                addresses,
                sha256=digest if key == "sha256" else None,
                md5=digest if key == "md5" else None,
                max_bytes=64 << 20,
                max_unpacked=48_000_000,
            )
        )
    return tuple(files)


MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    folders=("mnist", "MNIST", "MNIST/raw", "mnist/raw"),
    classes=tuple("0123456789"),
    files=_files(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        "sha256",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

# The MD5s are those of the table in the README of github.com/zalandoresearch/fashion-mnist, which also holds the files.
FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    folders=("fashion-mnist", "fashion", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"),
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    files=_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        "md5",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
)

IDX_SETS = (MNIST, FASHION_MNIST)


def load_idx_set(
    spec: IdxSet,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    allow_download: bool = True,
    on_message: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Look for the four files in `data_dir`, $XPCNN_DATA and the cache folder, download them where they are in none.

    Raises DataMissingError where they are nowhere and cannot be downloaded, DataError where they are incomplete
    (in a folder the user named) or wrong.
    """
    for place in places(data_dir):
        for folder in _candidates(spec, place.folder):
            files, missing = _match(folder)
            if not files or _is_another(spec, folder, place.folder, files):
                continue
            if not missing:
                return _load(spec, files)
            if place.origin != "cache":  # there, it is a download to go on with
                raise DataError(
                    f"{folder}: {spec.title} is incomplete, without {', '.join(missing)}; add what is missing "
                    "or take the rest away"
                )
    if not allow_download:
        raise DataMissingError(f"{spec.title} was not found in {where(data_dir)}")
    target = cache_dir() / spec.name
    if on_message is not None:
        on_message(f"{spec.title} was not found in {where(data_dir)}; downloading it to {target}")
    try:
        for remote in spec.files:
            if not (target / remote.name).exists():
                download(remote, target, progress=progress)
    except DataMissingError as error:
        raise DataMissingError(f"{spec.title} was not found in {where(data_dir)}, and {error}") from error
    return _load(spec, _match(target)[0])


def load_idx_folder(folder: str | os.PathLike[str]) -> Dataset:
    """Read the four idx files that lie in `folder` itself: MNIST, or Fashion-MNIST where the labels are its own."""
    files, missing = _match(Path(folder))
    if missing:
        raise DataError(f"{folder}: the idx files {', '.join(missing)} are missing; an idx data set has four files")
    return _load(_recognised(files["train-labels"]) or MNIST, files)


def find_idx_files(spec: IdxSet, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of `spec` under `folder` by part ("train-images" and so on), and the names of those missing."""
    best: tuple[dict[str, Path], list[str]] = ({}, list(_PARTS))
    for candidate in _candidates(spec, folder):
        files, missing = _match(candidate)
        if files and len(missing) < len(best[1]) and not _is_another(spec, candidate, folder, files):
            best = files, missing
    return best


def _candidates(spec: IdxSet, folder: Path) -> list[Path]:
    # Subfolders first: a folder named after the data set is surer than the folder that holds everything.
    return [*(folder / name for name in spec.folders), folder]


def _match(folder: Path) -> tuple[dict[str, Path], list[str]]:
    files, missing = {}, []
    for part in _PARTS:
        rank = 3 if "images" in part else 1
        names = [f"{part}{mark}idx{rank}-ubyte{packed}" for packed in ("", ".gz") for mark in "-."]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            missing.append(f"{names[0]}(.gz)")
        else:
            files[part] = path
    return files, missing


def _is_another(spec: IdxSet, candidate: Path, folder: Path, files: dict[str, Path]) -> bool:
    """Whether files lying in the folder itself are known to be another set's: both are named alike."""
    if candidate != folder or "train-labels" not in files:
        return False
    known = _recognised(files["train-labels"])
    return known is not None and known.name != spec.name


def _recognised(labels: Path) -> IdxSet | None:
    """The published set whose training labels these are, if they are a known one's."""
    if labels.stat().st_size > 1 << 20:
        return None
    try:
        content = labels.read_bytes()
        dtype, shape = read_idx_header(labels)
        if dtype != np.uint8 or len(shape) != 1 or shape[0] > max(spec.counts[0] for spec in IDX_SETS):
            return None
        array = read_idx(labels)
    except (OSError, DataError):
        return None
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    unpacked = b"\0\0\x08\x01" + len(array).to_bytes(4, "big") + array.tobytes()
    sha256 = hashlib.sha256(unpacked).hexdigest()
    for spec in IDX_SETS:
        if spec.files[1].md5 == md5 or spec.files[1].sha256 == sha256:
            return spec
    return None


def _load(spec: IdxSet, files: dict[str, Path]) -> Dataset:
    known = _recognised(files["train-labels"])
    if known is not None and known.name != spec.name:
        raise DataError(f"{files['train-labels']}: these are {known.title}'s labels, not {spec.title}'s; move them")
    # All four headers before any pictures: a mix-up costs no time and no memory.
    for part in _PARTS:
        _check_header(spec, part, files[part])
    x_train, x_test = (
        read_idx(files[part]).reshape(count, 1, *spec.image)
        for part, count in zip(("train-images", "t10k-images"), spec.counts, strict=True)
    )
    t_train, t_test = (_labels(spec, files[part]) for part in ("train-labels", "t10k-labels"))
    source = str(files["train-images"].parent)
    return Dataset(spec.name, x_train, t_train, x_test, t_test, spec.classes, source).checked()


def _check_header(spec: IdxSet, part: str, path: Path) -> None:
    dtype, shape = read_idx_header(path)
    train = part.startswith("train")
    count, other = spec.counts if train else spec.counts[::-1]
    images = "images" in part
    expected = (count, *spec.image) if images else (count,)
    if dtype == np.uint8 and shape == expected:
        return
    what = f"{path}: expected {spec.title}'s {part} as uint8 {expected}, found {dtype} {shape}"
    if images and len(shape) == 1:
        what += "; these are labels, is the file misnamed?"
    elif not images and len(shape) == 3:
        what += "; these are pictures, is the file misnamed?"
    elif shape == (other, *expected[1:]):
        what += f"; this is the {'test' if train else 'training'} set, are the two swapped?"
    raise DataError(what)


def _labels(spec: IdxSet, path: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labels = read_idx(path)
    wrong = np.flatnonzero(labels >= len(spec.classes))
    if len(wrong):
        raise DataError(
            f"{path}: label {wrong[0]} is {labels[wrong[0]]}, but {spec.title}'s go from 0 to {len(spec.classes) - 1}"
        )
    return labels.astype(np.int64)
