"""CNNRegressor: numbers in any unit, several at a time."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpcnn.errors import ConfigError
from xpcnn.layers import affine
from xpcnn.sklearn import CNNRegressor


def test_a_line_far_from_zero_is_learned(line):
    X, y = line
    model = CNNRegressor(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.97  # 0.99 here
    assert model.predict(X).shape == y.shape
    assert model.predict(X).dtype == y.dtype
    np.testing.assert_allclose(model.target_mean_, [y.mean()])
    np.testing.assert_allclose(model.target_scale_, [y.std()])


def test_the_unit_of_y_changes_nothing(line):
    X, y = line
    model = CNNRegressor(epochs=5, random_state=0).fit(X, y)
    other = CNNRegressor(epochs=5, random_state=0).fit(X, y * 1024.0)  # a power of two: the very same digits
    assert np.array_equal(model.predict(X) * 1024.0, other.predict(X))


def test_several_numbers_at_a_time(line):
    X, y = line
    both = np.stack([y, 1e6 * X[:, 0]], axis=1)
    model = CNNRegressor(random_state=0).fit(X, both)
    assert model.predict(X).shape == (150, 2)
    assert model.score(X, both) > 0.9
    one = CNNRegressor(epochs=1).fit(X, y[:, None])
    assert one.predict(X).shape == (150, 1)


@pytest.mark.parametrize(("given", "back"), [("float32", "float32"), ("float64", "float64"), ("int64", "float32")])
def test_dtype_of_predictions(line, given, back):
    X, y = line
    assert CNNRegressor(epochs=1).fit(X, y.astype(given)).predict(X).dtype == back


def test_constant_targets():
    model = CNNRegressor(epochs=20, lr=0.01).fit(np.eye(4), np.full(4, 0.1))
    assert model.target_scale_.tolist() == [1.0]
    np.testing.assert_allclose(model.predict(np.eye(4)), 0.1, atol=0.5)


def test_pictures_by_a_convolutional_network():
    """How bright a picture's left half is, over its right one."""
    X = np.random.default_rng(0).random((600, 1, 8, 8))
    y = X[:, 0, :, :4].mean(axis=(1, 2)) - X[:, 0, :, 4:].mean(axis=(1, 2))
    model = CNNRegressor(epochs=15, random_state=0).fit(X[:500], y[:500])
    assert type(next(iter(model.network_.layers.values()))).__name__ == "Convolution"
    assert model.score(X[500:], y[500:]) > 0.8


def test_early_stopping_and_going_on(line):
    X, y = line
    stopped = CNNRegressor(epochs=500, lr=0.01, early_stopping=True, n_iter_no_change=3, random_state=0).fit(X, y)
    assert stopped.n_iter_ == len(stopped.validation_loss_curve_) < 500
    assert stopped.score(X, y) > 0.9
    whole = CNNRegressor(epochs=2, random_state=0).fit(X, y)
    parts = CNNRegressor(random_state=0).partial_fit(X, y)
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, y)
    assert np.array_equal(whole.predict(X), parts.predict(X))


def test_what_it_refuses(line):
    X, y = line
    with pytest.raises(ConfigError, match="early stopping holds 1 of 1"):
        CNNRegressor(early_stopping=True).fit(X[:1], y[:1])
    with pytest.raises(ConfigError, match=r"y has 1 column\(s\)"):
        CNNRegressor(epochs=1).partial_fit(X, y).partial_fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ConfigError, match=r"end it with affine\(1\)"):
        CNNRegressor(model=[affine(2)]).fit(X, y)


def test_in_searches_and_pipelines(line):
    X, y = line
    search = GridSearchCV(CNNRegressor(epochs=20, random_state=0), {"lr": [1e-7, 0.01]}, cv=2).fit(X, y)
    assert search.best_params_ == {"lr": 0.01}
    pipeline = make_pipeline(StandardScaler(), CNNRegressor(epochs=30, lr=0.01, random_state=0))
    assert cross_val_score(pipeline, 100.0 * X, y, cv=3).mean() > 0.9
