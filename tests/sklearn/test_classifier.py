"""CNNClassifier: what it learns, what it promises beyond scikit-learn's own checks."""

from __future__ import annotations

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpcnn.errors import ConfigError, DataError, InputWarning, ShapeError, TrainingError
from xpcnn.layers import affine, conv, max_pool
from xpcnn.network import Network, Sequential
from xpcnn.sklearn import CNNClassifier


def same(a: CNNClassifier, b: CNNClassifier) -> bool:
    """Whether two fitted classifiers hold the same bits."""
    mine, others = a.network_.arrays(), b.network_.arrays()
    return list(mine) == list(others) and all(np.array_equal(mine[name], others[name]) for name in mine)


def test_digits_are_read_by_a_convolutional_network(digits):
    X, X_test, y, y_test = digits
    model = CNNClassifier(image_shape=(1, 8, 8), epochs=15, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) >= 0.97  # 0.984 here
    assert model.input_shape_ == (1, 8, 8)
    assert model.n_features_in_ == 64
    assert next(type(layer).__name__ for layer in model.network_.layers.values()) == "Convolution"
    assert model.n_iter_ == len(model.loss_curve_) == 15
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 10


def test_pictures_and_their_rows_are_the_same(digits):
    X, _, y, _ = digits
    X, y = X[:100], y[:100]
    pictures = X.reshape(-1, 1, 8, 8)
    by_shape = CNNClassifier(image_shape=(1, 8, 8), epochs=2, random_state=0).fit(X, y)
    by_pictures = CNNClassifier(epochs=2, random_state=0).fit(pictures, y)
    assert same(by_shape, by_pictures)
    assert by_pictures.n_features_in_ == 64
    assert np.array_equal(by_pictures.predict_proba(X), by_shape.predict_proba(pictures))
    assert np.array_equal(by_pictures.predict_proba(pictures.tolist()), by_shape.predict_proba(pictures))


def test_equal_random_states_give_equal_bits(blobs):
    def fitted(random_state):
        return CNNClassifier(epochs=3, random_state=random_state).fit(*blobs)

    assert same(fitted(1), fitted(1))
    assert not same(fitted(1), fitted(2))
    assert same(fitted(np.random.RandomState(7)), fitted(np.random.RandomState(7)))
    assert not same(fitted(None), fitted(None))
    drawn = np.random.RandomState(7)
    assert not same(fitted(drawn), fitted(drawn))  # the second fit draws on


def test_dropout_follows_the_random_state(digits):
    X, _, y, _ = digits
    model = CNNClassifier((1, 8, 8), ["flatten", affine(20), "dropout", affine(10)], epochs=2, random_state=3)
    assert same(clone(model).fit(X[:100], y[:100]), clone(model).fit(X[:100], y[:100]))


def test_two_classes_and_words(blobs):
    X, y = blobs
    words = np.array(["yes", "no"])[(y == 0).astype(int)]
    model = CNNClassifier(random_state=0).fit(X, words)
    assert model.classes_.tolist() == ["no", "yes"]
    probability, decision = model.predict_proba(X), model.decision_function(X)
    assert probability.shape == (120, 2)
    assert decision.shape == (120,)
    assert np.array_equal(model.predict(X) == "yes", decision > 0)
    # softmax of two scores is the logistic function of their difference; float32 has seven digits
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-decision.astype(np.float64))), rtol=1e-5, atol=1e-7)


def test_one_class():
    model = CNNClassifier(epochs=1).fit(np.ones((4, 2)), ["only"] * 4)
    assert model.predict(np.zeros((3, 2))).tolist() == ["only"] * 3
    assert model.predict_proba(np.zeros((3, 2))).tolist() == [[1.0]] * 3


def test_pieces_of_fits_are_one_fit(blobs):
    X, y = blobs
    whole = CNNClassifier(epochs=6, random_state=0).fit(X, y)
    warm = CNNClassifier(epochs=3, random_state=0, warm_start=True).fit(X, y)
    assert not same(whole, warm)
    assert same(whole, warm.fit(X, y))
    assert warm.n_iter_ == 6
    assert warm.loss_curve_ == whole.loss_curve_
    part = CNNClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    for _ in range(2):
        part.partial_fit(X, y)
    part = pickle.loads(pickle.dumps(part))  # the optimizer's state travels
    for _ in range(3):
        part.partial_fit(X, y)
    assert same(whole, part)
    assert same(whole, whole.fit(X, y))  # a cold fit begins anew
    assert whole.n_iter_ == 6


def test_partial_fit_by_pieces_learns(blobs):
    X, y = blobs
    model = CNNClassifier(lr=0.01, random_state=0)
    for _ in range(10):
        for piece in np.array_split(np.arange(len(X)), 4):
            model.partial_fit(X[piece], y[piece], classes=[0, 1, 2])
    assert model.score(X, y) > 0.8  # 0.88 here; chance is 1/3
    assert model.n_iter_ == 40


def test_what_partial_fit_refuses(blobs):
    X, y = blobs
    with pytest.raises(DataError, match="give all to the first call"):
        CNNClassifier().partial_fit(X, y, classes=[0, 1])
    model = CNNClassifier().partial_fit(X, y, classes=[0, 1, 2, 3])
    assert model.predict_proba(X).shape == (120, 4)
    with pytest.raises(DataError, match="y holds \\[7\\]"):
        model.partial_fit(X, np.where(y == 2, 7, y))
    with pytest.raises(DataError, match="since the first call"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ConfigError, match="balanced"):
        CNNClassifier(class_weight="balanced").partial_fit(X, y)
    with pytest.raises(DataError, match="the classes are"):
        CNNClassifier(epochs=1, warm_start=True).fit(X, y).fit(X, y + 1)


def test_another_optimizer_begins_its_own_state(blobs):
    X, y = blobs
    model = CNNClassifier(epochs=1, warm_start=True, random_state=0).fit(X, y)
    model.set_params(optimizer="momentum", lr=0.01, optimizer_param={"momentum": 0.8}).fit(X, y)
    assert model.n_iter_ == 2


def test_early_stopping_goes_back_to_the_best_epoch(blobs):
    X, y = blobs
    y = np.random.default_rng(0).permutation(y)  # nothing to learn: what is held back gets worse soon
    model = CNNClassifier(
        epochs=500, lr=0.01, early_stopping=True, n_iter_no_change=4, validation_fraction=0.25, random_state=0
    ).fit(X, y)
    curve = model.validation_loss_curve_
    assert len(curve) == model.n_iter_ < 100
    best = int(np.argmin(curve))
    assert best == model.n_iter_ - 5  # four epochs without a better one
    again = CNNClassifier(
        epochs=best + 1, lr=0.01, early_stopping=True, n_iter_no_change=500, validation_fraction=0.25, random_state=0
    ).fit(X, y)
    assert same(model, again)
    assert CNNClassifier(epochs=1).fit(X, y).validation_loss_curve_ == []


def test_early_stopping_that_cannot_be():
    with pytest.raises(ConfigError, match="no class has two"):
        CNNClassifier(early_stopping=True).fit(np.eye(3), [0, 1, 2])
    for share in (0.0, 1.0, True):
        with pytest.raises(ConfigError, match="validation_fraction"):
            CNNClassifier(early_stopping=True, validation_fraction=share).fit(np.eye(4), [0, 1, 0, 1])


def test_class_weights_count_in_the_probabilities():
    """Where X says nothing, a class's probability is its share of the samples, each by its weight."""
    X, y = np.ones((40, 2)), np.repeat([0, 1], [30, 10])

    def share_of_1(class_weight):
        model = CNNClassifier(epochs=200, batch_size=40, lr=0.01, class_weight=class_weight, random_state=0)
        return model.fit(X, y).predict_proba(X[:1])[0, 1]

    # Adam comes this near in 200 steps
    assert share_of_1(None) == pytest.approx(10 / 40, abs=0.01)
    assert share_of_1({0: 1.0, 1: 9.0}) == pytest.approx(90 / 120, abs=0.01)
    assert share_of_1("balanced") == pytest.approx(1 / 2, abs=0.01)


def test_grid_search_chooses_the_rate_that_learns(blobs):
    X, y = blobs
    search = GridSearchCV(CNNClassifier(epochs=10, random_state=0), {"lr": [1e-7, 0.01]}, cv=2).fit(X, y)
    assert search.best_params_ == {"lr": 0.01}
    assert search.best_estimator_.lr == 0.01


def test_processes_give_the_same_scores(blobs):
    X, y = blobs
    model = CNNClassifier(model=[affine(8), "relu", affine(3)], epochs=3, threads=1, random_state=0)
    assert np.array_equal(cross_val_score(model, X, y, cv=2, n_jobs=2), cross_val_score(model, X, y, cv=2))


def test_in_a_pipeline_scales_do_not_matter(blobs):
    X, y = blobs
    pipeline = make_pipeline(StandardScaler(), CNNClassifier(epochs=20, random_state=0))
    far = X * 1000 + 5000
    assert cross_val_score(pipeline, far, y, cv=3).mean() > 0.8


@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_the_same(digits, way):
    X, X_test, y, _ = digits
    model = CNNClassifier(
        model=[conv(4, 3), "relu", "batch_norm", max_pool(2), affine(10)], image_shape=(1, 8, 8), epochs=1, threads=2
    ).fit(X, y)
    model.predict(X_test)  # threads and buffers are there now, and must not travel
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    elif way == "joblib":
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        twin = joblib.load(file)
    else:
        twin = copy.deepcopy(model)
    assert np.array_equal(twin.predict_proba(X_test), model.predict_proba(X_test))
    assert twin.network_.threads == 2
    twin.partial_fit(X, y)
    assert not same(twin, model)  # no array is shared
    assert clone(model).get_params()["image_shape"] == (1, 8, 8)


def test_fitting_leaves_the_parameters_alone(digits):
    X, _, y, _ = digits
    hidden = Sequential([affine(12)], (64,), seed=5).layers["affine1"]
    before = hidden.W.copy()
    model = CNNClassifier(model=["flatten", hidden, "relu", affine(10)], epochs=1, lr=0.1).fit(X[:64], y[:64])
    assert np.array_equal(hidden.W, before)
    assert not np.array_equal(model.network_.layers["affine1"].W, before)


def test_a_schedule_and_augmented_pictures(digits):
    X, _, y, _ = digits
    seen = []

    def augment(x, rng):
        seen.append(x.shape)
        return x + rng.normal(0, 0.1, x.shape).astype(x.dtype)

    model = CNNClassifier((1, 8, 8), epochs=2, schedule="cosine", augment=augment, batch_size=50, random_state=0)
    twin = clone(model)
    assert same(model.fit(X[:100], y[:100]), twin.fit(X[:100], y[:100]))
    assert set(seen) == {(50, 1, 8, 8)}


def test_a_model_that_is_a_function(digits):
    X, _, y, _ = digits
    asked = []

    def make(image_shape: tuple[int, ...], outputs: int, seed: int) -> Network:
        asked.append((image_shape, outputs, seed))
        return Sequential([conv(4, 3), "relu", affine(outputs)], image_shape, seed=seed)

    model = CNNClassifier((1, 8, 8), make, epochs=1, random_state=0)
    assert same(model.fit(X, y), clone(model).fit(X, y))
    assert asked[0][:2] == ((1, 8, 8), 10)
    assert asked[0] == asked[1]


def test_a_model_by_name(digits):
    X, _, y, _ = digits
    model = CNNClassifier((1, 8, 8), "simple", epochs=5, lr=0.003, random_state=0).fit(X, y)
    assert type(model.network_).__name__ == "SimpleConvNet"
    assert model.score(X, y) > 0.9


def test_misfits_are_told(digits):
    X, _, y, _ = digits
    with pytest.raises(ShapeError, match="image_shape is"):
        CNNClassifier((1, 28, 28)).fit(X, y)
    with pytest.raises(ConfigError, match=r"end it with affine\(10\)"):
        CNNClassifier(model=[affine(7)]).fit(X, y)
    with pytest.raises(ConfigError, match="image_shape="):
        CNNClassifier(model="simple").fit(X, y)
    model = CNNClassifier((1, 8, 8), epochs=1).fit(X[:50], y[:50])
    with pytest.raises(ShapeError, match=r"fitted on samples of \(1, 8, 8\)"):
        model.predict(X.reshape(-1, 1, 4, 16))
    with pytest.raises(ShapeError, match=r"X\[:, None\]"):
        model.predict(X.reshape(-1, 8, 8))


def test_a_fit_that_failed_is_none(blobs):
    X, y = blobs
    model = CNNClassifier(epochs=3, lr=1e30, warm_start=True, threads=1, random_state=0)
    with pytest.raises(TrainingError), np.errstate(all="ignore"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert same(model.set_params(lr=0.001).fit(X, y), CNNClassifier(epochs=3, threads=1, random_state=0).fit(X, y))
    with pytest.raises(ConfigError, match="no optimizer is called"):
        CNNClassifier(optimizer="best").fit(X, y)


def test_going_on_on_another_device(blobs, cuda):
    X, y = blobs
    model = CNNClassifier(epochs=1, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    model.set_params(device=cuda.name).partial_fit(X, y)
    assert model.network_.device == cuda
    wanted = CNNClassifier(epochs=2, random_state=0).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), wanted, rtol=1e-3, atol=1e-5)  # float32 over eight steps


def test_bytes_are_warned_of(digits):
    X, _, y, _ = digits
    with pytest.warns(InputWarning, match="X / 255"):
        CNNClassifier(epochs=1).fit(np.round(X[:50] * 255).astype(np.uint8), y[:50])


def test_on_each_device(device, blobs):
    X, y = blobs
    model = CNNClassifier(model=[affine(8), "relu", affine(3)], epochs=2, device=device.name, random_state=0).fit(X, y)
    assert model.network_.device.name == device.name
    probability = model.predict_proba(X)
    assert isinstance(probability, np.ndarray)
    twin = pickle.loads(pickle.dumps(model))
    assert twin.network_.device.name == device.name
    assert np.array_equal(twin.predict_proba(X), probability)
    assert twin.partial_fit(X, y).n_iter_ == 3
    reference = CNNClassifier(model=[affine(8), "relu", affine(3)], epochs=2, random_state=0).fit(X, y)
    # float32 over a few steps, summed in another order
    np.testing.assert_allclose(probability, reference.predict_proba(X), rtol=1e-3, atol=1e-5)
