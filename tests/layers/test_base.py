"""What every layer promises, one catalogue for all: gradients, dtypes kept, arguments left alone, passes apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.layers import (
    cases_arithmetic,
    cases_convolution,
    cases_elementwise,
    cases_normalization,
    cases_pooling,
    cases_shape,
)
from xpcnn.device import Device, asnumpy, get_array_module, get_device
from xpcnn.errors import ShapeError
from xpcnn.layers import (
    Add,
    Affine,
    BatchNormalization,
    Concatenate,
    Context,
    Convolution,
    Dropout,
    Elu,
    Flatten,
    GlobalAveragePooling,
    Layer,
    LeakyRelu,
    LocalResponseNormalization,
    LogSoftmax,
    Pooling,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
)
from xpcnn.ops.gradcheck import check_layer

# The error of a central difference with h = 1e-5 is about h**2 = 1e-10 from the third derivative plus
# eps * |f| / h = 2e-11 * |f| from rounding; with |f| up to some hundreds, relative to gradients of the size of 1,
# that stays under 1e-8. A wrong gradient is wrong in its first digits: 1e-6 tells them apart with room on both sides.
_GRADIENT_ERROR = 1e-6

Make = Callable[..., Any]  # make(*shape): standard normal numbers of the test's dtype, on the test's device


def _dropout(inverted: bool) -> Callable[[Make], tuple[Layer, tuple[Any, ...]]]:
    return lambda make: (_SameMask(0.3, inverted, seed=5), (make(3, 2, 5, 3),))


class _SameMask(Dropout):
    """Dropout that draws the same mask at every forward, so that its function can be differentiated."""

    def forward(self, *xs: Any, train: bool = False) -> Any:
        self.calls = 0
        return super().forward(*xs, train=train)


# Odd sizes throughout: an even one can hide a window that is one too small.
CASES: dict[str, Callable[[Make], tuple[Layer, tuple[Any, ...]]]] = {
    "convolution": lambda make: (
        Convolution(make(4, 3, 3, 2), make(4), stride=(2, 1), pad=(1, 0, 2, 1)),
        (make(2, 3, 7, 5),),
    ),
    "convolution-groups": lambda make: (Convolution(make(4, 2, 3, 3), make(4), pad=1, groups=2), (make(2, 4, 5, 7),)),
    "convolution-dilation": lambda make: (Convolution(make(3, 1, 2, 3), None, dilation=(3, 2)), (make(2, 1, 7, 9),)),
    "max-pool": lambda make: (Pooling(3, 2, stride=2, pad=1), (make(2, 3, 7, 5),)),
    "average-pool": lambda make: (Pooling(2, 3, 2, (1, 0), "average", count_pad=False), (make(2, 3, 7, 5),)),
    "global-average-pool": lambda make: (GlobalAveragePooling(), (make(2, 3, 5, 3),)),
    "affine": lambda make: (Affine(make(7, 5), make(5)), (make(3, 7),)),
    "affine-pictures": lambda make: (Affine(make(30, 4)), (make(3, 2, 5, 3),)),
    "relu": lambda make: (Relu(), (make(3, 2, 5, 3),)),
    "leaky-relu": lambda make: (LeakyRelu(0.1), (make(3, 7),)),
    "elu": lambda make: (Elu(0.7), (make(3, 7),)),
    "sigmoid": lambda make: (Sigmoid(), (make(3, 2, 5, 3),)),
    "tanh": lambda make: (Tanh(), (make(3, 7),)),
    "softmax": lambda make: (Softmax(), (make(3, 7),)),
    "softmax-channels": lambda make: (Softmax(axis=1), (make(2, 3, 5, 3),)),
    "log-softmax": lambda make: (LogSoftmax(), (make(3, 7),)),
    "batch-norm-pictures": lambda make: (BatchNormalization(make(3), make(3)), (make(2, 3, 5, 3),)),
    "batch-norm-rows": lambda make: (BatchNormalization(make(7), make(7)), (make(5, 7),)),
    "lrn": lambda make: (LocalResponseNormalization(3, alpha=0.5), (make(2, 5, 3, 3),)),
    "dropout": _dropout(True),
    "dropout-book": _dropout(False),
    "add": lambda make: (Add(), (make(3, 2, 5, 3), make(3, 2, 5, 3), make(3, 2, 5, 3))),
    "concatenate": lambda make: (Concatenate(), (make(3, 2, 5, 3), make(3, 1, 5, 3))),
    "flatten": lambda make: (Flatten(), (make(3, 2, 5, 3),)),
    **cases_arithmetic.CASES,
    **cases_convolution.CASES,
    **cases_elementwise.CASES,
    **cases_normalization.CASES,
    **cases_pooling.CASES,
    **cases_shape.CASES,
}
# Those that cannot keep every promise here; each has the file that tests it beside its name.
ELSEWHERE = cases_convolution.ELSEWHERE | cases_elementwise.ELSEWHERE | cases_pooling.ELSEWHERE
each_layer = pytest.mark.parametrize("name", CASES)
each_time = pytest.mark.parametrize("train", [True, False], ids=["train", "test"])


def _maker(device: Device, dtype: str, seed: int = 7) -> Make:
    random = np.random.default_rng(seed)
    return lambda *shape: device.asarray(random.standard_normal(shape), dtype)


def _tuple(a: Any) -> tuple[Any, ...]:
    return a if isinstance(a, tuple) else (a,)


def _pass(layer: Layer, xs: tuple[Any, ...], train: bool = True, seed: int = 9) -> list[np.ndarray]:
    """Output, gradients of the inputs and of the parameters of one forward and backward, as copies."""
    y = layer.forward(*xs, train=train)
    dout = get_array_module(y).asarray(np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype))
    dxs = _tuple(layer.backward(dout))
    return [asnumpy(a).copy() for a in (y, *dxs, *(layer.grads[p] for p in layer.params))]


def _assert_same_bits(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@each_layer
@each_time
def test_gradients(name: str, train: bool) -> None:
    layer, xs = CASES[name](_maker(get_device("cpu"), "float64"))
    errors = check_layer(layer, *xs, train=train)
    assert len(errors) == len(xs) + len(layer.params)
    assert max(errors.values()) < _GRADIENT_ERROR


@each_layer
@each_time
def test_gradients_on_a_device(cuda: Device, name: str, train: bool) -> None:
    here, there = (CASES[name](_maker(device, "float64")) for device in (get_device("cpu"), cuda))
    # The same formulas: at most some hundred roundings of 1e-16 in another order.
    for got, want in zip(_pass(*there, train), _pass(*here, train), strict=True):
        np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-12 * max(1.0, abs(want).max()))


def test_the_catalogue_is_whole() -> None:
    import xpcnn.layers

    public = {getattr(xpcnn.layers, name) for name in xpcnn.layers.__all__}
    kinds = {c for c in public if isinstance(c, type) and issubclass(c, Layer) and c is not Layer}
    held = {type(build(_maker(get_device("cpu"), "float64"))[0]) for build in CASES.values()}
    held = held - {_SameMask} | {Dropout}
    assert kinds == held | ELSEWHERE
    assert not held & ELSEWHERE


@each_layer
@each_time
def test_float32_stays_float32(device: Device, name: str, train: bool) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    assert {a.dtype.name for a in _pass(layer, xs, train)} == {"float32"}
    assert {a.dtype.name for a in (*layer.params.values(), *layer.state.values())} <= {"float32"}
    y = layer.forward(*xs, train=train)
    assert get_array_module(y) is device.xp


@each_layer
def test_float32_agrees_with_float64(device: Device, name: str) -> None:
    small, xs32 = CASES[name](_maker(device, "float32"))
    large, xs64 = CASES[name](_maker(device, "float64"))
    for got, want in zip(_pass(small, xs32), _pass(large, xs64), strict=True):
        # Some 50 roundings of at most 6e-8 each, on values of up to ten times the largest result.
        np.testing.assert_allclose(got, want, rtol=0.0, atol=50 * 6e-8 * 10 * max(1.0, abs(want).max()))


@each_layer
@each_time
def test_the_shape_is_the_one_foretold(device: Device, name: str, train: bool) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    y, *gradients = _pass(layer, xs, train)
    assert y.shape == (len(xs[0]), *layer.output_shape(*(x.shape[1:] for x in xs)))
    assert [g.shape for g in gradients] == [a.shape for a in (*xs, *layer.params.values())]


@each_layer
def test_a_batch_of_no_samples(device: Device, name: str) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    y, *gradients = _pass(layer, tuple(x[:0] for x in xs), train=False)
    assert y.shape == (0, *layer.output_shape(*(x.shape[1:] for x in xs)))
    assert [g.shape for g in gradients] == [(0, *x.shape[1:]) for x in xs] + [a.shape for a in layer.params.values()]
    assert not any(g.any() for g in gradients)


@each_layer
@each_time
def test_arguments_are_never_modified(device: Device, name: str, train: bool) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    given = (*xs, *layer.params.values())
    before = [asnumpy(a).copy() for a in given]
    y = layer.forward(*xs, train=train)
    dout = device.asarray(np.random.default_rng(1).standard_normal(y.shape), "float32")
    kept_y, kept_dout = asnumpy(y).copy(), asnumpy(dout).copy()
    layer.backward(dout)
    layer.backward(dout)
    _assert_same_bits([asnumpy(a) for a in (*given, y, dout)], [*before, kept_y, kept_dout])


@each_layer
def test_a_pass_leaves_nothing_to_the_next(device: Device, name: str) -> None:
    make = _maker(device, "float32")
    layer, xs = CASES[name](make)
    first = _pass(layer, xs)
    kept = layer.grads
    # Another batch size in between: nothing may be sized by the first batch.
    other = tuple(device.xp.concatenate([x * 0.5, x]) for x in xs)
    second = _pass(layer, other)
    assert any(not np.array_equal(a[: len(b)], b) for a, b in zip(second, first, strict=True))
    for p, gradient in kept.items():  # the first pass's gradients are still the caller's
        np.testing.assert_array_equal(asnumpy(gradient), first[1 + len(xs) + list(layer.params).index(p)])
    _assert_same_bits(_pass(layer, xs), first)


@each_layer
def test_backward_twice_gives_the_same(device: Device, name: str) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    dout = device.xp.ones_like(layer.forward(*xs, train=True))
    first = [asnumpy(a).copy() for a in (*_tuple(layer.backward(dout)), *layer.grads.values())]
    _assert_same_bits([asnumpy(a) for a in (*_tuple(layer.backward(dout)), *layer.grads.values())], first)


@each_layer
def test_backward_before_forward_is_an_error(device: Device, name: str) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    with pytest.raises(ShapeError, match="backward was called before forward"):
        layer.backward(xs[0])
    with pytest.raises(ShapeError, match="backward was called before forward"):
        layer.backward_in(Context(), xs[0])
    forgetful = Context(keep=False)
    layer.forward_in(forgetful, *xs)
    with pytest.raises(ShapeError, match="backward was called before forward"):
        layer.backward_in(forgetful, xs[0])


@each_layer
def test_two_contexts_at_once_do_not_disturb_each_other(device: Device, name: str) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    others = tuple(x * 0.5 + 0.25 for x in xs)

    def context(step: int) -> Context:
        return Context(train=True, seed=3, stream=4, step=step)

    def back(ctx: Context, y: Any) -> list[np.ndarray]:
        dxs = _tuple(layer.backward_in(ctx, y * 0.5 + 1.0))
        return [asnumpy(a).copy() for a in (y, *dxs, *(ctx.grads[p] for p in layer.params))]

    alone = []
    for step, arrays in enumerate((xs, others)):
        ctx = context(step)
        alone.append(back(ctx, layer.forward_in(ctx, *arrays)))
    a, b = context(0), context(1)
    y_a = layer.forward_in(a, *xs)
    y_b = layer.forward_in(b, *others)
    _assert_same_bits(back(a, y_a), alone[0])
    _assert_same_bits(back(b, y_b), alone[1])
    assert not layer.grads  # a Context's pass leaves nothing in the layer


@each_layer
def test_the_wrong_number_of_inputs(device: Device, name: str) -> None:
    layer, xs = CASES[name](_maker(device, "float32"))
    if layer.inputs is None:
        assert layer.forward(*xs[:2]).shape[0] == len(xs[0])
    else:
        takes = rf"{type(layer).__name__}.forward takes {len(xs)} array\(s\), got {len(xs) + 2}"
        with pytest.raises(ShapeError, match=takes):
            layer.forward(*xs, xs[0], xs[0])


def test_the_books_way_of_saying_train() -> None:
    x = np.ones((4, 50), dtype=np.float32)
    assert (Dropout(0.5, seed=0).forward(x, True) == 0.0).any()
    assert (Dropout(0.5, seed=0).forward(x, 1) == 0.0).any()
    assert (Dropout(0.5, seed=0).forward(x, False) == 1.0).all()


def test_parameters_by_attribute() -> None:
    W, b = np.ones((3, 2)), np.zeros(2)
    layer = Affine(W, b)
    assert layer.W is layer.params["W"] is W
    assert layer.dW is None
    layer.W = np.full((3, 2), 5.0)
    assert layer.params["W"][0, 0] == 5.0
    with pytest.raises(ShapeError, match=r"Affine.W has shape \(3, 2\), got an array of \(2, 3\)"):
        layer.W = np.zeros((2, 3))
    with pytest.raises(ShapeError, match=r"Affine has no parameter 'gamma'; it has \['W', 'b'\]"):
        layer.set_param("gamma", W)
    with pytest.raises(ShapeError, match="has no parameter 'b'"):
        Affine(W).b = b
    assert repr(layer) == "Affine(W=(3, 2), b=(2,))"


def test_the_base_has_no_passes_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        Layer().forward(np.ones(1))
    with pytest.raises(NotImplementedError):
        Layer().backward_in(Context(), np.ones(1))
