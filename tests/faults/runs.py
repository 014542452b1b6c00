"""Short training runs to be broken, and what is compared of a broken and resumed one with one never interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import xpcnn
from xpcnn.training.checkpoint import read_checkpoint

__all__ = ["CASES", "TIMES", "bits_alike", "check_whole", "command", "environment", "make_data", "words"]

TIMES = ("seconds", "images_per_second")  # of a row in metrics.jsonl: never the same twice

# Each with augmentation, a second thread that makes batches ahead, and two threads in the executor.
_COMMON = "--dataset tiny.npz --batch-size 25 --threads 2 --augment shift=1,rotate=10,flip --seed 3"
CASES: dict[str, str] = {
    "averages": "--epochs 4 --optimizer adam --lr 0.003 --schedule cosine --average 0.9 --save-every 1 --keep 3",
    "dropout": "--model deep --epochs 3 --optimizer momentum --lr 0.01 --patience 2 --save-every 2",
    "whole epochs": "--epochs 8 --optimizer rmsprop --lr 0.001 --keep 1",
}


def make_data(folder: Path, train: int = 120, test: int = 30) -> None:
    """Writes tiny.npz: grey pictures of 8x8 with one of three bright stripes."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", train), ("test", test)):
        t = np.arange(n) % 3
        x = rng.integers(0, 60, (n, 8, 8), dtype=np.uint8)
        for picture, label in zip(x, t, strict=True):
            picture[:, 1 + 2 * label : 3 + 2 * label] += 150
        arrays |= {f"x_{part}": x, f"t_{part}": t}
    np.savez(folder / "tiny.npz", **arrays)


def words(case: str, out: str) -> list[str]:
    """The arguments of `xpcnn` that begin this case in the folder `out`."""
    return ["train", *_COMMON.split(), *CASES[case].split(), "--out", out]


def command(*arguments: str) -> list[str]:
    """A process of `xpcnn` with these arguments."""
    return [sys.executable, "-m", "xpcnn", *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the package that is being tested, one BLAS thread and plain output."""
    root = str(Path(xpcnn.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    return {**plain, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "TERM": "dumb", **more}


def finish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `xpcnn` in `folder` to its end."""
    return subprocess.run(command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True)


# -- comparing -------------------------------------------------------------------------------------------------------


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [_timeless(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, values = read_checkpoint(path)
    values["history"] = [_timeless(row) for row in values["history"]]
    return arrays, values


def bits_alike(whole: Path, other: Path) -> int:
    """How many bits of two finished runs were compared; AssertionError where one of them differs.

    Byte by byte: model.safetensors, metrics.csv, config.toml. Of metrics.jsonl and the checkpoints' rows all but
    `TIMES`; of last.ckpt and best.ckpt every array and value.
    """
    bits = 0
    for name in ("model.safetensors", "metrics.csv", "config.toml"):
        a, b = (whole / name).read_bytes(), (other / name).read_bytes()
        assert a == b, f"{name} differs"
        bits += 8 * len(a)
    rows = _rows(whole / "metrics.jsonl")
    assert rows == _rows(other / "metrics.jsonl"), "metrics.jsonl differs"
    bits += 8 * len(json.dumps(rows))
    for name in ("last.ckpt", "best.ckpt"):
        (arrays, values), (others, other_values) = _state(whole / name), _state(other / name)
        assert values == other_values, f"{name}: values differ"
        assert arrays.keys() == others.keys()
        for key, a in arrays.items():
            assert (a.dtype, a.shape) == (others[key].dtype, others[key].shape)
            assert a.tobytes() == others[key].tobytes(), f"{name}: {key} differs"
            bits += 8 * a.nbytes
    return bits


def check_whole(folder: Path) -> None:
    """What a run has left must be whole at every instant: no half line, no epoch twice, no damaged checkpoint."""
    if not folder.is_dir():
        return
    for path in folder.glob("*.ckpt"):
        read_checkpoint(path)
    for name in ("metrics.csv", "metrics.jsonl"):
        if not (folder / name).exists():
            continue
        text = (folder / name).read_text(encoding="utf-8")
        assert text.endswith("\n") or not text
        lines = text.splitlines()[1:] if name.endswith("csv") else text.splitlines()
        epochs = [int(line.split(",")[0]) if name.endswith("csv") else json.loads(line)["epoch"] for line in lines]
        assert epochs == list(range(1, len(lines) + 1)), f"{name} has epochs {epochs}"
        assert all(line.count(",") == 6 for line in lines if name.endswith("csv"))
