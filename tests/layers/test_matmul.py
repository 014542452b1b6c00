"""Layers that multiply matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracles_nd
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.layers import Context, Gemm, MatMul, Projection
from xpcnn.ops.gradcheck import check_layer

Ints = tuple[int, ...]


def _normal(device: Device, *shapes: Ints) -> list:
    random = np.random.default_rng(0)
    return [device.asarray(random.standard_normal(shape)) for shape in shapes]


def _whole(device: Device, *shapes: Ints) -> list:
    random = np.random.default_rng(1)
    return [device.asarray(random.integers(-4, 5, shape), "float32") for shape in shapes]


# --------------------------------------------------------------------------------------------------- two inputs
@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 2), (2, 4, 2, 3)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 3), (2, 3, 2))],
)
def test_matmul(device: Device, a: Ints, b: Ints) -> None:
    given = _whole(device, a, b)
    y = MatMul().forward(*given)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.matmul(*map(asnumpy, given)))  # whole numbers: exact
    # Linear in each argument: no truncation error, rounding leaves about 1e-9.
    errors = check_layer(MatMul(), *_normal(device, a, b))
    assert sorted(errors) == ["x0", "x1"]
    assert max(errors.values()) < 1e-6


def test_matmul_in_a_network_multiplies_within_a_sample() -> None:
    assert MatMul().output_shape((3, 4), (4, 5)) == (3, 5)
    assert MatMul().output_shape((1, 3, 4), (6, 4, 5)) == (6, 3, 5)
    for shapes in (((4,), (4,)), ((3, 4), (2, 4, 5)), ((4,), (4, 5))):
        with pytest.raises(ShapeError, match="wanted one or more matrices a sample and as many axes on both sides"):
            MatMul().output_shape(*shapes)
    with pytest.raises(ShapeError, match="do not fit a matrix product"):
        MatMul().output_shape((3, 4), (3, 4))
    with pytest.raises(ShapeError, match=r"MatMul.forward takes 2 array\(s\), got 1"):
        MatMul().forward(np.ones((2, 2)))


# -------------------------------------------------------------------------------------------------- a parameter
@pytest.mark.parametrize(
    ("x", "W", "left"),
    [
        ((2, 3), (3, 4), False),
        ((2, 5, 3), (3, 4), False),
        ((2, 5, 3), (3,), False),
        ((2, 4, 5, 3), (4, 3, 2), False),
        ((2, 1, 5, 3), (1, 4, 3, 2), False),
        ((2, 3, 5), (4, 3), True),
        ((2, 3, 5), (3,), True),
        ((2, 4, 3, 5), (4, 2, 3), True),
    ],
)
def test_projection(device: Device, x: Ints, W: Ints, left: bool) -> None:
    given, weights = _whole(device, x, W)
    layer = Projection(weights, left)
    y = layer.forward(given)
    order = (weights, given) if left else (given, weights)
    np.testing.assert_array_equal(asnumpy(y), oracles_nd.matmul(*map(asnumpy, order)))  # whole numbers: exact
    assert y.dtype == np.float32
    assert y.shape[1:] == layer.output_shape(x[1:])
    given, weights = _normal(device, x, W)
    errors = check_layer(Projection(weights, left), given)
    assert sorted(errors) == ["W", "x"]
    assert max(errors.values()) < 1e-6


def _apart(layer: Projection, x: np.ndarray) -> bool:
    """Whether each sample's output is what it is without the others."""
    try:
        y, alone = layer.forward(x), [layer.forward(x[i : i + 1]) for i in range(len(x))]
    except ShapeError:
        return False
    return (
        y.ndim > 0
        and y.shape[0] == len(x)
        and all(a.shape == (1, *y.shape[1:]) and np.allclose(a[0], y[i]) for i, a in enumerate(alone))
    )


def test_samples_are_kept_apart() -> None:
    random = np.random.default_rng(2)
    found = []
    for left in (False, True):
        for W_shape in ((3,), (3, 3), (3, 3, 3), (1, 3, 3), (3, 3, 3, 3), (1, 3, 3, 3)):
            for shape in ((3,), (3, 3), (3, 3, 3)):
                layer, x = Projection(random.standard_normal(W_shape), left), random.standard_normal((3, *shape))
                try:
                    allowed = layer.forward(x).shape == (3, *layer.output_shape(shape))
                except ShapeError:
                    allowed = False
                assert allowed == _apart(layer, x), (W_shape, shape, left)
                found.append(allowed)
    assert (found.count(True), found.count(False)) == (18, 18)


def test_projection_without_dx_and_its_errors() -> None:
    for left in (False, True):
        ctx = Context(need_dx=False)
        layer = Projection(np.ones((2, 2)), left)
        assert layer.backward_in(ctx, layer.forward_in(ctx, np.ones((1, 2, 2)))) is None
        assert list(ctx.grads) == ["W"]
    assert layer.W.shape == (2, 2)
    assert layer.dW is None  # only `backward` sets it
    with pytest.raises(ShapeError, match="got a number"):
        Projection(np.array(1.0))
    with pytest.raises(ShapeError, match=r"shapes \(5, 3\) and \(4, 2\) do not fit"):
        Projection(np.zeros((4, 2))).output_shape((5, 3))
    with pytest.raises(ShapeError, match=r"\(4, 3\) @ x with samples x of shape \(3,\) would not keep samples apart"):
        Projection(np.zeros((4, 3)), left=True).output_shape((3,))


# ------------------------------------------------------------------------------------------------ whole matrices
@pytest.mark.parametrize("c", [None, (4,), (2, 1)])
def test_gemm(device: Device, c: Ints | None) -> None:
    layer = Gemm(alpha=0.5, beta=-2.0, trans_a=True, trans_b=True)
    shapes = [(3, 2), (4, 3), *([c] if c else [])]
    arrays = _whole(device, *shapes)
    host = [asnumpy(a).astype(np.float64) for a in arrays]
    want = 0.5 * oracles_nd.matmul(host[0].T, host[1].T) + (-2.0 * host[2] if c else 0.0)
    y = layer.forward(*arrays)
    np.testing.assert_array_equal(asnumpy(y), want)  # whole numbers and powers of two: exact
    assert y.dtype == np.float32
    assert max(check_layer(layer, *_normal(device, *shapes)).values()) < 1e-6


def test_gemm_is_for_whole_arrays() -> None:
    with pytest.raises(ShapeError, match="mixes samples; use Affine"):
        Gemm().output_shape((3,), (3,))
    with pytest.raises(ShapeError, match="two or three arrays, got 1"):
        Gemm().forward(np.ones((2, 2)))
