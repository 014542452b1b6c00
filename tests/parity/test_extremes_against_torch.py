"""The operations at the edges of their arithmetic against PyTorch's; where the two differ, why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from xpcnn.ops import reference
from xpcnn.ops.geometry import pair

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

nan, inf = math.nan, math.inf
EXTREMES = [0.0, -0.0, 1.0, -1.0, 1e-42, -1e-42, 1e30, -1e30, 3e38, -3e38, 88.0, -104.0, inf, -inf, nan]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Torch's threads would only wait for each other on arrays this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _leaf(a: np.ndarray) -> Any:
    return torch.tensor(a, requires_grad=True)


def _same(got: Any, want: Any, terms: int = 8) -> None:
    """Equal where not finite (NaN is NaN), and to some roundings elsewhere."""
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    eps = float(np.finfo(want.dtype).eps)
    np.testing.assert_allclose(got, want, rtol=terms * eps, atol=terms * eps)


def _pictures(shape: tuple[int, ...], dtype: str, value: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    x[0, 0, shape[2] // 2, shape[3] // 2] = value
    return x


@each_dtype
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "tanh", "sigmoid"])
def test_functions_of_one_element(name: str, dtype: str) -> None:
    x = np.array(EXTREMES, dtype)
    y = getattr(reference, f"{name}_forward")(x)
    tx = _leaf(x)
    ty = getattr(torch if name in ("tanh", "sigmoid") else F, name)(tx)
    # Of sigmoid ours has an absolute precision (by way of tanh, which never overflows): sigmoid(-88) is 0 here and
    # 6e-39 there. A difference of 1 - y and of products with it that no float32 sum would notice.
    _same(y, ty)
    dout = np.full_like(x, 3.0)
    ty.backward(torch.tensor(dout))
    takes = x if name in ("leaky_relu", "elu") else y
    got, want = getattr(reference, f"{name}_backward")(dout, takes), tx.grad
    # At NaN there is no slope. PyTorch passes the gradient on; ours is dout * 0 (ReLU), dout * slope or NaN (ELU).
    # Neither must show the NaN here: it has gone forward into the loss, and what really comes back is NaN itself.
    numbers = ~np.isnan(x) if name.endswith("elu") else np.ones(len(x), bool)
    _same(got[numbers], want[torch.tensor(numbers)])


@each_dtype
def test_gradients_that_are_not_numbers_pass_our_relu(dtype: str) -> None:
    """PyTorch picks 0 where x <= 0, whatever arrives; ours multiplies by the mask, so that 0 * NaN still is seen."""
    x, dout = np.array([-1.0, 1.0], dtype), np.array([nan, nan], dtype)
    tx = _leaf(x)
    F.relu(tx).backward(torch.tensor(dout))
    np.testing.assert_array_equal(tx.grad.numpy(), [0.0, nan])
    np.testing.assert_array_equal(reference.relu_backward(dout, reference.relu_forward(x)), [nan, nan])


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 1, 1, 1), (2, 1, 3, 3), {"pad": 1}),
    ((2, 3, 5, 4), (2, 3, 5, 4), {}),  # kernel = picture
    ((2, 2, 7, 7), (3, 2, 2, 2), {"stride": 5}),  # stride > kernel
    ((1, 1, 6, 6), (1, 1, 3, 3), {"pad": 2, "stride": (4, 1)}),
    ((0, 2, 5, 5), (3, 2, 3, 3), {}),
    ((1, 4, 5, 5), (4, 1, 3, 3), {"groups": 4}),
]


@each_dtype
@pytest.mark.parametrize("value", [1.0, 1e-42, 1e30, inf, -inf, nan])
@pytest.mark.parametrize(("x_shape", "W_shape", "options"), CONVOLUTIONS)
def test_conv2d(x_shape: Any, W_shape: Any, options: dict[str, Any], value: float, dtype: str) -> None:
    if value != 1.0 and not x_shape[0]:
        return
    x = _pictures(x_shape, dtype, value) if x_shape[0] else np.zeros(x_shape, dtype)
    W = np.random.default_rng(1).standard_normal(W_shape).astype(dtype)
    b = np.zeros(W_shape[0], dtype)
    y, col = reference.conv2d_forward(x, W, b, **options)
    tx, tW, tb = map(_leaf, (x, W, b))
    stride = pair(options.get("stride", 1), "stride")
    ty = F.conv2d(tx, tW, tb, stride, options.get("pad", 0), 1, options.get("groups", 1))
    scale = 1e30 if value == 1e30 else 1.0  # sums with such a term are precise relative to it
    _same(y / dtype_of(scale, dtype), ty / scale, 100)
    dout = np.ones_like(y)
    ty.backward(torch.tensor(dout))
    dx, dW, db = reference.conv2d_backward(dout, col, W, x_shape, **options)
    _same(dx, tx.grad, 100)
    _same(dW / dtype_of(scale, dtype), tW.grad / scale, 100)
    _same(db, tb.grad, 100)


def dtype_of(value: float, dtype: str) -> Any:
    return np.dtype(dtype).type(value)


@each_dtype
@pytest.mark.parametrize("value", [1e-42, 1e30, inf, -inf, nan])
@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [((1, 1, 1, 1), (1, 1), 1), ((2, 1, 4, 5), (4, 5), 1), ((2, 2, 7, 8), (2, 2), 5), ((1, 1, 5, 5), (3, 3), 2)],
)
def test_pooling(shape: Any, window: Any, stride: int, value: float, dtype: str) -> None:
    x = _pictures(shape, dtype, value)
    tx = _leaf(x)
    ty = F.max_pool2d(tx, window, stride)
    y, winner = reference.max_pool2d_forward(x, *window, stride)
    np.testing.assert_array_equal(y, ty.detach().numpy())
    dout = np.ones_like(y)
    ty.backward(torch.tensor(dout))
    np.testing.assert_array_equal(reference.max_pool2d_backward(dout, winner, shape, *window, stride), tx.grad.numpy())
    scale = 1e30 if value == 1e30 else 1.0
    mean = reference.average_pool2d_forward(x, *window, stride) / dtype_of(scale, dtype)
    _same(mean, F.avg_pool2d(torch.tensor(x), window, stride) / scale, 30)


@each_dtype
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("N", [1, 3])
def test_affine(N: int, value: float, dtype: str) -> None:
    x, W = np.zeros((N, 4), dtype), np.ones((4, 3), dtype)
    x[0, 1] = W[2, 2] = value
    _same(reference.affine_forward(x, W), torch.tensor(x) @ torch.tensor(W))


@each_dtype
@pytest.mark.parametrize("value", [nan, inf, 1e10, 1e-42])
def test_batch_norm(value: float, dtype: str) -> None:
    x = _pictures((4, 3, 2, 2), dtype, value)
    y, *_ = reference.batch_norm_forward(x, np.ones(3, dtype), np.zeros(3, dtype))
    _same(y, F.batch_norm(torch.tensor(x), None, None, training=True), 200)


def test_batch_norm_of_squares_beyond_float32() -> None:
    """PyTorch adds up in float64 on a CPU and stays finite; ours adds up in the network's dtype and says NaN.

    Either is honest. The plain formula is not: 1/sqrt(inf) is 0, and a channel of beta looks like a result.
    """
    x = _pictures((4, 1, 2, 2), "float32", 1e30)
    assert np.isfinite(F.batch_norm(torch.tensor(x), None, None, training=True).numpy()).all()
    y, *_ = reference.batch_norm_forward(x, np.ones(1, np.float32), np.zeros(1, np.float32))
    assert np.isnan(y).all()


def test_batch_norm_of_one_sample() -> None:
    """PyTorch refuses it; with the biased variance, as here and in the book, it is defined, and gives beta.

    An epoch's last batch may be of one sample, which is no reason to end a run.
    """
    x = np.array([[5.0, -3.0]], np.float32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(torch.tensor(x), None, None, training=True)
    y, *_ = reference.batch_norm_forward(x, np.ones(2, np.float32), np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(y, [[1.0, 2.0]])


@each_dtype
@pytest.mark.parametrize("value", [nan, inf, 1e30, 1e-42])
def test_lrn(value: float, dtype: str) -> None:
    x = _pictures((1, 5, 2, 2), dtype, value)
    y, _ = reference.lrn_forward(x, 3, 1e-4, 0.75, 1.0)
    _same(y, F.local_response_norm(torch.tensor(x), 3, 3e-4, 0.75, 1.0), 50)


SCORES = [
    [nan, 0.0, 1.0],
    [inf, 0.0, 1.0],
    [-inf, -inf, -inf],
    [-inf, 0.0, 1.0],
    [1e30, -1e30, 0.0],
    [3e38, 3e38, -3e38],
    [1e-42, 0.0, -1e-42],
    [-104.0, 88.8, 710.0],
]


@each_dtype
@pytest.mark.parametrize("row", SCORES)
def test_softmax_and_cross_entropy(row: list[float], dtype: str) -> None:
    x = np.array([row, [0.0, 1.0, 2.0]], dtype)
    _same(reference.softmax(x), F.softmax(torch.tensor(x), dim=1))
    _same(reference.log_softmax(x), F.log_softmax(torch.tensor(x), dim=1))
    for label in range(3):
        t = np.array([label, 1])
        tx = _leaf(x)
        want = F.cross_entropy(tx, torch.tensor(t))
        want.backward()
        loss, p = reference.softmax_cross_entropy_forward(x, t)
        _same(loss, want)
        _same(reference.softmax_cross_entropy_backward(p, t), tx.grad)


def test_the_loss_of_nothing() -> None:
    """PyTorch's mean of no losses is NaN; ours is refused, for nobody means to ask for it."""
    assert math.isnan(F.cross_entropy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).item())
    with pytest.raises(ValueError, match="the mean loss of an empty batch is not defined"):
        reference.softmax_cross_entropy_forward(np.zeros((0, 3)), np.zeros(0, int))


def test_nan_is_never_right() -> None:
    """PyTorch's argmax, like NumPy's, names the first NaN; an accuracy made of it counts a spoilt row as class 0."""
    x, t = np.full((4, 3), nan, np.float32), np.zeros(4, int)
    assert int((torch.tensor(x).argmax(1) == torch.tensor(t)).sum()) == 4
    assert int(reference.count_right(x, t)) == 0
