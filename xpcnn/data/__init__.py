"""Floor 4: data sets from files, downloads and folders, and the loader that makes batches of them."""

from xpcnn.data.augment import Compose, RandomCrop, RandomFlip, RandomRotate, RandomShift, parse_augment
from xpcnn.data.dataset import Dataset, as_float
from xpcnn.data.idx import read_idx, write_idx
from xpcnn.data.image_folder import load_image_folder
from xpcnn.data.loader import Loader
from xpcnn.data.npz import load_npz, save_npz
from xpcnn.data.places import DataMissingError, cache_dir
from xpcnn.data.registry import NAMES, FoundDataset, find_datasets, load_dataset

__all__ = [
    "NAMES",
    "Compose",
    "DataMissingError",
    "Dataset",
    "FoundDataset",
    "Loader",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate",
    "RandomShift",
    "as_float",
    "cache_dir",
    "find_datasets",
    "load_dataset",
    "load_image_folder",
    "load_npz",
    "parse_augment",
    "read_idx",
    "save_npz",
    "write_idx",
]
