"""Data of scikit-learn's own, small enough to train on in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs, make_regression
from sklearn.model_selection import train_test_split

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def digits() -> tuple[Array, Array, Array, Array]:
    """1,347 and 450 of the 1,797 handwritten digits of 8x8, as (N, 64) of 0..1: X_train, X_test, y_train, y_test."""
    X, y = load_digits(return_X_y=True)
    return tuple(train_test_split(X / 16.0, y, random_state=0, stratify=y))


@pytest.fixture(scope="session")
def blobs() -> tuple[Array, Array]:
    """120 samples of 4 features in 3 classes that overlap a little."""
    X, y = make_blobs(120, 4, centers=3, cluster_std=3.0, random_state=0)
    return X / 10.0, y


@pytest.fixture(scope="session")
def line() -> tuple[Array, Array]:
    """150 samples of 5 features, of which y is a linear function, far from 0 and 1."""
    X, y = make_regression(150, 5, noise=1.0, random_state=0)
    return X, 1000.0 + 50.0 * y
