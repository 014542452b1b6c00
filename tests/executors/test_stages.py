"""Every stage against the reference layers, over random shapes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xpcnn import Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.executors.affine_stage import AffineStage
from xpcnn.executors.conv_stage import ConvStage
from xpcnn.executors.grouped_stage import GroupedStage
from xpcnn.executors.patch_stage import PatchStage, gather_filters
from xpcnn.executors.pool_stage import PoolStage
from xpcnn.executors.stages import LayerStage, Workspace
from xpcnn.layers import affine, average_pool, conv, max_pool

# float64 and at most a few thousand terms a sum: 1e-10 leaves four digits for their order.
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


def check_against_eager(layers, input_shape, N, threads=1):
    net = Sequential([*layers, "flatten"], input_shape, seed=3, dtype="float64")
    net.use_threads(threads)
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    rng = np.random.default_rng(N)
    for name, a in net.params.items():
        if name.endswith(".b"):  # zero biases would hide a bias that is left out
            net.params[name] = plain.params[name] = rng.standard_normal(a.shape)
    x = rng.standard_normal((N, *input_shape))
    t = rng.integers(0, net.output_shape[0], N)
    for _ in range(2):  # the second time in memory that holds the first one's numbers
        loss, scores = net.train_pass(x, t)
        expected_loss, expected_scores = plain.train_pass(x, t)
        np.testing.assert_allclose(scores, expected_scores, **CLOSE)
        np.testing.assert_allclose(loss, expected_loss, **CLOSE)
        for name, g in plain.grads.items():
            np.testing.assert_allclose(net.grads[name], g, **CLOSE, err_msg=name)
    np.testing.assert_allclose(net.predict(x), plain.predict(x), **CLOSE)
    return net


pads = st.one_of(st.integers(0, 3), st.tuples(*[st.integers(0, 3)] * 4))


@settings(max_examples=120, derandomize=True, deadline=None)
@given(
    C=st.integers(1, 5),
    H=st.integers(3, 11),
    W=st.integers(3, 11),
    filters=st.integers(1, 6),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=pads,
    before=st.booleans(),
    relu=st.booleans(),
    pool=st.booleans(),
    N=st.integers(1, 5),
)
def test_convolution_stages(C, H, W, filters, size, stride, pad, before, relu, pool, N):
    top, left, bottom, right = (pad,) * 4 if isinstance(pad, int) else pad
    out = ((H + top + bottom - size[0]) // stride[0] + 1, (W + left + right - size[1]) // stride[1] + 1)
    assume(H + top + bottom >= size[0] and W + left + right >= size[1])
    assume(min(out) >= (2 if pool else 1))
    layers = [conv(C, 1), "tanh"] if before else []  # with a learning layer before it, dx is wanted
    layers.append(conv(filters, size, stride, pad))
    layers += ["relu"] if relu else []
    layers += [max_pool(2)] if pool else []
    check_against_eager(layers, (C, H, W), N)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    H=st.integers(6, 12),
    W=st.integers(6, 12),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pad=pads,
    before=st.booleans(),
    rest=st.sampled_from([[], ["relu"], ["relu", max_pool(2)], [max_pool(2)]]),
    N=st.integers(1, 4),
)
def test_grouped_stages(groups, channels, filters, H, W, size, stride, dilation, pad, before, rest, N):
    C = groups * channels
    layers = [conv(C, 1), "tanh"] if before else []
    layers += [conv(groups * filters, size, stride, pad, dilation, groups), *rest]
    top, left, bottom, right = (pad,) * 4 if isinstance(pad, int) else pad
    out_h = (H + top + bottom - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
    out_w = (W + left + right - dilation[1] * (size[1] - 1) - 1) // stride[1] + 1
    assume(min(out_h, out_w) >= 2)
    net = check_against_eager(layers, (C, H, W), N)
    assert isinstance(net.executor.stages[-2], GroupedStage) == (groups > 1 or dilation != (1, 1)) or rest == []


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 9, 10), (1, 10, 9), (2, 8, 8), (1, 6, 6)])
@pytest.mark.parametrize("relu", [True, False])
def test_the_patch_stage(shape, relu):
    layers = [conv(5, 5 if shape[0] == 1 else 3, pad=(1, 0, 0, 2)), *(["relu"] if relu else []), max_pool(2)]
    net = check_against_eager(layers, shape, 4, threads=2)
    assert isinstance(net.executor.stages[0], PatchStage)


def test_equal_elements_in_a_pooling_window_go_to_the_first():
    """Pictures with flat parts make ties everywhere; the gradient must take the same way as in the reference."""
    for layers in ([conv(4, 3), "relu", max_pool(2)], [conv(1, 1), conv(4, 3), "relu", max_pool(2)]):
        net = Sequential([*layers, "flatten"], (1, 12, 12), seed=1, dtype="float64")
        for name in net.params:
            if name.endswith(".b"):
                net.params[name] = np.full(net.params[name].shape, 0.5)
        plain = net.copy()
        plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
        x = np.zeros((3, 1, 12, 12))
        x[:, :, 5:8, 3:9] = 1.0
        t = np.array([0, 1, 2])
        net.train_pass(x, t)
        plain.train_pass(x, t)
        for name, g in plain.grads.items():
            np.testing.assert_allclose(net.grads[name], g, **CLOSE, err_msg=name)


@pytest.mark.parametrize("bias", [True, False])
def test_affine_stages_before_and_behind_a_cut(bias):
    layers = [
        conv(8, 3, bias=bias),
        "relu",
        max_pool(2),
        affine(300, bias=bias),  # 8*13*13 x 300 float64: large enough for a segment of its own
        "relu",
        affine(7, bias=bias),
        "sigmoid",
        affine(4),
    ]
    net = check_against_eager(layers, (1, 28, 28), 70, threads=2)
    assert len(net.executor.segments) == 2
    assert net.executor.segments[1].piece_size > net.executor.segments[0].piece_size


def test_layers_are_joined_only_where_nobody_else_looks():
    net = Sequential(
        [
            conv(4, 3, pad=1),
            ("r", "relu"),
            ("p", max_pool(2)),
            conv(4, 3, groups=2),
            average_pool(2),
            affine(3),
            "relu",
        ],
        (1, 12, 12),
        seed=0,
        dtype="float64",
    )
    kinds = [type(stage) for stage in net.executor.stages]
    assert kinds == [PatchStage, GroupedStage, PoolStage, AffineStage]
    branched = Sequential(
        [("c", conv(4, 3, pad=1)), ("r", "relu"), ("s", "add", ("c", "r")), ("p", max_pool(2))],
        (3, 6, 6),
        seed=0,
        dtype="float64",
    )
    kinds = [type(stage) for stage in branched.executor.stages]
    assert kinds == [ConvStage, LayerStage, LayerStage, PoolStage]


def test_filters_are_gathered_from_the_four_corners():
    rng = np.random.default_rng(0)
    FN, C, FH, FW = 3, 2, 4, 3
    corners = rng.standard_normal((4, FH + 1, FW + 1, C, FN))
    gathered = gather_filters(corners.reshape(4, -1, FN), (FN, C, FH, FW))
    for fn, c, fh, fw in np.ndindex(gathered.shape):
        places = [corners[0, fh, fw], corners[1, fh, fw + 1], corners[2, fh + 1, fw], corners[3, fh + 1, fw + 1]]
        np.testing.assert_allclose(gathered[fn, c, fh, fw], sum(place[c, fn] for place in places), rtol=1e-12)


def test_a_workspace_gives_the_same_memory_again():
    room = Workspace()
    a = room.get("a", (2, 3), "float32")
    assert room.get("a", (3, 2), "float32").base is a.base
    assert room.get("a", (4, 3), "float32").base is not a.base
    assert room.get("a", (2, 3), "float64").dtype == np.float64


def test_the_plan_is_told_layer_by_layer():
    text = Sequential(
        [conv(4, 3), "relu", max_pool(2), affine(3)], (1, 8, 8), seed=0, dtype="float64"
    ).executor.describe()
    assert "conv1 + relu1 + pool1: rows + relu + 2x2 max pool, gradient from one patch a pooling window" in text
    assert "affine1: matrix product" in text


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_columns_come_in_strips_where_they_would_be_too_many(before, stride, groups, monkeypatch):
    from xpcnn.executors import plan
    from xpcnn.ops.cpu import convolution

    monkeypatch.setattr(convolution, "BUDGET", 5000)  # one row of output pixels
    monkeypatch.setattr(plan, "WORKING_SET", 1)
    layers = [
        *([conv(3, 1), "tanh"] if before else []),
        conv(3, 3, stride=stride, pad=1, groups=groups),
        "relu",
        max_pool(2),
    ]
    net = check_against_eager(layers, (3, 19, 17), 3)
    for which in ("columns", "slab") if groups == 1 else ("columns",):
        assert 0 < most_bytes(net, which) <= 5000


def test_large_pictures_do_not_take_a_gigabyte_of_columns():
    net = Sequential([conv(8, 3, pad=1), conv(8, 3, pad=1), "flatten"], (64, 96, 96), seed=0, dtype="float64")
    net.use_threads(1)
    x = np.zeros((1, 64, 96, 96))
    net.train_pass(x, np.array([0]))
    whole = 64 * 9 * 96 * 96 * 8  # 42 MB for one picture
    assert most_bytes(net, "columns") <= convolution_budget() < whole
    assert most_bytes(net, "slab") + most_bytes(net, "z") <= convolution_budget()


def most_bytes(net, which):
    return max(room.nbytes for ws in net.executor._rooms for key, room in ws._buffers.items() if key == which)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("rest", [["relu", max_pool(2)], ["relu"], []])
def test_filters_too_large_for_rows_go_by_columns(before, rest, monkeypatch):
    from xpcnn.ops.cpu import products

    monkeypatch.setattr(products, "_takes_unpacked", lambda: True)
    monkeypatch.setattr(products, "SMALL", 1)
    net = check_against_eager([*([conv(3, 1), "tanh"] if before else []), conv(3, 5, pad=2), *rest], (2, 9, 8), 3)
    assert ": columns" in net.executor.describe()
    assert ": rows" not in net.executor.describe()


@pytest.mark.parametrize("kernels", [True, False])
def test_blocks_of_several_sizes_share_their_memory(kernels, monkeypatch):
    """Batches of other sizes between, large and small: margins must stay zeros, and views must not outlive memory."""
    from xpcnn.ops.cpu import products, rows

    monkeypatch.setattr(products, "_takes_unpacked", lambda: kernels)
    monkeypatch.setattr(rows, "BLOCK", 20_000)
    layers = [conv(4, 3, pad=1), "relu", conv(5, 3, pad=(2, 0, 1, 3)), "relu", max_pool(2), conv(3, 3, stride=2, pad=1)]
    net = Sequential([*layers, "flatten"], (2, 11, 10), seed=3, dtype="float64")
    net.use_threads(2)
    plain = net.copy()
    plain.executor = EagerExecutor(plain.nodes, plain.loss_layer, plain.seed)
    rng = np.random.default_rng(0)
    for N in (3, 40, 1, 7, 2, 41, 12):
        x, t = rng.standard_normal((N, 2, 11, 10)), rng.integers(0, 5, N)
        expected = plain.predict(x)
        np.testing.assert_allclose(net.predict(x), expected, **CLOSE)
        net.train_pass(x, t)
        np.testing.assert_array_equal(net.predict(x), net.predict(x))
        np.testing.assert_allclose(net.predict(x), expected, **CLOSE)


def convolution_budget():
    from xpcnn.ops.cpu.convolution import BUDGET

    return BUDGET
