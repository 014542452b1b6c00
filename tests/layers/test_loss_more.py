"""Losses beside the plain softmax: weights, ignored labels, labels at places, regression, yes-or-no outputs."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import (
    BinaryCrossEntropyWithLogits,
    Context,
    Loss,
    MeanSquaredError,
    NegativeLogLikelihood,
    SoftmaxWithLoss,
)
from xpcnn.ops.gradcheck import relative_error
from xpcnn.ops.reference import log_softmax

WEIGHTS = [0.5, 2.0, 1.0]

Case = tuple[Loss, np.ndarray, np.ndarray]


def _case(name: str) -> Case:
    random = np.random.default_rng(0)
    x, t = random.standard_normal((6, 3)), np.array([0, 2, 1, 2, 2, 0])
    places = random.integers(0, 3, (6, 2, 2))
    ignored = np.array([0, -1, 1, 2, -1, 0])
    return {
        "weights": lambda: (SoftmaxWithLoss(0.1, WEIGHTS), x, t),
        "ignored": lambda: (SoftmaxWithLoss(ignore_index=-1), x, ignored),
        "both": lambda: (SoftmaxWithLoss(0.2, WEIGHTS, -1), x, ignored),
        "rows": lambda: (SoftmaxWithLoss(0.1, WEIGHTS), x, np.eye(3)[t]),
        "places": lambda: (SoftmaxWithLoss(0.1), random.standard_normal((6, 3, 2, 2)), places),
        "log p": lambda: (NegativeLogLikelihood(WEIGHTS, 1), np.log(random.uniform(0.1, 1.0, (6, 3))), t),
        "log p at places": lambda: (NegativeLogLikelihood(), np.log(random.uniform(0.1, 1, (6, 3, 2, 2))), places),
        "squares": lambda: (MeanSquaredError(), random.standard_normal((6, 2, 3)), random.standard_normal((6, 2, 3))),
        "yes or no": lambda: (BinaryCrossEntropyWithLogits(), x, random.uniform(0.0, 1.0, (6, 3))),
        "weighted yes": lambda: (BinaryCrossEntropyWithLogits([1.0, 0.5, 4.0]), x, (np.eye(3)[t])),
    }[name]()


NAMES = ("weights", "ignored", "both", "rows", "places", "log p", "log p at places", "squares", "yes or no")
each_case = pytest.mark.parametrize("name", [*NAMES, "weighted yes"])


@each_case
def test_gradients_and_dtypes(device: Device, name: str) -> None:
    layer, x, t = _case(name)
    host = x.copy()
    slopes = oracles.central_difference(lambda: float(layer.forward(host, t)), host)
    labels = device.asarray(t)
    loss = layer.forward(device.asarray(x), labels)
    assert (loss.shape, loss.dtype) == ((), "float64")
    # The difference errs by about 1e-10; 1e-6 as for every layer.
    assert relative_error(layer.backward(), slopes) < 1e-6
    np.testing.assert_allclose(asnumpy(layer.backward(dout=3.0)), 3.0 * asnumpy(layer.backward()), rtol=1e-14)
    single = layer.forward(device.asarray(x, "float32"), labels)
    assert (single.dtype, layer.backward().dtype) == ("float32", "float32")
    assert float(single) == pytest.approx(float(loss), rel=1e-5)  # some hundred roundings of 6e-8
    np.testing.assert_array_equal(asnumpy(labels), t)


@each_case
@pytest.mark.parametrize("cuts", [(0, 6), (0, 1, 6), (0, 2, 3, 6)])
def test_the_pieces_of_a_batch_make_up_its_loss(device: Device, name: str, cuts: tuple[int, ...]) -> None:
    """Pieces of which no label counts ([4:5] of the ignored ones) among them."""
    layer, x, t = _case(name)
    xs, ts = device.asarray(x), device.asarray(t)
    want, gradient = float(layer.forward(xs, ts)), asnumpy(layer.backward())
    of_piece = layer.of_batch(ts, x.shape[1:])
    total, parts = 0.0, []
    for start, stop in itertools.pairwise(cuts):
        ctx = Context()
        share = (stop - start) / 6
        total += float(of_piece.forward_in(ctx, xs[start:stop], ts[start:stop])) * share
        parts.append(asnumpy(of_piece.backward_in(ctx, share)))
    assert total == pytest.approx(want, rel=1e-14)  # sums of six in another order
    np.testing.assert_allclose(np.concatenate(parts), gradient, rtol=1e-13, atol=1e-17)


def test_a_weighted_mean_is_over_the_weights(device: Device) -> None:
    _, x, t = _case("weights")
    log_p = np.array([oracles.log_softmax(row) for row in x.tolist()])
    losses = [-float(log_p[i, label]) * WEIGHTS[label] for i, label in enumerate(t.tolist())]
    want = math.fsum(losses) / math.fsum(WEIGHTS[label] for label in t.tolist())
    assert float(SoftmaxWithLoss(0.0, WEIGHTS).forward(device.asarray(x), device.asarray(t))) == pytest.approx(want)
    rows = device.asarray(np.eye(3)[t])
    assert float(SoftmaxWithLoss(0.0, WEIGHTS).forward(device.asarray(x), rows)) == pytest.approx(want)
    weights = device.asarray(WEIGHTS)
    ends = NegativeLogLikelihood(weights).forward(log_softmax(device.asarray(x)), device.asarray(t))
    assert float(ends) == pytest.approx(want)


def test_weights_of_one_and_nothing_ignored_change_nothing(device: Device) -> None:
    _, x, t = _case("weights")
    plain, weighed = SoftmaxWithLoss(0.1), SoftmaxWithLoss(0.1, [1.0, 1.0, 1.0], -1)
    xs, ts = device.asarray(x), device.asarray(t)
    assert float(weighed.forward(xs, ts)) == pytest.approx(float(plain.forward(xs, ts)), rel=1e-14)
    np.testing.assert_allclose(asnumpy(weighed.backward()), asnumpy(plain.backward()), rtol=0.0, atol=1e-16)
    np.testing.assert_allclose(asnumpy(weighed.y), asnumpy(plain.y), rtol=1e-14)
    assert plain.of_batch(ts, (3,)) is plain


def test_a_batch_of_which_nothing_counts(device: Device) -> None:
    x, t = device.asarray(np.ones((2, 3))), device.asarray(np.array([-1, -1]))
    layer = SoftmaxWithLoss(0.1, WEIGHTS, -1)
    assert float(layer.forward(x, t)) == 0.0
    np.testing.assert_array_equal(asnumpy(layer.backward()), np.zeros((2, 3)))
    assert float(layer.weight(t, (3,))) == 0.0


def test_accuracy(device: Device) -> None:
    x = device.asarray(np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]))
    t = device.asarray(np.array([0, 1, 0]))
    assert int(SoftmaxWithLoss().count_right(x, t)) == int(NegativeLogLikelihood().count_right(x, t)) == 2
    assert int(SoftmaxWithLoss(ignore_index=1).count_right(x, t)) == 2
    assert int(BinaryCrossEntropyWithLogits().count_right(x[:, :1], t[:, None])) == 1
    assert MeanSquaredError().count_right(x, x) is None
    assert SoftmaxWithLoss().count_right(x[:, :, None], t[:, None]) is None
    judges = [loss.judges((2,)) for loss in (SoftmaxWithLoss(), BinaryCrossEntropyWithLogits(), MeanSquaredError())]
    assert judges == [True, True, False]
    assert not SoftmaxWithLoss().judges((2, 4, 4))


def test_no_array_of_a_device_is_pickled(device: Device) -> None:
    layer, x, t = _case("both")
    loss = float(layer.forward(device.asarray(x), device.asarray(t)))
    twin = pickle.loads(pickle.dumps(layer))
    assert not twin._placed
    assert twin._context is None
    assert float(twin.forward(device.asarray(x), device.asarray(t))) == loss


@pytest.mark.parametrize(
    ("layer", "t", "output_shape", "words"),
    [
        (SoftmaxWithLoss(), np.zeros(4, int), (3, 2, 2), "takes a row of scores a sample, but the network gives"),
        (SoftmaxWithLoss(), np.zeros((4, 2), int), (3, 5), r"labels for scores \(4, 3, 5\) have shape \(4, 5\)"),
        (SoftmaxWithLoss(), np.full((4, 5), 3), (3, 5), r"lie in 0..2, got values from 3 to 3"),
        (SoftmaxWithLoss(weights=WEIGHTS), np.zeros(4, int), (4,), "weights for 3 classes, but scores for 4"),
        (SoftmaxWithLoss(ignore_index=-1), np.eye(3)[[0, 1, 2, 0]], (3,), "ignore_index goes with class numbers"),
        (SoftmaxWithLoss(ignore_index=-1), np.array([0, -1, -2, 1]), (3,), "got values from -2 to 1"),
        (MeanSquaredError(), np.zeros(4), (1,), r"\(4, 1\), got \(4,\); use t\[:, None\]"),
        (MeanSquaredError(), np.zeros(4, int), (3,), "labels of classes are for SoftmaxWithLoss"),
        (MeanSquaredError(), np.zeros((4, 2)), (3,), r"have the shape of the network's output, \(4, 3\), got \(4, 2\)"),
        (MeanSquaredError(), np.array([["a"]]), (1,), "real numbers, got dtype"),
        (MeanSquaredError(), np.array([[0.0], [0.0], [np.nan], [0.0]]), (1,), "that of sample 2 holds a NaN"),
        (BinaryCrossEntropyWithLogits(), np.full((4, 1), 2), (1,), "lie in 0..1, got values from 2 to 2"),
        (BinaryCrossEntropyWithLogits(), np.full((4, 1), np.nan), (1,), "lie in 0..1, got values from nan"),
        (BinaryCrossEntropyWithLogits([1.0, 2.0]), np.zeros((4, 3)), (3,), r"of shape \(2,\) does not meet"),
    ],
)
def test_targets_that_do_not_fit(layer: Loss, t: np.ndarray, output_shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        layer.check_targets(t, 4, output_shape)
    if "a row of scores" not in words:  # SoftmaxWithLoss on its own says so in other words
        with pytest.raises(ShapeError, match=words):
            layer.forward(np.zeros((4, *output_shape)), t)


def test_targets_on_a_device_are_not_read_back(cuda: Device) -> None:
    for layer, t in (
        (MeanSquaredError(), np.full((4, 3), np.nan)),
        (BinaryCrossEntropyWithLogits(), np.full((4, 3), 7.0)),
        (SoftmaxWithLoss(ignore_index=-1), np.full(4, 9)),
    ):
        layer.check_targets(cuda.asarray(t), 4, (3,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SoftmaxWithLoss(weights=[[1.0]]), "a number of at least 0 for each class"),
        (lambda: SoftmaxWithLoss(weights=[1.0, -1.0]), "a number of at least 0 for each class"),
        (lambda: NegativeLogLikelihood([math.nan]), "a number of at least 0 for each class"),
        (lambda: SoftmaxWithLoss(ignore_index=1.5), "ignore_index is a whole number, got 1.5"),
        (lambda: SoftmaxWithLoss(ignore_index=True), "ignore_index is a whole number, got True"),
        (lambda: BinaryCrossEntropyWithLogits(-1.0), "pos_weight is a number of at least 0"),
    ],
)
def test_wrong_arguments(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_order_and_empty_batches() -> None:
    for layer in (MeanSquaredError(), BinaryCrossEntropyWithLogits(), NegativeLogLikelihood()):
        with pytest.raises(ShapeError, match=f"{type(layer).__name__}.backward was called before forward"):
            layer.backward()
    with pytest.raises(ShapeError, match="empty batch"):
        MeanSquaredError().forward(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ShapeError, match="at least one sample"):
        NegativeLogLikelihood().forward(np.zeros((0, 3)), np.zeros(0, int))
