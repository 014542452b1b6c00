"""The book's style computes what we compute, so that its times are those of the same work."""

from __future__ import annotations

import numpy as np
import pytest
from book_style import Adam, BookNetwork, col2im, im2col
from peers.ours import network
from workloads import Affine, Conv, Net, parameters

from xpcnn.optimizers import make_optimizer

SIMPLE = Net("simple", (1, 12, 12), (Conv(1, 4, 5), "relu", "pool", Affine(64, 6), "relu", Affine(6, 5)))
DEEP = Net(
    "deep",
    (1, 12, 12),
    (
        *(Conv(1, 3, 3, 1, 1), "relu", Conv(3, 4, 3, 1, 1), "relu", "pool"),
        *(Conv(4, 5, 3, 1, 1), "relu", Conv(5, 4, 3, 1, 2), "relu", "pool"),
        *(Affine(64, 7), "relu", Affine(7, 5)),
    ),
)
STRIDED = Net("strided", (2, 11, 11), (Conv(2, 3, 3, 2, 1), "relu", "pool", Affine(27, 5)))
nets = pytest.mark.parametrize("net", [SIMPLE, DEEP, STRIDED], ids=lambda net: net.title)


def batch(net, N=6):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((N, *net.shape))
    x[rng.random(x.shape) < 0.5] = 0.0  # equal values in pooling windows: the first one wins in both
    return x, rng.integers(0, 5, N)


@nets
def test_scores_loss_and_gradients_are_ours(net):
    book, ours = BookNetwork(net, parameters(net)), network(net).copy("float64")
    x, t = batch(net)
    # The same sums in another order, terms of the size of 1, in float64.
    np.testing.assert_allclose(book.predict(x), ours.predict(x), rtol=0.0, atol=1e-12)
    # The book adds 1e-7 within the logarithm.
    assert book.loss(x, t) == pytest.approx(float(ours.loss(x, t)), rel=1e-5)
    theirs, mine = book.gradient(x, t), ours.gradient(x, t)
    assert theirs.keys() == mine.keys()
    for name, g in mine.items():
        assert abs(g).max() > 1e-4, name
        np.testing.assert_allclose(theirs[name], g, rtol=0.0, atol=1e-12, err_msg=name)


def test_accuracy_counts_every_sample():
    net = BookNetwork(SIMPLE, parameters(SIMPLE))
    x, t = batch(SIMPLE, 7)
    right = net.predict(x).argmax(axis=1) == t
    assert net.accuracy(x, t, batch_size=3) == right.mean()


def test_everything_is_float64_whatever_comes_in():
    assert im2col(np.zeros((1, 1, 4, 4), np.float32), 2, 2).dtype == np.float64


@pytest.mark.parametrize(("size", "stride", "pad"), [(3, 1, 0), (3, 2, 1), (2, 2, 0)])
def test_col2im_is_the_transpose_of_im2col(size, stride, pad):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 7, 6))
    col = im2col(x, size, size, stride, pad)
    other = rng.standard_normal(col.shape)
    back = col2im(other, x.shape, size, size, stride, pad)
    # <im2col(x), y> = <x, col2im(y)>; sums of some hundred terms of the size of 1.
    assert np.sum(col * other) == pytest.approx(np.sum(x * back), rel=1e-12, abs=1e-10)


def test_dropout_is_the_books():
    net = BookNetwork(Net("", (1, 10, 100), ("dropout",)), {}, dropout_ratio=0.3)
    x = np.ones((2, 1, 10, 100))
    np.testing.assert_array_equal(net.predict(x), 0.7 * x)
    y = net.predict(x, train=True)
    assert set(np.unique(y)) == {0.0, 1.0}
    assert 0.6 < y.mean() < 0.8  # 2,000 draws: the standard deviation is 0.01
    np.testing.assert_array_equal(net.backward(x.copy()), y)


def test_adam_is_ours_but_for_its_epsilon():
    rng = np.random.default_rng(1)
    book = {"W": rng.standard_normal((3, 4)), "b": rng.standard_normal(4)}
    mine = {name: a.copy() for name, a in book.items()}
    theirs, ours = Adam(0.01), make_optimizer("adam", lr=0.01)
    for _ in range(5):
        grads = {name: np.sign(g) + 0.1 * g for name, g in ((n, rng.standard_normal(a.shape)) for n, a in book.items())}
        theirs.update(book, grads)
        ours.update(mine, grads)
    for name, a in mine.items():
        # 1e-7 beside an uncorrected root of at least sqrt(0.001) is 3e-6 of a step of 0.01, five times.
        np.testing.assert_allclose(book[name], a, rtol=0.0, atol=5 * 0.01 * 5e-6)
