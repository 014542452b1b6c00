"""The reference operations and their gradients against PyTorch's, in float64.

Both sides compute the same sums in another order: a relative 1e-11 of the largest value covers some thousands of
terms at eps = 2.2e-16 with room for unlucky cancellation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xpcnn.ops import reference
from xpcnn.ops.geometry import pair, quad

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity


def _leaf(a: np.ndarray) -> Any:
    return torch.tensor(a, requires_grad=True)


def _same(got: Any, want: Any) -> None:
    want = want.detach().numpy()
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    largest = float(abs(want).max()) if want.size else 0.0
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-11 * max(largest, 1e-3))


def _pad(x: Any, pad: Any, value: float = 0.0) -> Any:
    """PyTorch's own pad argument is symmetric; F.pad takes (left, right, top, bottom)."""
    top, left, bottom, right = quad(pad)
    return F.pad(x, (left, right, top, bottom), value=value)


# ------------------------------------------------------------------------------------------------- convolution
@pytest.mark.parametrize(
    ("x_shape", "W_shape", "options"),
    [
        ((2, 3, 9, 8), (4, 3, 3, 3), {}),
        ((2, 3, 9, 8), (4, 3, 3, 2), {"stride": (2, 1), "pad": (1, 2)}),
        ((1, 2, 8, 9), (3, 2, 2, 3), {"stride": (1, 3), "pad": (2, 0, 1, 3), "dilation": (3, 2)}),
        ((2, 6, 7, 7), (4, 3, 3, 3), {"pad": 1, "groups": 2}),
        ((2, 4, 7, 6), (8, 1, 3, 2), {"stride": 2, "pad": (0, 1, 2, 0), "groups": 4}),  # depthwise
        ((1, 4, 10, 10), (4, 1, 3, 3), {"dilation": 2, "groups": 4}),
        ((2, 1, 28, 28), (30, 1, 5, 5), {}),  # the book's first layer
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d(x_shape, W_shape, options: dict[str, Any], bias: bool) -> None:
    random = np.random.default_rng(0)
    x, W, b = (random.standard_normal(shape) for shape in (x_shape, W_shape, W_shape[:1]))
    y, col = reference.conv2d_forward(x, W, b if bias else None, **options)
    tx, tW, tb = map(_leaf, (x, W, b))
    stride, dilation = pair(options.get("stride", 1), "stride"), pair(options.get("dilation", 1), "dilation")
    ty = F.conv2d(
        _pad(tx, options.get("pad", 0)), tW, tb if bias else None, stride, 0, dilation, options.get("groups", 1)
    )
    _same(y, ty)
    dout = random.standard_normal(y.shape)
    ty.backward(torch.tensor(dout))
    dx, dW, db = reference.conv2d_backward(dout, col, W, x_shape, **options)
    _same(dx, tx.grad)
    _same(dW, tW.grad)
    if bias:
        _same(db, tb.grad)


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize(("pad", "dilation"), [(0, 1), ((1, 2), 1), (2, (1, 2))])
def test_im2col_and_col2im(stride: Any, pad: Any, dilation: Any) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 7, 8))
    geometry = {"stride": stride, "padding": pad, "dilation": dilation}
    # torch.nn.Unfold has (N, C*FH*FW, OH*OW): a column, where the book has a row.
    col = reference.im2col(x, 3, 2, stride, pad, dilation)
    columns = F.unfold(torch.tensor(x), (3, 2), **geometry)
    _same(col, columns.transpose(1, 2).reshape(col.shape))
    _same(reference.col2im(col, x.shape, 3, 2, stride, pad, dilation), F.fold(columns, (7, 8), (3, 2), **geometry))


# ----------------------------------------------------------------------------------------------------- pooling
POOLS = [
    ((2, 3, 8, 8), (2, 2), 2, 0),
    ((2, 3, 7, 9), (3, 2), (2, 1), (1, 0)),
    ((1, 2, 7, 6), (3, 3), (1, 2), (2, 0, 1, 2)),
    ((2, 1, 6, 6), (3, 3), 1, 1),
]


@pytest.mark.parametrize(("shape", "window", "stride", "pad"), POOLS)
@pytest.mark.parametrize("picture", ["random", "negative", "ties", "nan"])
def test_max_pool(shape, window, stride: Any, pad: Any, picture: str) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal(shape)
    if picture == "negative":
        x = -abs(x) - 1.0
    elif picture == "ties":
        x = random.integers(-1, 2, shape).astype(np.float64)
    elif picture == "nan":
        x[0, 0, 2, 3] = np.nan
    y, winner = reference.max_pool2d_forward(x, *window, stride, pad)
    tx = _leaf(x)
    ty = F.max_pool2d(_pad(tx, pad, -math.inf), window, pair(stride, "stride"))
    np.testing.assert_array_equal(y, ty.detach().numpy())
    dout = random.standard_normal(y.shape)
    ty.backward(torch.tensor(dout))
    # PyTorch too gives the gradient to the first of equals.
    _same(reference.max_pool2d_backward(dout, winner, shape, *window, stride, pad), tx.grad)


@pytest.mark.parametrize(("shape", "window", "stride", "pad"), POOLS)
@pytest.mark.parametrize("count_pad", [True, False])
def test_average_pool(shape, window, stride: Any, pad: Any, count_pad: bool) -> None:
    random = np.random.default_rng(3)
    x, tx = (a := random.standard_normal(shape)), _leaf(a)
    if not isinstance(pad, tuple) or len(pad) == 2:
        ty = F.avg_pool2d(tx, window, pair(stride, "stride"), pad, count_include_pad=count_pad)
    else:  # asymmetric: average the padded picture, then scale by what was inside
        ty = F.avg_pool2d(_pad(tx, pad), window, pair(stride, "stride"))
        if not count_pad:
            ty = ty / F.avg_pool2d(_pad(torch.ones(shape, dtype=torch.float64), pad), window, pair(stride, "stride"))
    _same(reference.average_pool2d_forward(x, *window, stride, pad, count_pad), ty)
    dout = random.standard_normal(tuple(ty.shape))
    ty.backward(torch.tensor(dout))
    _same(reference.average_pool2d_backward(dout, shape, *window, stride, pad, count_pad), tx.grad)


# ------------------------------------------------------------------------------------- element-wise and affine
@pytest.mark.parametrize(
    ("name", "theirs", "options", "takes"),
    [
        ("relu", lambda x: F.relu(x), {}, "y"),
        ("leaky_relu", lambda x: F.leaky_relu(x, 0.2), {"slope": 0.2}, "x"),
        ("elu", lambda x: F.elu(x, 0.7), {"alpha": 0.7}, "x"),
        ("sigmoid", lambda x: torch.sigmoid(x), {}, "y"),
        ("tanh", lambda x: torch.tanh(x), {}, "y"),
    ],
)
def test_activations(name: str, theirs, options: dict[str, float], takes: str) -> None:
    random = np.random.default_rng(4)
    x, dout = random.uniform(-8.0, 8.0, (4, 3, 5)), random.standard_normal((4, 3, 5))
    x[0, 0, 0] = 0.0
    tx = _leaf(x)
    ty = theirs(tx)
    ty.backward(torch.tensor(dout))
    y = getattr(reference, f"{name}_forward")(x, **options)
    _same(y, ty)
    _same(getattr(reference, f"{name}_backward")(dout, x if takes == "x" else y, **options), tx.grad)


@pytest.mark.parametrize("x_shape", [(5, 24), (5, 2, 3, 4)])
def test_affine(x_shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(5)
    x, W, b, dout = (random.standard_normal(shape) for shape in (x_shape, (24, 7), (7,), (5, 7)))
    tx, tW, tb = map(_leaf, (x, W, b))
    ty = F.linear(tx.flatten(1), tW.T, tb)
    ty.backward(torch.tensor(dout))
    _same(reference.affine_forward(x, W, b), ty)
    for got, leaf in zip(reference.affine_backward(dout, x, W), (tx, tW, tb), strict=True):
        _same(got, leaf.grad)


# ----------------------------------------------------------------------------------------------- normalisation
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5, 2)])
@pytest.mark.parametrize("batch", [True, False])
def test_batch_norm(shape: tuple[int, ...], batch: bool) -> None:
    random = np.random.default_rng(6)
    x, gamma, beta, dout = (random.standard_normal(s) for s in (shape, shape[1:2], shape[1:2], shape))
    mean, var = random.standard_normal(shape[1]), random.uniform(0.5, 2.0, shape[1])
    tx, tgamma, tbeta = map(_leaf, (x, gamma, beta))
    ty = F.batch_norm(tx, torch.tensor(mean), torch.tensor(var), tgamma, tbeta, training=batch, eps=1e-3)
    ty.backward(torch.tensor(dout))
    if batch:
        y, x_hat, inverse_std, _, _ = reference.batch_norm_forward(x, gamma, beta, 1e-3)
    else:
        y, x_hat, inverse_std = reference.batch_norm_apply(x, gamma, beta, mean, var, 1e-3)
    _same(y, ty)
    gradients = reference.batch_norm_backward(dout, x_hat, gamma, inverse_std, batch)
    for got, leaf in zip(gradients, (tx, tgamma, tbeta), strict=True):
        _same(got, leaf.grad)


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"), [(5, 1e-4, 0.75, 2.0), (3, 0.5, 0.6, 1.0), (1, 0.3, 0.75, 1.0)]
)
def test_lrn(size: int, alpha: float, beta: float, k: float) -> None:
    # PyTorch divides the sum by size first; its windows agree with ours for odd sizes only (even ones lean the
    # other way there, and forward in ONNX as here).
    random = np.random.default_rng(7)
    x, dout = random.standard_normal((2, 7, 3, 4)), random.standard_normal((2, 7, 3, 4))
    tx = _leaf(x)
    ty = F.local_response_norm(tx, size, alpha * size, beta, k)
    ty.backward(torch.tensor(dout))
    y, bracket = reference.lrn_forward(x, size, alpha, beta, k)
    _same(y, ty)
    _same(reference.lrn_backward(dout, x, bracket, size, alpha, beta), tx.grad)


# -------------------------------------------------------------------------------------------------------- loss
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str, axis: int) -> None:
    random = np.random.default_rng(8)
    x, dout = random.standard_normal((3, 5, 4)) * 10.0, random.standard_normal((3, 5, 4))
    tx = _leaf(x)
    ty = getattr(F, name)(tx, dim=axis)
    ty.backward(torch.tensor(dout))
    y = getattr(reference, name)(x, axis)
    _same(y, ty)
    _same(getattr(reference, f"{name}_backward")(dout, y, axis), tx.grad)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy(size: float, smoothing: float) -> None:
    random = np.random.default_rng(9)
    x, t = random.uniform(-size, size, (8, 10)), random.integers(0, 10, 8)
    tx = _leaf(x)
    loss = F.cross_entropy(tx, torch.tensor(t), label_smoothing=smoothing)
    (loss * 3.0).backward()
    got, p = reference.softmax_cross_entropy_forward(x, t, smoothing)
    _same(got, loss)
    _same(reference.softmax_cross_entropy_backward(p, t, 3.0, smoothing), tx.grad)
