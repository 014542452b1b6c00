"""Tiny data sets made on the spot, and two ways to run the command: in this process and in one of its own."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from typer.testing import CliRunner

import xpcnn
from xpcnn.cli.main import app
from xpcnn.data import registry
from xpcnn.data.idx import write_idx
from xpcnn.data.mnist import MNIST
from xpcnn.formats import load_arrays


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """An empty cache, no XPCNN_DATA, a current folder of the test's own, and plain text at one width everywhere."""
    (tmp_path / "cache").mkdir()
    monkeypatch.delenv("XPCNN_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def bright_stripes(n, size=8, seed=0):
    """n grey pictures of one of three bright stripes in noise: easy to tell apart."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) % 3
    x = rng.integers(0, 60, (n, size, size), dtype=np.uint8)
    for picture, label in zip(x, t, strict=True):
        picture[:, 1 + 2 * label : 3 + 2 * label] += 150
    return x, t


@pytest.fixture
def tiny(tmp_path):
    """tiny.npz in the current folder: 60 and 20 pictures of 8x8, three classes; its arrays."""
    (x, t), (x_test, t_test) = bright_stripes(60), bright_stripes(20, seed=1)
    arrays = {"x_train": x, "t_train": t, "x_test": x_test, "t_test": t_test}
    np.savez(tmp_path / "tiny.npz", **arrays)
    return arrays


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A folder with MNIST's four files, cut down to 30 and 10 pictures; the data set "mnist" is of that size."""
    monkeypatch.setitem(registry._IDX, "mnist", dataclasses.replace(MNIST, counts=(30, 10)))
    folder = tmp_path / "idx"
    folder.mkdir()
    for part, n in (("train", 30), ("t10k", 10)):
        x, t = bright_stripes(n, size=28)
        write_idx(folder / f"{part}-images-idx3-ubyte", x)
        write_idx(folder / f"{part}-labels-idx1-ubyte", t.astype(np.uint8))
    return folder


@pytest.fixture
def run():
    """run(word, ...) -> the result of `xpcnn word ...` in this process: exit_code, stdout, stderr."""

    def invoke(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # what a person would see as a traceback
        return result

    return invoke


@pytest.fixture
def fails(run):
    """fails(code, word, ...) -> the one line on standard error with which `xpcnn word ...` ends."""

    def invoke(code, *words):
        result = run(*words)
        assert result.exit_code == code, result.output
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("xpcnn: ")
        return lines[0]

    return invoke


@pytest.fixture
def start():
    """start(word, ...) -> a process of `python -m xpcnn word ...` with pipes; ended when the test ends."""
    root = str(Path(xpcnn.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    processes = []

    def popen(*words, **more):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        command = [sys.executable, "-m", "xpcnn", *map(str, words)]
        processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **options))
        return processes[-1]

    yield popen
    for process in processes:
        process.kill()  # where it has not ended by itself
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def same_parameters():
    """Asserts that two parameter files hold the same bits; returns the arrays."""

    def compare(first, second):
        a, b = load_arrays(first), load_arrays(second)
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            assert a[name].tobytes() == b[name].tobytes(), name
        return a

    return compare
