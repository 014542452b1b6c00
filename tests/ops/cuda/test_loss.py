from __future__ import annotations

import numpy as np
import pytest

from tests.ops.cuda.checks import DTYPES, assert_near, judged, normal
from xpcnn.device import Device
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cuda.loss import count_batch, softmax_cross_entropy, tally


def labels(seed: int, N: int, K: int, dtype: str = "int64") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, K, N).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("N", "K"), [(1, 1), (1, 10), (7, 3), (100, 10), (5, 129), (3, 1000)])
def test_loss_gradient_and_count(gpu: Device, N: int, K: int, smoothing: float, dtype: str) -> None:
    x = normal(N, (N, K), dtype) * np.dtype(dtype).type(5)
    t = labels(K, N, K, "int32" if N % 2 else "int64")
    into = tally(gpu.asarray(x), N)
    dx = softmax_cross_entropy(gpu.asarray(x), gpu.asarray(t), into, label_smoothing=smoothing, dout=3.0)
    loss, y = reference.softmax_cross_entropy_forward(judged(x), t, smoothing)
    want = reference.softmax_cross_entropy_backward(y, t, 3.0, smoothing)
    # The scores' rounding counts several times through exp, hence the magnitude of a whole row.
    assert_near(gpu.asnumpy(dx), want, dtype, terms=K, magnitude=4.0 * 3.0 / N)
    calculation = "float64" if dtype == "float64" else "float32"
    assert float(into.loss_sum[0]) == pytest.approx(float(loss) * N, rel=50 * float(np.finfo(calculation).eps))
    assert int(into.right[0]) == int(reference.count_right(judged(x), t))


def test_pieces_of_a_batch_add_up(gpu: Device) -> None:
    x, t = normal(0, (10, 4), "float64"), labels(1, 10, 4)
    into = tally(gpu.asarray(x), 6)
    parts = [
        softmax_cross_entropy(gpu.asarray(x[rows]), gpu.asarray(t[rows]), into, mean_over=10)
        for rows in (slice(0, 6), slice(6, 10), slice(10, 10))
    ]
    loss, y = reference.softmax_cross_entropy_forward(x, t)
    got = np.concatenate([gpu.asnumpy(part) for part in parts])
    assert_near(got, reference.softmax_cross_entropy_backward(y, t), "float64", magnitude=0.1)
    assert float(into.loss_sum[0]) == pytest.approx(float(loss) * 10, rel=1e-14)
    assert int(into.right[0]) == int(reference.count_right(x, t))
    assert int(into.done[0]) == 0
    into.clear()
    assert float(into.loss_sum[0]) == int(into.right[0]) == 0


def test_a_step_joins_its_epoch(gpu: Device) -> None:
    loss, right, loss_sum, right_sum = (gpu.asarray(a) for a in ([6.0], [2], [10.0], [5]))
    assert count_batch(loss, right, loss_sum, right_sum, 4) is loss
    assert [float(a[0]) for a in (loss, right, loss_sum, right_sum)] == [1.5, 2, 16, 7]


def test_evaluation_writes_no_gradient(gpu: Device) -> None:
    x, t = normal(0, (9, 5), "float32"), labels(1, 9, 5)
    into = tally(gpu.asarray(x), 9)
    assert softmax_cross_entropy(gpu.asarray(x), gpu.asarray(t), into, backward=False) is None
    assert int(into.right[0]) == int(reference.count_right(x, t))


def test_the_gradient_is_scaled_by_what_lies_on_the_device(gpu: Device) -> None:
    x, t = normal(0, (9, 5), "float16"), labels(1, 9, 5)
    into = tally(gpu.asarray(x), 9)
    scale = gpu.xp.full(1, 1024.0, dtype="float32")
    dx = softmax_cross_entropy(gpu.asarray(x), gpu.asarray(t), into, loss_scale=scale)
    y = reference.softmax(judged(x))
    want = reference.softmax_cross_entropy_backward(y, t, 1024.0)
    assert_near(gpu.asnumpy(dx), want, "float16", terms=5, magnitude=1024 / 9 * 2)
    assert float(into.loss_sum[0]) < 100  # the loss itself is not scaled


def test_scores_of_any_size(gpu: Device) -> None:
    x = np.array([[1e4, -1e4, 0.0], [1e38, -1e38, 1e38], [-1e30, 0.0, 1.0]], dtype="float32")
    t = np.array([1, 0, 2])
    into = tally(gpu.asarray(x), 3)
    dx = softmax_cross_entropy(gpu.asarray(x), gpu.asarray(t), into)
    loss, y = reference.softmax_cross_entropy_forward(x, t)
    assert_near(gpu.asnumpy(dx), reference.softmax_cross_entropy_backward(y, t), "float32", magnitude=1.0)
    assert float(into.loss_sum[0]) == pytest.approx(float(loss) * 3, rel=1e-6)


def test_equals_count_as_numpy_counts_them_and_nan_is_never_right(gpu: Device) -> None:
    nan = np.nan
    x = np.array([[1, 1, 0], [0, 2, 2], [0, nan, 5], [nan, nan, 1], [-np.inf] * 3], dtype="float32")
    for t in ([0, 1, 1, 0, 0], [1, 2, 2, 1, 1]):
        into = tally(gpu.asarray(x), 5)
        softmax_cross_entropy(gpu.asarray(x), gpu.asarray(np.array(t)), into)
        assert int(into.right[0]) == int(((x.argmax(axis=1) == t) & ~np.isnan(x).any(axis=1)).sum())
        assert np.isnan(float(into.loss_sum[0]))


@pytest.mark.parametrize("wrong", [-1, 3, 2**31])
def test_a_label_that_is_no_class_makes_its_row_nan_and_no_other(gpu: Device, wrong: int) -> None:
    x, t = normal(0, (3, 3), "float32"), np.array([0, wrong, 2])
    into = tally(gpu.asarray(x), 3)
    dx = gpu.asnumpy(softmax_cross_entropy(gpu.asarray(x), gpu.asarray(t), into))
    assert np.isnan(dx[1]).all()
    assert np.isfinite(dx[[0, 2]]).all()
    assert np.isnan(float(into.loss_sum[0]))


def test_arrays_that_do_not_fit(gpu: Device) -> None:
    x = gpu.asarray(normal(0, (3, 2), "float32"))
    with pytest.raises(ShapeError, match="labels"):
        softmax_cross_entropy(x, gpu.asarray(np.zeros(2, dtype="int64")), tally(x, 3))
    with pytest.raises(ShapeError, match="labels"):
        softmax_cross_entropy(x, gpu.asarray(np.zeros(3, dtype="uint8")), tally(x, 3))
    with pytest.raises(ShapeError, match="room for 2 rows"):
        softmax_cross_entropy(x, gpu.asarray(np.zeros(3, dtype="int64")), tally(x, 2))
