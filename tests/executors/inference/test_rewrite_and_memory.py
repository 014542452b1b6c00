"""What joins what in a prediction's graph, and that values needed at once do not share memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xpcnn import Network
from xpcnn.executors.channels import channel_map
from xpcnn.executors.inference.memory import laid_out
from xpcnn.executors.inference.packing import folded
from xpcnn.executors.inference.rewrite import rewritten
from xpcnn.layers import BatchNormalization, Convolution, WithConstant, affine, batch_norm, conv, dropout, max_pool


def ops_of(layers, shape=(4, 8, 8), **more):
    net = Network(layers, shape, seed=0)
    return rewritten(list(net.nodes.values()), net.input_shape, **more)


def summary(ops):
    return [(op.kind, "+".join(node.name for node in op.nodes), op.inputs) for op in ops]


def test_nothing_is_taken_over_that_somebody_else_wants():
    layers = [
        ("c", conv(4, 1), "input"),
        ("n", batch_norm(), "c"),
        ("r", "relu", "n"),
        ("d", conv(4, 1), "n"),  # n is wanted as well as r
        ("s", "add", ("r", "d")),
        ("t", "relu", "s"),
        ("u", "add", ("s", "t")),  # s is wanted as well as t
    ]
    assert summary(ops_of(layers)) == [
        ("conv", "c+n", ("input",)),
        ("scale", "r", ("n",)),
        ("conv", "d+s", ("n", "r")),
        ("scale", "t", ("s",)),
        ("add", "u", ("s", "t")),
    ]


def test_a_sum_goes_to_the_branch_that_comes_last():
    layers = [
        ("a", conv(4, 1), "input"),
        ("b", conv(4, 3, pad=1), "input"),
        ("s", "add", ("b", "a")),
        ("r", "relu", "s"),
        ("m", "add", ("r", "r")),
    ]
    ops = ops_of(layers)
    assert summary(ops) == [
        ("conv", "a", ("input",)),
        ("conv", "b+s+r", ("input", "a")),
        ("add", "m", ("r", "r")),
    ]
    assert ops[1].residual
    assert ops[1].relu


def test_what_does_nothing_is_left_out():
    layers = [
        ("d", dropout(0.5), "input"),
        ("c", conv(4, 1), "d"),
        ("e", dropout(0.5), "c"),
        ("r", "relu", "e"),
        ("f", affine(5), "r"),
        ("g", dropout(0.5), "f"),
        ("flat", "flatten", "g"),
    ]
    assert summary(ops_of(layers)) == [
        ("conv", "c+e+r", ("input",)),
        ("affine", "f+g+flat", ("r",)),
    ]
    book = ops_of([("a", affine(5), "input"), ("d", dropout(0.5, inverted=False), "a")])
    assert [op.kind for op in book] == ["affine", "layer"]  # it multiplies at test time


@pytest.mark.parametrize("able", [False, True])
def test_pooling_joins_where_the_convolution_can(able):
    ops = ops_of([("c", conv(4, 3)), ("r", "relu"), ("p", max_pool(2)), ("q", max_pool(2))], pools=lambda op: able)
    assert [op.kind for op in ops] == (["conv", "pool"] if able else ["conv", "pool", "pool"])
    odd = ops_of([("c", conv(4, 3)), ("p", max_pool(2, 1)), ("q", max_pool(3, 2))], pools=lambda op: True)
    assert [op.kind for op in odd] == ["conv", "pool", "pool"]


def test_folds_in_their_order():
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((3, 2, 1, 1), dtype=np.float32), rng.standard_normal(3, dtype=np.float32)
    c = [rng.uniform(0.5, 2.0, 3).astype(np.float32).reshape(3, 1, 1) for _ in range(4)]
    norm = BatchNormalization(
        *(rng.uniform(0.5, 2.0, 3).astype(np.float32) for _ in range(2)),
        running_mean=rng.standard_normal(3, dtype=np.float32),
        running_var=rng.uniform(0.5, 2.0, 3).astype(np.float32),
    )
    layers = [
        WithConstant("subtract", c[0], left=True),
        norm,
        WithConstant("divide", c[1]),
        WithConstant("add", c[2]),
        WithConstant("multiply", c[3]),
        WithConstant("subtract", np.full(1, 0.25, np.float32)),
    ]
    x = rng.standard_normal((1, 3, 2, 2))
    want = x
    for layer in layers:
        want = layer.forward(want)
    scale, shift = channel_map(layers, 3)
    np.testing.assert_allclose(x * scale[:, None, None] + shift[:, None, None], want, rtol=1e-6)  # float32 parameters
    net = Network([Convolution(W, b), *layers], (2, 4, 4))
    (op,) = rewritten(list(net.nodes.values()), (2, 4, 4))
    moved, bias = folded(op)
    assert (moved.dtype, bias.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(moved, W * scale[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(bias, b * scale + shift, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 3])
def test_values_needed_at_once_lie_apart(n):
    layers = [("c0", conv(8, 3, pad=1), "input")]
    for i in range(6):  # blocks of a residual and a join, of growing width
        before = layers[-1][0]
        layers += [
            (f"a{i}", conv(6, 5, pad=2), before),
            (f"b{i}", conv(5, 1), before),
            (f"j{i}", "concatenate", (f"a{i}", before, f"b{i}")),
            (f"k{i}", conv(9, 3, pad=1), f"j{i}"),
            (f"l{i}", conv(9, 1), f"k{i}"),
            (f"s{i}", "add", (f"k{i}", f"l{i}")),
        ]
    ops = ops_of(layers)
    spare = {op: 1000 for op in ops if op.name.startswith("a")}
    layout = laid_out(ops, (4, 8, 8), n, spare)
    assert layout.size < sum(region.bytes for region in layout.regions) / 2
    for one, other in itertools.combinations(layout.regions, 2):
        at_once = one.first <= other.last and other.first <= one.last
        apart = one.start + one.bytes <= other.start or other.start + other.bytes <= one.start
        assert apart or not at_once
    for op in ops:
        for name in op.inputs:
            region, level = layout.values[name].region, layout.levels[op]
            assert region.first <= level <= region.last
            if op.kind == "conv" and name == op.inputs[0]:
                assert all(m >= p for m, p in zip(region.margin, op.layer.pad, strict=True))
    assert all(region.start % 64 == 0 for region in layout.regions)


def test_branches_lie_side_by_side_from_the_start():
    layers = [
        ("a", conv(3, 1), "input"),
        ("b", conv(5, 1), "a"),
        ("one", "concatenate", ("a", "b")),
        ("c", conv(7, 1), "one"),
        ("two", "concatenate", ("one", "c")),
        ("end", conv(2, 1), "two"),
    ]
    ops = ops_of(layers)
    layout = laid_out(ops, (4, 8, 8), 2, {})
    assert not any(layout.copies.values())
    places = {name: layout.values[name].offset for name in ("a", "b", "one", "c", "two")}
    assert places == {"a": 0, "b": 3, "one": 0, "c": 8, "two": 0}
    assert len({id(layout.values[name].region) for name in places}) == 1
