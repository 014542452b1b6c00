"""Data sets, pictures and settings that are wrong: exit code 2 and one line that says what, never a traceback."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

X = np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8)
T = np.arange(60) % 3
FLOATS = X / 255.0

DATA = {
    "negative labels": (
        {"x_train": X, "t_train": T - 1},
        "training label 0 is -1, but with 2 classes labels go",
    ),
    "a label no class has": (
        {"x_train": X, "t_train": T, "classes": np.array(["a", "b"])},
        "training label 2 is 2, but with 2 classes",
    ),
    "endless labels": ({"x_train": X, "t_train": T * 10**15}, "2,000,000,000,000,001 classes"),
    "float labels": ({"x_train": X, "t_train": T * 1.0}, "t_train is float64 (60,); expected whole numbers (N,)"),
    "boolean labels": ({"x_train": X, "t_train": T > 0}, "t_train is bool (60,); expected whole numbers"),
    "one-hot labels": ({"x_train": X, "t_train": np.eye(3, dtype=int)[T]}, "t_train is int64 (60, 3); expected"),
    "too few labels": ({"x_train": X, "t_train": T[:50]}, "60 training pictures but 50 labels"),
    "nan": ({"x_train": np.where(X > 250, np.nan, FLOATS), "t_train": T}, "from nan to nan; expected whole numbers in"),
    "infinity": ({"x_train": np.where(X > 250, np.inf, FLOATS), "t_train": T}, "from 0 to inf; expected"),
    "below 0": ({"x_train": X - 1.0, "t_train": T}, "from -1 to 253; expected whole numbers in 0..255"),
    "above 255": ({"x_train": X * 2.0**10, "t_train": T}, "expected whole numbers in 0..255"),
    "complex": ({"x_train": X * 1j, "t_train": T}, "x_train is complex128; expected uint8"),
    "flat": ({"x_train": X.reshape(60, -1), "t_train": T}, "x_train is (60, 64); expected (N, H, W), (N, C, H, W) or"),
    "empty": ({"x_train": X[:0], "t_train": T[:0]}, "the training set is empty"),
    "another test shape": ({"x_train": X, "t_train": T, "x_test": X[:, 1:], "t_test": T}, "test pictures (1, 7, 8)"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_sets(tmp_path, fails, name):
    arrays, words = DATA[name]
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert words in fails(2, "train", "--dataset", "wrong.npz", "--out", "run", "-q")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("output_size = 2", "the model tells 2 classes apart, tiny has 3; set output_size = 3"),
        ("input_dim = [8, 8, 1]", "input_shape=(8, 8, 1) looks like channels last (NHWC)"),
        ("hidden_size = 1000000000000", "layer 'Affine1' after 'Pool1': parameters of shape (120, 1000000000000)"),
        ("hidden_size = 0", "the number of units is one of the whole numbers from 1 on, got 0"),
        ("conv_param = {pad = 1000000000}", "layer 'Conv1' after 'input': one padded channel of shape"),
        ("conv_param = {filter_num = 2.5}", "the number of filters is one of the whole numbers"),
    ],
)  # fmt: skip
def test_models(tmp_path, tiny, fails, model, words):
    (tmp_path / "c.toml").write_text(f'[model]\nmodel = "simple"\n{model}\n')
    assert words in fails(2, "train", "--dataset", "tiny.npz", "--config", "c.toml", "--out", "run", "-q")
    assert not (tmp_path / "run").exists()


def test_folders_of_pictures(tmp_path, fails):
    (tmp_path / "set" / "a").mkdir(parents=True)
    assert "no pictures" in fails(2, "train", "--dataset", "set", "-q")
    Image.fromarray(X[0]).save(tmp_path / "set" / "a" / "0.png")
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"no picture")
    assert "1.png: not a picture" in fails(2, "train", "--dataset", "set", "-q")
    Image.fromarray(X[1, :5]).save(tmp_path / "set" / "a" / "1.png")
    assert "5x8 pixels, but the first picture has 8x8; give a size" in fails(2, "train", "--dataset", "set", "-q")
    words = fails(2, "train", "--dataset", "set", "--image-size", "100000x100000", "-q")
    assert "at most" in words


def test_a_trained_network_and_other_data(tmp_path, tiny, run, fails):
    assert run("train", "--dataset", "tiny.npz", "--epochs", "1", "--out", "run", "-q").exit_code == 0
    for name, arrays, words in (
        ("more classes", {"x_train": X, "t_train": np.arange(60) % 5}, "labels for 3 classes lie in 0..2"),
        ("another size", {"x_train": X[:, :7], "t_train": T}, "takes a batch of shape (N, 1, 8, 8), got (12, 1, 7, 8)"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert words in fails(2, "evaluate", "run", "--dataset", f"{name}.npz")
    for number, picture in enumerate((np.full((8, 8), np.nan), np.full((8, 8), 1e30), -np.ones((8, 8)))):
        np.save(tmp_path / f"{number}.npy", picture)
        assert "wanted whole numbers of 0..255 or floats of 0..1" in fails(2, "predict", "run", f"{number}.npy")
    for number, picture in enumerate((np.ones((2, 2, 2, 8, 8)), np.ones((0, 8, 8)), np.ones((8, 8), complex)), 3):
        np.save(tmp_path / f"{number}.npy", picture)
        assert "not" in fails(2, "predict", "run", f"{number}.npy")
