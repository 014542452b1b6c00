"""Every kernel once under AddressSanitizer and UndefinedBehaviorSanitizer, on sizes that divide nothing."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable

import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from tests.fake_cupy.sanitize import sanitized
from tests.ops.cuda.checks import normal
from xpcnn.device import Array, Device, get_device
from xpcnn.ops.cuda import (
    batches,
    columns,
    convolution,
    dropout,
    fused,
    gradients,
    loss,
    normalization,
    normalization_shared,
    optimizers,
    pooling,
)
from xpcnn.ops.cuda.geometry import Way

SHAPE = (3, 3, 7, 6)
WINDOW = (3, 2, (2, 1), (1, 0, 2, 1))  # height, width, stride, pad
CASES: list[tuple[Callable[[Device], None], list[str]]] = []


def launches(*kernels: str) -> Callable[[Callable[[Device], None]], Callable[[Device], None]]:
    """The case below it must launch these kernels and no others."""

    def note(case: Callable[[Device], None]) -> Callable[[Device], None]:
        CASES.append((case, sorted(kernels)))
        return case

    return note


def arrays(gpu: Device, *shapes: tuple[int, ...]) -> list[Array]:
    return [gpu.asarray(normal(i, shape, "float32")) for i, shape in enumerate(shapes)]


@launches("im2col_nchw", "col2im_nchw", "im2col_nhwc", "col2im_nhwc")
def columns_case(gpu: Device) -> None:
    (x,) = arrays(gpu, SHAPE)
    col = columns.im2col_nchw(x, *WINDOW, (2, 1))
    columns.col2im_nchw(col, SHAPE, *WINDOW, (2, 1))
    col = columns.im2col_nhwc(x, 2, 2, 2, 1)
    columns.col2im_nhwc(col, SHAPE, 2, 2, 2, 1)


@launches("max_pool_forward", "max_pool_backward", "average_pool_forward", "average_pool_backward")
def pooling_case(gpu: Device) -> None:
    (x,) = arrays(gpu, SHAPE)
    y, winner = pooling.max_pool2d_forward(x, *WINDOW)
    pooling.max_pool2d_forward(x, *WINDOW, note_winner=False)
    pooling.max_pool2d_backward(y, winner, SHAPE, *WINDOW)
    for count_pad in (True, False):
        y = pooling.average_pool2d_forward(x, *WINDOW, count_pad)
        pooling.average_pool2d_backward(y, SHAPE, *WINDOW, count_pad)


@launches("bias_relu", "bias_relu_backward", "sum_parts", "bias_relu_pool", "bias_relu_pool_backward")
def fused_case(gpu: Device) -> None:
    x, b, many = arrays(gpu, SHAPE, (3,), (3, 1, 33, 31))
    y = fused.bias_relu(x, b)
    fused.bias_relu(x, None, channel_first=True)
    fused.bias_relu_backward(x, y)
    fused.bias_relu_backward(many, None)  # its sums are shared by blocks
    y, winner = fused.bias_relu_pool(x, b, *WINDOW)
    fused.bias_relu_pool_backward(y, y, winner, SHAPE[2:], *WINDOW, channel_first=True)


@launches("softmax_cross_entropy", "count_batch")
def loss_case(gpu: Device) -> None:
    x, wide = arrays(gpu, (5, 7), (3, 130))
    for scores in (x, wide):
        t = gpu.xp.arange(scores.shape[0])
        loss.softmax_cross_entropy(scores, t, loss.tally(x, 5), label_smoothing=0.1)
    loss.softmax_cross_entropy(x, gpu.xp.full(5, -1), loss.tally(x, 5), backward=False)
    one, whole = gpu.xp.ones(1, dtype="float64"), gpu.xp.ones(1, dtype="int64")
    loss.count_batch(one, whole, one.copy(), whole.copy(), 5)


@launches(
    "bn_statistics", "bn_train", "bn_test", "bn_backward_sums", "bn_backward", "lrn_forward", "lrn_backward",
    "bn_own_row", "bn_of_rows", "bn_own_sums", "bn_backward_part",
)  # fmt: skip
def normalization_case(gpu: Device) -> None:
    x, gamma, beta, mean = arrays(gpu, (3, 3, 33, 31), (3,), (3,), (3,))
    var = gpu.xp.ones(3, dtype="float32")
    y, statistics = normalization.batch_norm_train(x, gamma, beta, mean, var, relu=True)
    normalization.batch_norm_backward(x, x, gamma, statistics, y)
    normalization.batch_norm_test(x, gamma, beta, mean, var)
    for part in (x, x[:0]):
        among = (lambda a: None, 1, 2)
        y, shared = normalization_shared.batch_norm_train_shared(part, gamma, beta, mean, var, *among, relu=True)
        normalization_shared.batch_norm_backward_shared(part, part, gamma, shared, lambda a: None, 5, y)
    small = x[:, :, :3, :2].copy()
    y, bracket = normalization.lrn_forward(small, 4)
    normalization.lrn_backward(y, small, bracket, 4)


@launches("dropout")
def dropout_case(gpu: Device) -> None:
    (x,) = arrays(gpu, (3, 7))
    dropout.dropout(x, 0.5, 2.0, seed=2**64 - 1, stream=2**32 - 1, step=7, first=5)


@launches("find_bad", "adjust_scale", "square_sums", "clip_factor")
def gradients_case(gpu: Device) -> None:
    (g,) = arrays(gpu, (301,))
    state = gradients.loss_scale(g)
    gradients.find_bad(g, state)
    gradients.clip_factor(g, 1.0, gradients.clip_room(g), scale=state.scale)
    gradients.adjust_scale(state)


@launches("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
def optimizers_case(gpu: Device) -> None:
    p, g, m, v = arrays(gpu, *[(301,)] * 4)
    v = gpu.xp.abs(v)
    scaling = gradients.loss_scale(p)
    factor = gpu.xp.ones(1, dtype="float64")
    rules = optimizers.Rules(scaling.bad, scaling.scale, 2.0, factor, 0.1)
    for used in (rules, optimizers.Rules()):
        optimizers.sgd(p, g, lr=0.1, rules=used)
        for rule in (optimizers.momentum, optimizers.nesterov, optimizers.adagrad, optimizers.rmsprop):
            rule(p, g, gpu.xp.abs(v), lr=0.1, rules=used)
        optimizers.adam(p, g, m, v, lr=0.1, t=scaling.step, rules=used)


@launches("conv_implicit")
def convolution_case(gpu: Device) -> None:
    x, W, b = arrays(gpu, (2, 6, 7, 9), (66, 3, 3, 2), (66,))
    convolution.conv2d_forward(x, W, b, 2, (1, 0, 2, 1), (1, 2), 2, relu=True, way=Way.IMPLICIT)
    convolution.conv2d_forward(x, W, None, 1, 1, 1, 2, way=Way.IMPLICIT)


@launches("gather_batch")
def batches_case(gpu: Device) -> None:
    (x,) = arrays(gpu, (5, 3, 3))
    t, order = gpu.xp.arange(5), gpu.asarray([4, 0, 4])
    batches.gather_batch(x, t, order, gpu.xp.empty((3, 3, 3), dtype="float32"), gpu.xp.empty(3, dtype="int64"))


@pytest.mark.parametrize(("case", "kernels"), CASES, ids=[case.__name__ for case, _ in CASES])
def test_nothing_is_read_or_written_that_should_not_be(case: Callable[[Device], None], kernels: list[str]) -> None:
    with installed(), sanitized(), counts.watch() as seen:
        case(get_device("cuda"))
    assert sorted(seen.launches) == kernels


def test_no_kernel_is_left_out() -> None:
    texts = (importlib.resources.files("xpcnn.ops.cuda") / "kernels").iterdir()
    there = [name for text in texts for name in re.findall(r"__global__ void (\w+)\(", text.read_text())]
    assert sorted(there) == sorted(name for _, kernels in CASES for name in kernels)
