import dataclasses

import numpy as np
import pytest

from xpcnn.data.dataset import Dataset, as_float
from xpcnn.errors import DataError


@pytest.fixture
def good():
    x = np.zeros((4, 3, 2, 5), np.uint8)
    return Dataset("d", x, np.array([0, 1, 1, 0]), x[:2], np.array([1, 0]), ("a", "b"), "here")


def test_good(good):
    assert good.checked() is good
    assert good.image_shape == (3, 2, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        good.name = "e"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("x_train", np.zeros((4, 3, 2, 5), np.float32), "uint8"),
        ("x_test", np.zeros((2, 30), np.uint8), "uint8"),
        ("x_test", np.zeros((2, 3, 0, 5), np.uint8), "uint8"),
        ("t_train", np.array([0, 1, 1, 0], np.int32), "int64"),
        ("t_train", np.zeros((4, 2), np.int64), "int64"),
        ("t_train", np.array([0, 1, 1]), "4 training pictures but 3 labels"),
        ("t_train", np.array([0, 1, 2, 0]), "training label 2 is 2"),
        ("t_test", np.array([0, -1]), "test label 1 is -1"),
        ("x_test", np.zeros((2, 3, 2, 4), np.uint8), "test pictures"),
        ("classes", (), "no classes"),
    ],
)
def test_faults(good, field, value, reason):
    with pytest.raises(DataError, match=reason) as caught:
        dataclasses.replace(good, **{field: value}).checked()
    assert "d (here)" in str(caught.value)


def test_empty(good):
    empty = dataclasses.replace(good, x_test=good.x_test[:0], t_test=good.t_test[:0])
    with pytest.raises(DataError, match="test set is empty"):
        empty.checked()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_float(dtype):
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    y = as_float(x, dtype)
    assert y.dtype == dtype
    assert y.shape == x.shape
    # The book's way: convert, then divide in place. The same bits.
    expected = x.astype(dtype)
    expected /= 255.0
    np.testing.assert_array_equal(y, expected)
    assert as_float(x).dtype == np.float32
