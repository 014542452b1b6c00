"""CIFAR-10 and CIFAR-100 in their published forms: python pickles or binary records, in a folder or a .tar.gz.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; the forms are described at
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpcnn.data.cifar_files import PIXELS, CifarSet, class_names, members, read_binary, read_python
from xpcnn.data.dataset import Dataset
from xpcnn.data.download import Progress, RemoteFile, download
from xpcnn.data.places import DataMissingError, cache_dir, places, where
from xpcnn.errors import DataError

__all__ = ["CIFAR10", "CIFAR100", "CIFAR_SETS", "CifarSet", "find_cifar", "load_cifar", "load_cifar_set"]

_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


CIFAR10 = CifarSet(
    name="cifar10",
    title="CIFAR-10",
    classes=10,
    python=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"),
    binary=(*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"),
    python_names=("batches.meta", "label_names"),
    binary_names="batches.meta.txt",
    rows=(10_000, 10_000),
    label_bytes=1,
    label_key="labels",
    places=("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
    # The MD5s of both sets are published on their page.
    remote=RemoteFile(
        "cifar-10-python.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        md5="c58f30108f718f92721af3b95e74349a",
    ),
)

CIFAR100 = CifarSet(
    name="cifar100",
    title="CIFAR-100",
    classes=100,
    python=("train", "test"),
    binary=("train.bin", "test.bin"),
    python_names=("meta", "fine_label_names"),
    binary_names="fine_label_names.txt",
    rows=(50_000, 10_000),
    label_bytes=2,
    label_key="fine_labels",
    places=("cifar-100-python", "cifar-100-binary", "cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
    remote=RemoteFile(
        "cifar-100-python.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        md5="eb9058c3a382ffc7106e4002c42a8d85",
    ),
)

CIFAR_SETS = (CIFAR10, CIFAR100)


def load_cifar_set(
    spec: CifarSet,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    allow_download: bool = True,
    on_message: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Look for a CIFAR set in `data_dir`, $XPCNN_DATA and the cache folder; download it where it is in none.

    Raises DataMissingError where it is nowhere and cannot be downloaded, DataError where its files are wrong.
    """
    for place in places(data_dir):
        path = find_cifar(spec, place.folder)
        if path is not None:
            return load_cifar(spec, path)
    if not allow_download:
        raise DataMissingError(f"{spec.title} was not found in {where(data_dir)}")
    target = cache_dir() / spec.name
    if on_message is not None:
        on_message(f"{spec.title} was not found in {where(data_dir)}; downloading it to {target}")
    try:
        path = download(spec.remote, target, progress=progress)
    except DataMissingError as error:
        raise DataMissingError(f"{spec.title} was not found in {where(data_dir)}, and {error}") from error
    return load_cifar(spec, path)


def find_cifar(spec: CifarSet, folder: Path) -> Path | None:
    """The folder or .tar.gz of `spec` in `folder`, in its subfolder named like the set, or `folder` itself."""
    for base in (folder, folder / spec.name, folder / spec.title):
        for path in (*(base / name for name in spec.places), base):
            if path.is_file() or _form(spec, path) is not None:
                return path
    return None


def load_cifar(spec: CifarSet, path: str | os.PathLike[str]) -> Dataset:
    """Read a CIFAR set from a folder, or straight from the members of a .tar.gz (nothing is unpacked to the disk).

    Pickles are read with an unpickler that builds arrays and plain values and nothing else.
    Raises DataError with the file and the reason where a file is missing, damaged or of another size.
    """
    path = Path(path)
    # Names may come after the batches in a tar, so the batches are put in their places as they come.
    train_rows, test_rows = spec.rows
    training = len(spec.python) - 1
    x = t = None  # made when a first batch is seen to be one
    classes: tuple[str, ...] | None = None
    wanted = set(spec.python) | set(spec.binary)
    names = {spec.python_names[0], spec.binary_names}
    seen: set[str] = set()
    # A pickle holds the pixels, up to twice as long where Python 3 wrote it, file names and little more.
    limit = max(spec.rows) * (2 * PIXELS + 128) + (1 << 20)
    for name, content, label in members(path, wanted | names, limit):
        if name in names:
            classes = class_names(spec, name, content, label)
            continue
        binary = name.endswith(".bin")
        index = (spec.binary if binary else spec.python).index(name)
        rows = train_rows if index < training else test_rows
        at = slice(index * train_rows, index * train_rows + rows)
        read = read_binary if binary else read_python
        pictures, labels = read(spec, content, label, rows)
        wrong = np.flatnonzero((labels < 0) | (labels >= spec.classes))
        if len(wrong):
            raise DataError(
                f"{label}: label {wrong[0]} is {labels[wrong[0]]}, but {spec.title}'s go from 0 to {spec.classes - 1}"
            )
        if x is None or t is None:
            x = np.empty((training * train_rows + test_rows, 3, 32, 32), np.uint8)
            t = np.empty(len(x), np.int64)
        x[at], t[at] = pictures, labels
        seen.add(name.removesuffix(".bin"))
    missing = [name for name in spec.python if name not in seen]
    if x is None or t is None or missing:
        raise DataError(f"{path}: {spec.title} is incomplete, without {', '.join(missing)}; get it again")
    if classes is None:
        classes = tuple(_CIFAR10_CLASSES.split()) if spec.classes == 10 else tuple(map(str, range(spec.classes)))
    split = training * train_rows
    return Dataset(spec.name, x[:split], t[:split], x[split:], t[split:], classes, str(path)).checked()


def _form(spec: CifarSet, folder: Path) -> tuple[str, ...] | None:
    """The file names of the form that lies in `folder`, told by its first training file and its test file."""
    for names in (spec.python, spec.binary):
        if (folder / names[0]).is_file() and (folder / names[-1]).is_file():
            return names
    return None
