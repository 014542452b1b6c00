"""X as the batch that a network takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from xpcnn.errors import ConfigError, InputWarning, ShapeError
from xpcnn.sklearn.samples import as_rows, same_shape, sample_shape, warn_of_bytes


def test_pictures_become_rows_and_their_shape():
    X = np.arange(48).reshape(2, 1, 4, 6)
    rows, shape = as_rows(X)
    assert shape == (1, 4, 6)
    assert np.array_equal(rows, np.arange(48).reshape(2, 24))
    assert as_rows(X.tolist())[1] == (1, 4, 6)
    assert as_rows(X[:0])[0].shape == (0, 24)


def test_rows_and_things_of_scikit_learn_stay_as_they_are():
    rows = np.zeros((2, 3))
    assert as_rows(rows) == (rows, None)
    thing = object()
    assert as_rows(thing) == (thing, None)


def test_pictures_without_a_channel_are_told():
    with pytest.raises(ShapeError, match=r"X\[:, None\]"):
        as_rows(np.zeros((2, 8, 8)))


def test_shape_of_a_sample():
    assert sample_shape(None, None, 7) == (7,)
    assert sample_shape(None, (1, 2, 3), 6) == (1, 2, 3)
    assert sample_shape([1, 2, 3], None, 6) == (1, 2, 3)
    assert sample_shape((1, 2, 3), (1, 2, 3), 6) == (1, 2, 3)


@pytest.mark.parametrize("image_shape", [8, "abc", (8, 8), (1, 0, 8), (1, None, 8)])
def test_what_is_no_image_shape(image_shape):
    with pytest.raises(ConfigError, match="image_shape is"):
        sample_shape(image_shape, None, 64)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"\(1, 8, 8\), 64 features, but the samples of X have 65 features"):
        sample_shape((1, 8, 8), None, 65)
    with pytest.raises(ShapeError, match=r"have shape \(1, 4, 16\)"):
        sample_shape((1, 8, 8), (1, 4, 16), 64)
    with pytest.raises(ShapeError, match="fitted on samples"):
        same_shape((1, 8, 8), (1, 4, 16))
    assert same_shape((64,), (1, 4, 16)) == (64,)  # fitted on rows: any pictures of 64 numbers are rows


def test_bytes_are_warned_of():
    with pytest.warns(InputWarning, match="0..255"):
        warn_of_bytes(np.array([[0.0, 255.0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in (np.zeros((0, 3)), np.array([[0.0, 1.0]]), np.array([[-3.0, 255.0]])):
            warn_of_bytes(X)
