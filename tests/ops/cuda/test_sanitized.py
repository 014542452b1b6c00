"""Every kernel once under AddressSanitizer and UndefinedBehaviorSanitizer, on sizes that divide nothing."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator

import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from tests.fake_cupy.sanitize import sanitized
from tests.ops.cuda.checks import normal
from xpcnn.device import Array, Device, get_device
from xpcnn.ops.cuda import columns, convolution, dropout, fused, gradients, loss, normalization, optimizers, pooling
from xpcnn.ops.cuda.geometry import Way

SHAPE = (3, 3, 7, 6)
WINDOW = (3, 2, (2, 1), (1, 0, 2, 1))  # height, width, stride, pad
LAUNCHED: set[str] = set()


@pytest.fixture
def gpu() -> Iterator[Device]:
    with installed(), sanitized(), counts.watch() as seen:
        yield get_device("cuda")
        LAUNCHED.update(seen.launches)


def arrays(gpu: Device, *shapes: tuple[int, ...]) -> list[Array]:
    return [gpu.asarray(normal(i, shape, "float32")) for i, shape in enumerate(shapes)]


def test_columns(gpu: Device) -> None:
    (x,) = arrays(gpu, SHAPE)
    col = columns.im2col_nchw(x, *WINDOW, (2, 1))
    columns.col2im_nchw(col, SHAPE, *WINDOW, (2, 1))
    col = columns.im2col_nhwc(x, 2, 2, 2, 1)
    columns.col2im_nhwc(col, SHAPE, 2, 2, 2, 1)


def test_pooling(gpu: Device) -> None:
    (x,) = arrays(gpu, SHAPE)
    y, winner = pooling.max_pool2d_forward(x, *WINDOW)
    pooling.max_pool2d_forward(x, *WINDOW, note_winner=False)
    pooling.max_pool2d_backward(y, winner, SHAPE, *WINDOW)
    for count_pad in (True, False):
        y = pooling.average_pool2d_forward(x, *WINDOW, count_pad)
        pooling.average_pool2d_backward(y, SHAPE, *WINDOW, count_pad)


def test_fused(gpu: Device) -> None:
    x, b, many = arrays(gpu, SHAPE, (3,), (3, 1, 33, 31))
    y = fused.bias_relu(x, b)
    fused.bias_relu(x, None, channel_first=True)
    fused.bias_relu_backward(x, y)
    fused.bias_relu_backward(many, None)  # its sums are shared by blocks
    y, winner = fused.bias_relu_pool(x, b, *WINDOW)
    fused.bias_relu_pool_backward(y, y, winner, SHAPE[2:], *WINDOW, channel_first=True)


def test_loss(gpu: Device) -> None:
    x, wide = arrays(gpu, (5, 7), (3, 130))
    for scores in (x, wide):
        t = gpu.xp.arange(scores.shape[0])
        loss.softmax_cross_entropy(scores, t, loss.tally(x, 5), label_smoothing=0.1)
    loss.softmax_cross_entropy(x, gpu.xp.full(5, -1), loss.tally(x, 5), backward=False)


def test_normalization(gpu: Device) -> None:
    x, gamma, beta, mean = arrays(gpu, (3, 3, 33, 31), (3,), (3,), (3,))
    var = gpu.xp.ones(3, dtype="float32")
    y, statistics = normalization.batch_norm_train(x, gamma, beta, mean, var, relu=True)
    normalization.batch_norm_backward(x, x, gamma, statistics, y)
    normalization.batch_norm_test(x, gamma, beta, mean, var)
    small = x[:, :, :3, :2].copy()
    y, bracket = normalization.lrn_forward(small, 4)
    normalization.lrn_backward(y, small, bracket, 4)


def test_dropout(gpu: Device) -> None:
    (x,) = arrays(gpu, (3, 7))
    dropout.dropout(x, 0.5, 2.0, seed=2**64 - 1, stream=2**32 - 1, step=7, first=5)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"])
def test_optimizers(gpu: Device, name: str) -> None:
    p, g, m, v = arrays(gpu, *[(301,)] * 4)
    v = gpu.xp.abs(v)
    scaling = gradients.loss_scale(p)
    gradients.find_bad(g, scaling)
    factor = gradients.clip_factor(g, 1.0, gradients.clip_room(g), scale=scaling.scale)
    rules = optimizers.Rules(scaling.bad, scaling.scale, 2.0, factor, 0.1, gpu.xp.empty_like(p))
    for used in (rules, optimizers.Rules()):
        if name == "adam":
            optimizers.adam(p, g, m, v, lr=0.1, t=scaling.step, rules=used)
        else:
            state = () if name == "sgd" else (v,)
            getattr(optimizers, name)(p, g, *state, lr=0.1, rules=used)
    gradients.adjust_scale(scaling)


def test_convolution(gpu: Device) -> None:
    x, W, b = arrays(gpu, (2, 6, 7, 9), (66, 3, 3, 2), (66,))
    convolution.conv2d_forward(x, W, b, 2, (1, 0, 2, 1), (1, 2), 2, relu=True, way=Way.IMPLICIT)
    y = convolution.conv2d_forward(x, W, None, 1, 1, 1, 2, way=Way.IMPLICIT)
    convolution.conv2d_backward(y, x, W, y, 1, 1, 1, 2)


def test_no_kernel_is_left_out() -> None:
    """Runs last in this file, and sees what ran before in the same process."""
    texts = (importlib.resources.files("xpcnn.ops.cuda") / "kernels").iterdir()
    kernels = {name for text in texts for name in re.findall(r"__global__ void (\w+)\(", text.read_text())}
    if LAUNCHED:  # else: the sanitizers are missing, or this test runs alone
        assert kernels == LAUNCHED
