"""What people hand over by mistake: errors that say what was given, what is taken and what to do."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.device import Device
from xpcnn.errors import DataError, InputWarning, ShapeError
from xpcnn.layers import affine, conv
from xpcnn.ops.reference import check_labels

N, K = 12, 3


def _net(shape: tuple[int, ...] = (1, 8, 9), **options: Any) -> Sequential:
    return Sequential([conv(2, 3), "relu", affine(K)] if len(shape) == 3 else [affine(K)], shape, seed=0, **options)


def _data(shape: tuple[int, ...] = (1, 8, 9), dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).random((N, *shape)).astype(dtype), np.arange(N) % K


def _trainer(net: Sequential, *arrays: Any, **options: Any) -> Trainer:
    return Trainer(net, *arrays, epochs=1, mini_batch_size=5, verbose=False, **options)


# -------------------------------------------------------------------------------------------------------- labels
ROWS = np.eye(K)[np.arange(N) % K]
LABELS: dict[str, tuple[Any, str]] = {
    "too large": (np.arange(N) % 4, r"lie in 0\.\.2, got values from 0 to 3; give the network 4 outputs, or look"),
    "negative": (np.arange(N) % K - 1, "got values from -1 to 1; look at the labels"),
    "counted from 1": (np.arange(N) % K + 1, "got values from 1 to 3; they seem to count from 1, use t - 1"),
    "floats": (np.zeros(N), r"whole numbers, got dtype float64; use t.astype\(int\), or one-hot rows"),
    "booleans": (np.zeros(N, bool), r"got dtype bool; use t.astype\(int\)"),
    "words": (np.array(["cat"] * N), "whole numbers, or one-hot rows of numbers; got dtype <U3"),
    "objects": (np.array([None] * N), "got dtype object"),
    "column": (np.zeros((N, 1), int), r"have shape \(12, 3\), got \(12, 1\); these are class numbers in a column"),
    "wide rows": (np.eye(4)[np.zeros(N, int)], r"one-hot labels .* have shape \(12, 3\), got \(12, 4\)"),
    "rows of nothing": (ROWS * (np.arange(N) != 5)[:, None], "row 5 goes from 0 to 0 and adds up to 0; look at how"),
    "rows of two": (np.minimum(ROWS + np.eye(K)[1], 1.0), "row 0 goes from 0 to 1 and adds up to 2"),
    "rows of 255": (ROWS * 255, "row 0 goes from 0 to 255 and adds up to 255"),
    "rows below 0": (ROWS + np.array([2.0, -1.0, -1.0]), "row 0 goes from -1 to 3 and adds up to 1"),
    "rows of nan": (np.where(np.arange(N)[:, None] == 7, np.nan, ROWS), "row 7 goes from nan to nan"),
    "scores": (np.random.default_rng(0).standard_normal((N, K)), "add up to 1; row 0 goes from"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_none(name: str) -> None:
    t, words = LABELS[name]
    net, (x, good) = _net(), _data()
    for use in (net.loss, net.gradient, net.train_pass, net.evaluate):
        with pytest.raises(ShapeError, match=words):
            use(x, t)
    with pytest.raises(ShapeError, match=words):
        net.accuracy(x, t, batch_size=N)
    # A Trainer says so before it trains, and whose labels they are.
    with pytest.raises(ShapeError, match=f"^t_train: .*{words}"):
        _trainer(net, x, t)
    with pytest.raises(ShapeError, match=f"^t_test: .*{words}"):
        _trainer(net, x, good, x, t)
    with pytest.raises(ShapeError, match=words):
        _trainer(net, x, good).step(x, t)


def test_labels_given_as_lists() -> None:
    net, (x, t) = _net(), _data()
    assert float(net.loss(x, t.tolist())) == float(net.loss(x, ROWS.tolist())) == float(net.loss(x, t))
    with pytest.raises(ShapeError, match="rows of one length; got a list of different ones"):
        net.loss(x, [[0, 1, 0]] * 11 + [[1]])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_rows_of_any_dtype_and_shares_are_labels(dtype: str) -> None:
    check_labels(ROWS.astype(dtype), N, K)
    if dtype.startswith("float"):
        check_labels(np.full((N, K), 1.0 / K, dtype), N, K)  # mixed or smoothed: rounded shares add up to nearly 1
        check_labels(np.full((2, 1000), 1e-3, dtype), 2, 1000)


def test_labels_on_a_device_are_not_read_back(cuda: Device) -> None:
    """Looking at them would stop the GPU; a Trainer's are looked at while they are on the host."""
    check_labels(cuda.asarray(np.array([0, 7, -1])), 3, K)
    check_labels(cuda.asarray(np.zeros((3, K))), 3, K)
    with pytest.raises(ShapeError, match=r"\(3,\) or one-hot"):
        check_labels(cuda.asarray(np.array([0, 1])), 3, K)
    x, t = _data()
    with pytest.raises(ShapeError, match="t_train: labels for 3 classes"):
        _trainer(_net(), x, t + 1, device=cuda)


# ------------------------------------------------------------------------------------------------------ pictures
LAYOUTS: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [
    ((3, 8, 9), (N, 8, 9, 3), "channels last (NHWC), use x.transpose(0, 3, 1, 2)"),
    ((8, 9, 3), (N, 3, 8, 9), "channels first (NCHW) as they should, but the network was made for channels last; make"
                              " it with input_shape=(3, 8, 9)"),
    ((3, 8, 9), (8, 9, 3), "a single picture with its channels last, use x.transpose(2, 0, 1)[None]"),
    ((3, 8, 9), (3, 8, 9), "a single sample, make a batch of it with x[None]"),
    ((1, 8, 9), (N, 8, 9), "no axis for their channel, use x[:, None]"),
    ((1, 8, 9), (8, 9), "a single picture without an axis for its channel, use x[None, None]"),
    ((1, 8, 9), (N, 72), "flat, use x.reshape(-1, 1, 8, 9)"),
    ((72,), (N, 1, 8, 9), "takes flat samples, use x.reshape(len(x), -1)"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "given", "words"), LAYOUTS)
def test_pictures_laid_out_otherwise(wanted: tuple[int, ...], given: tuple[int, ...], words: str) -> None:
    net = _net(wanted) if wanted[-1] != 3 else Sequential([conv(2, 1), affine(K)], wanted, seed=0)
    x, t = np.zeros(given, np.float32), np.zeros(len(np.zeros(given)), int)
    for use in (net.predict, lambda x: net.loss(x, t), lambda x: net.gradient(x, t), lambda x: net.accuracy(x, t)):
        with pytest.raises(ShapeError, match=re.escape(words)):
            use(x)
    with pytest.raises(ShapeError, match="^x_train: .*" + re.escape(words)):
        _trainer(net, x, t)


def test_a_network_made_for_channels_last() -> None:
    words = (
        r"input_shape=\(28, 28, 1\) looks like channels last \(NHWC\), but is taken as 28 channels of 28x1; .*\(1, 28"
    )
    with pytest.raises(ShapeError, match=f"a window of 3x3 does not fit .*; {words}"):
        Sequential([conv(2, 3), affine(K)], (28, 28, 1), seed=0)
    with pytest.warns(InputWarning, match=words) as told:
        Sequential([conv(2, 3, pad=1), affine(K)], (28, 28, 1), seed=0)  # it fits, so it is only said
    assert told[0].filename == __file__
    for shape in ((3, 3, 3), (4, 4, 1), (16, 8, 1), (8, 8, 4), (1, 28, 28), (28,)):  # nobody can tell
        Sequential([affine(K)], shape, seed=0)


def test_batches_that_are_no_numbers() -> None:
    net = _net((4,))
    for x in (np.array([["a"] * 4]), np.zeros((1, 4), complex), np.array([[None] * 4])):
        with pytest.raises(ShapeError, match=f"a batch holds real numbers, got an array of dtype {x.dtype}"):
            net.predict(x)
    with pytest.raises(ShapeError, match="samples have one shape, got a list of different ones"):
        net.predict([[1.0, 2.0, 3.0, 4.0], [1.0]])


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (np.nan, "float32", "x_train holds nan, first in sample 7 at (0, 2, 3); leave such samples out or put"),
        (np.inf, "float64", "x_train holds inf, first in sample 7 at (0, 2, 3)"),
        (-np.inf, "float32", "x_train holds -inf, first"),
        (-1e300, "float64", "x_train holds -1e+300, which float32 cannot hold, first in sample 7 at (0, 2, 3)"),
    ],
)
def test_samples_that_are_not_finite(value: float, dtype: str, words: str) -> None:
    x, t = _data(dtype=dtype)
    spoilt = x.copy()
    spoilt[7, 0, 2, 3] = value
    with pytest.raises(DataError, match=re.escape(words)):
        _trainer(_net(), spoilt, t)
    with pytest.raises(DataError, match=re.escape(words.replace("train", "test"))):
        _trainer(_net(), x, t, spoilt, t)
    if dtype == "float64" and np.isfinite(value):
        _trainer(_net(dtype="float64"), spoilt, t)


# ------------------------------------------------------------------------------------------------------- scaling
def _bytes() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(1).integers(0, 256, (N, 1, 8, 9), np.uint8)
    x[0, 0, 0, :2] = 0, 255
    return x, np.arange(N) % K


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32"])
def test_pictures_given_unscaled(kind: str) -> None:
    """Once a Trainer, on its making, at the caller's line; its steps say nothing more (warnings are errors here)."""
    x, t = _bytes()
    x = x.astype(kind)
    advice = "give x / 255.0" if kind == "float32" else "give the Trainer scale=1 / 255"
    for which, arrays in (("x_train", (x, t)), ("x_train", (x, t, x, t)), ("x_test", (x / 255.0, t, x, t))):
        with pytest.warns(
            InputWarning, match=f"{which} has values of 0..255 .* unscaled.*; {advice}, or scale=1.0"
        ) as told:
            trainer = _trainer(_net(), *arrays)
        assert [w.filename for w in told] == [__file__]
        trainer.train()
        trainer.step(x / 255.0, t)


def test_scaled_pictures_are_nothing_to_warn_of() -> None:
    x, t = _bytes()
    _trainer(_net(), x, t, x, t, scale=1.0 / 255.0).train()
    _trainer(_net(), x, t, scale=1.0)  # said to be meant
    _trainer(_net(), x.astype(float), t, scale=1.0)
    _trainer(_net(), x // 255, t)  # black and white
    _trainer(_net(), x / 255.0, t)
    _trainer(_net(), x.astype(float) - 128.0, t)
    _trainer(_net(), x.astype(float) * 2.0, t)  # whatever these are


def test_floats_are_not_scaled_by_scale() -> None:
    x, t = _bytes()
    with pytest.warns(InputWarning, match="x_train has values of 0..255 .*; give x / 255.0, or"):
        _trainer(_net(), x.astype(np.float32), t, scale=1.0 / 255.0)


def test_a_network_given_bytes_says_so_once() -> None:
    x, t = _bytes()
    net = _net()
    with pytest.warns(InputWarning, match="a uint8 batch has values of 0..255 .* unscaled.*; give x / 255.0") as told:
        net.predict(x)
    assert [w.filename for w in told] == [__file__]
    for use in (net.predict, lambda x: net.loss(x, t), lambda x: net.accuracy(x, t), lambda x: net.gradient(x, t)):
        use(x)
    for use in (lambda x: _net().loss(x, t), lambda x: _net().accuracy(x, t), lambda x: _net().gradient(x, t)):
        with pytest.warns(InputWarning, match="a uint8 batch"):
            use(x)
    _net().predict(x // 255)
    _net().predict(x[:0])


def test_the_warning_can_be_silenced() -> None:
    x, t = _bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        _trainer(_net(), x, t)


def test_bytes_on_a_device_are_not_read_back(cuda: Device) -> None:
    x, _ = _bytes()
    _net(device=cuda).predict(cuda.asarray(x))
