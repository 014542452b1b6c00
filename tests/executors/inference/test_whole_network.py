"""Predictions by a network as a whole against the plain executor in float64: every op, joined in every way."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.faults.runs import environment
from tests.ops.cpu.compiled.test_kernels import HOSTS
from xpcnn import Network, Sequential
from xpcnn.executors import EagerExecutor
from xpcnn.executors.inference import convolving, runner, sharing
from xpcnn.executors.inference.runner import WholeNetwork
from xpcnn.layers import (
    Add,
    Clip,
    Convolution,
    Flatten,
    GlobalPooling,
    LocalResponseNormalization,
    Pooling,
    Reshape,
    Transpose,
    WithConstant,
    affine,
    average_pool,
    batch_norm,
    channel_shuffle,
    conv,
    depthwise_conv,
    dropout,
    lrn,
    max_pool,
)
from xpcnn.ops.cpu.compiled import llvm, native
from xpcnn.ops.cpu.compiled.host import this_host
from xpcnn.threads import Crew

# Relative to the largest score: sums of a few hundred terms through a few layers, Winograd's among them; a fold rounds
# a weight once more.
CLOSE = 1e-5


def constant(op, *shape, left=False):
    rng = np.random.default_rng(len(shape))
    return WithConstant(op, rng.uniform(0.5, 1.5, shape).astype(np.float32), left)


def filters(*shape, groups=1, **more):
    rng = np.random.default_rng(sum(shape))
    W = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
    return Convolution(W, rng.standard_normal(shape[0], dtype=np.float32), groups=groups, **more)


def shuffle_as_exported(C, H, W, groups):
    return [Reshape((groups, C // groups, H, W)), Transpose((0, 2, 1, 3, 4)), Reshape((C, H, W))]


# (layers, input shape, kinds of the ops that they become)
CASES = {
    "a residual block": (
        [
            ("a", conv(8, 1), "input"),
            ("an", batch_norm(), "a"),
            ("ar", "relu", "an"),
            ("b", conv(20, 3, pad=1), "ar"),
            ("bn", batch_norm(), "b"),
            ("short", conv(20, 1), "input"),
            ("sn", batch_norm(), "short"),
            ("sum", Add(), ("bn", "sn")),
            ("r", "relu", "sum"),
            ("p", average_pool(9), "r"),
            ("flat", "flatten", "p"),
            ("end", affine(7), "flat"),
        ],
        (6, 9, 9),
        ["conv", "conv", "conv", "pool", "flatten", "affine"],
    ),
    "a residual that comes by Winograd's way": (
        [("a", conv(40, 1)), ("b", conv(40, 3, pad=1)), ("sum", "add", ("a", "b")), ("r", "relu")],
        (4, 11, 12),
        ["conv", "conv"],
    ),
    "branches joined, and joined again": (
        [
            ("a", conv(5, 1), "input"),
            ("b", conv(6, 3, pad=1), "input"),
            ("c", conv(7, 5, pad=2), "a"),
            ("one", "concatenate", ("a", "b")),
            ("two", "concatenate", ("one", "c")),
            ("n", batch_norm(), "two"),
            ("r", "relu", "n"),
            ("d", conv(4, 3, pad=1), "r"),
            ("three", "concatenate", ("two", "d")),
            ("e", conv(3, 1), "three"),
        ],
        (3, 8, 7),
        ["conv", "conv", "conv", "join", "join", "scale", "conv", "join", "conv"],
    ),
    "one branch joined twice, and the input": (
        [
            ("a", conv(5, 3, pad=1), "input"),
            ("one", "concatenate", ("a", "input")),
            ("two", "concatenate", ("a", "one", "a")),
            ("r", conv(4, 1), "two"),
        ],
        (3, 6, 6),
        ["conv", "join", "join", "conv"],
    ),
    "constants as exporters write them": (
        [
            conv(6, 3, bias=False),
            batch_norm(),
            constant("multiply", 6, 1, 1),
            constant("add", 1, 6, 1, 1),
            constant("subtract", 6, 1, 1, left=True),
            constant("divide", 6, 1, 1),
            constant("subtract", 1),
            "relu",
            constant("add", 1),
            constant("divide", 6, 1, 1, left=True),
            "relu",
        ],
        (2, 7, 6),
        ["conv", "scale", "layer", "scale"],
    ),
    "a constant of every pixel": (
        [conv(4, 3), constant("add", 4, 5, 4), "relu"],
        (2, 7, 6),
        ["conv", "layer", "scale"],
    ),
    "many strides, pads and windows": (
        [
            conv(9, 7, stride=2, pad=3),
            "relu",
            max_pool(3, 2, pad=1),
            lrn(),
            conv(10, (3, 5), stride=(2, 1), pad=(1, 2, 0, 1)),
            Pooling(3, 2, (2, 1), (1, 0, 1, 1), mode="average"),
            Pooling(2, 3, 1, (0, 1, 1, 2), mode="average", count_pad=False),
            LocalResponseNormalization(4, 0.3, 0.75, 1.0),
            affine(5),
        ],
        (3, 31, 26),
        ["conv", "pool", "lrn", "conv", "pool", "pool", "lrn", "affine"],
    ),
    "groups": (
        [filters(24, 2, 3, 3, groups=3, pad=1), "relu", filters(18, 12, 1, 1, groups=2), filters(9, 6, 3, 3, groups=3)],
        (6, 8, 9),
        ["conv", "conv", "conv"],
    ),
    "dilation": (
        [filters(5, 3, 3, 3, dilation=(2, 3), pad=2), filters(6, 5, 2, 2, dilation=2)],
        (3, 12, 11),
        ["conv"] * 2,
    ),
    "each channel by itself": (
        [conv(21, 1), depthwise_conv(3, 2, 1), batch_norm(), "relu", depthwise_conv(5, 1, 2), conv(4, 1), affine(3)],
        (3, 11, 12),
        ["conv"] * 4 + ["affine"],
    ),
    "shuffles": (
        [filters(12, 2, 1, 1, groups=3), channel_shuffle(3), *shuffle_as_exported(12, 5, 6, 4), conv(5, 1)],
        (6, 5, 6),
        ["conv", "shuffle", "shuffle", "conv"],
    ),
    "pooled at the store": (
        [
            conv(30, 3, pad=1),
            "relu",
            max_pool(2),
            dropout(0.3),
            conv(34, 3, pad=2),
            max_pool(2),
            affine(30),
            "relu",
            affine(4),
        ],
        (20, 25, 23),
        ["conv", "conv", "affine", "affine"],
    ),
    "nothing to fold into": (
        [
            "relu",
            batch_norm(),
            max_pool(2),
            ("s", "sigmoid"),
            constant("multiply", 3, 1, 1),
            GlobalPooling("average"),
            Flatten(),
        ],
        (3, 6, 8),
        ["scale", "scale", "pool", "layer", "scale", "pool", "flatten"],
    ),
    "vectors": (
        [
            ("a", affine(20), "input"),
            ("r", "relu", "a"),
            ("n", batch_norm(), "r"),
            ("t", "tanh", "n"),
            ("b", affine(20), "t"),
            ("sum", "add", ("b", "r")),
            ("j", "concatenate", ("sum", "t")),
            ("e", affine(67), "j"),
            ("er", "relu", "e"),
        ],
        (11,),
        ["affine", "scale", "layer", "affine", "add", "join", "affine"],
    ),
    "the largest of all": (
        [conv(40, 1), GlobalPooling("max", keep=False), affine(3)],
        (5, 7, 9),
        ["conv", "pool", "affine"],
    ),
    "clipped": (
        [conv(9, 1), Clip(0.0, 0.5), depthwise_conv(3, 1, 1), Clip(None, 0.2), affine(5), Clip(-0.1), Clip()],
        (3, 6, 5),
        ["conv", "clip", "conv", "clip", "affine", "clip", "clip"],
    ),
    "neither pictures nor vectors": (
        [
            ("l", lrn(3), "input"),
            ("n", batch_norm(), "l"),
            ("r", "relu", "n"),
            ("j", "concatenate", ("r", "input")),
            ("s", "add", ("j", "j")),
            ("e", affine(5), "s"),
            ("er", "relu", "e"),
        ],
        (4, 3, 2, 2),
        ["layer", "layer", "layer", "layer", "layer", "affine"],
    ),
    "the middle is the end as well": (
        [("a", conv(6, 3), "input"), ("b", "relu", "a"), ("c", conv(6, 1), "b"), ("s", "add", ("c", "b"))],
        (2, 8, 8),
        ["conv", "conv"],
    ),
}


def network(name):
    layers, shape, _ = CASES[name]
    net = Network(layers, shape, seed=1)
    rng = np.random.default_rng(2)
    for layer in net.layers.values():
        for a in layer.params.values():
            a += rng.normal(0.0, 0.1, a.shape).astype(np.float32)
        for key, a in layer.state.items():
            a[...] = rng.uniform(0.5, 2.0, a.shape) if key == "running_var" else rng.normal(0.0, 0.5, a.shape)
    return net


def whole(net, host=None, threads=2):
    return WholeNetwork(list(net.nodes.values()), net.input_shape, Crew(threads - 1), host)


def batch(net, N, seed=0):
    return np.random.default_rng(seed).standard_normal((N, *net.input_shape), dtype=np.float32)


def expected(net, x):
    plain = net.copy("float64")
    return EagerExecutor(plain.nodes, plain.loss_layer, 0).predict(x.astype(np.float64))


def close(got, want):
    assert got.dtype == np.float32
    assert got.shape == want.shape
    return np.abs(got - want).max() <= CLOSE * np.abs(want).max()


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.cpu if host else "this")
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_plain_executor(name, host):
    net = network(name)
    fast = whole(net, host)
    assert [op.kind for op in fast.ops] == CASES[name][2]
    x = batch(net, 3)
    got = fast.predict(x, 2)
    assert close(got, expected(net, x))
    # Again on memory that is no longer zeros, by one thread, and a sample alone: not a bit is different.
    assert fast.predict(x, 2).tobytes() == got.tobytes()
    assert fast.predict(x, 1).tobytes() == got.tobytes()
    for i in range(3):
        assert fast.predict(x[i : i + 1], 2).tobytes() == got[i : i + 1].tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere LLVM links all kernels")
def kernels_are_plain() -> None:
    """That the kernels which all cases take are code without anything to link."""
    for name in CASES:
        net = network(name)
        whole(net).predict(batch(net, 2), 2)
    host = this_host()
    mine = [ir for ir, made_for in native._functions if made_for == host]
    assert len(mine) > 50
    assert all(llvm.plain_code(llvm.compile_ir(ir, host.cpu, host.features)) for ir in mine)


def test_no_kernel_needs_a_linker():
    """So that LLVM is not loaded where all kernels are in the cache. In a process without other tests' kernels."""
    code = "from tests.executors.inference.test_whole_network import kernels_are_plain; kernels_are_plain()"
    folder = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("split", [0, 2**30])
@pytest.mark.parametrize("name", ["a residual that comes by Winograd's way", "pooled at the store"])
def test_tiles_shared_out_either_way(name, split, monkeypatch):
    net = network(name)
    x = batch(net, 5)
    usual = whole(net)
    assert "winograd 4x4" in "".join(usual.describe())
    got = usual.predict(x, 2)
    monkeypatch.setattr(convolving, "_SPLIT", split)
    other = whole(net)
    assert bool(other.layout(1).spare) == bool(split or "affine2" in net.layers)
    assert other.predict(x, 2).tobytes() == got.tobytes()


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.cpu if host else "this")
@pytest.mark.parametrize("name", ["vectors", "pooled at the store"])
def test_rows_of_large_weights_shared_out(name, host, monkeypatch):
    monkeypatch.setattr(sharing, "_ROWS", 128)
    net = network(name)
    fast, x = whole(net, host), batch(net, 19)
    assert len(sharing.parts_of_rows(*next(a for a in net.params.values() if a.ndim == 2).shape)) > 1
    got = fast.predict(x, 2)
    assert close(got, expected(net, x))
    assert fast.predict(x[7:8], 1).tobytes() == got[7:8].tobytes()
    assert fast.predict(x, 5).tobytes() == got.tobytes()


def test_a_batch_goes_in_pieces(monkeypatch):
    net = network("a residual block")
    monkeypatch.setattr(runner, "_MANY", 4)
    x = batch(net, 11)
    fast = whole(net)
    assert fast.piece_size == 4
    assert close(fast.predict(x, 2), expected(net, x))


@pytest.mark.parametrize("name", ["a residual block", "constants as exporters write them", "each channel by itself"])
def test_any_change_of_a_parameter_is_seen(name):
    net = network(name)
    fast, x = whole(net), batch(net, 2)
    before = fast.predict(x, 2)
    for layer in net.layers.values():
        for named in (layer.params, layer.state):
            for key, a in named.items():
                a.reshape(-1)[-1] += 0.5  # written into
                now = fast.predict(x, 2)
                assert close(now, expected(net, x)), key
                named[key] = a * np.float32(1.25)  # replaced
                now = fast.predict(x, 2)
                assert close(now, expected(net, x)), key
    assert not np.array_equal(fast.predict(x, 2), before)


def test_doubts_are_settled_before_the_work():
    net = network("a residual block")
    fast, x = whole(net), batch(net, 2)
    fast.predict(x, 2)
    fast.doubtful = True
    net.layers["b"].params["W"] *= 2.0
    assert close(fast.predict(x, 2), expected(net, x))
    assert not fast.doubtful


def test_weights_that_lie_otherwise():
    """An affine layer's W from a transposed view, and every other column of a larger array."""
    net = network("pooled at the store")
    layers = [layer for layer in net.layers.values() if "W" in layer.params and layer.params["W"].ndim == 2]
    layers[0].params["W"] = np.asfortranarray(layers[0].params["W"])
    layers[1].params["W"] = np.repeat(layers[1].params["W"], 2, axis=1)[:, ::2]
    conv_layer = next(layer for layer in net.layers.values() if isinstance(layer, Convolution))
    conv_layer.params["W"] = np.repeat(conv_layer.params["W"], 2, axis=0)[::2]
    fast, x = whole(net), batch(net, 2)
    assert close(fast.predict(x, 2), expected(net, x))
    for layer in (*layers, conv_layer):
        layer.params["W"][0] += 0.25
        assert close(fast.predict(x, 2), expected(net, x))


def test_weights_of_another_dtype():
    net = network("each channel by itself")
    fast, x = whole(net), batch(net, 2)
    fast.predict(x, 2)
    for layer in net.layers.values():
        for key, a in layer.params.items():
            layer.params[key] = a.astype(np.float64) * 1.25
            assert close(fast.predict(x, 2), expected(net, x))
            layer.params[key][...] *= 0.75
            assert close(fast.predict(x, 2), expected(net, x))


def test_many_callers_at_once():
    net = network("branches joined, and joined again")
    fast = whole(net)
    xs = [batch(net, N, seed=N) for N in (1, 2, 3, 1, 2, 3)]
    wanted = [whole(net).predict(x, 1).tobytes() for x in xs]
    wrong = []

    def call(i):
        for _ in range(20):
            if fast.predict(xs[i], 2).tobytes() != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_not_finite_stays_so():
    net = Sequential([conv(20, 3, pad=1), "relu", max_pool(3, 2), conv(5, 1), average_pool(2)], (3, 12, 12), seed=0)
    x = batch(net, 2)
    x[1, 0, 3, 3] = np.nan
    got = whole(net).predict(x, 2)
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).any()


def test_memory_is_used_again():
    layers = [layer for i in range(20) for layer in (conv(16, 3, pad=1), "relu")]
    net = Sequential(layers, (16, 20, 20), seed=0)
    layout = whole(net).layout(1)
    one = layout.values["relu5"].region.bytes
    spare = max(region.bytes for region in layout.spare.values())
    assert layout.size <= 2 * one + spare + 64  # of twenty values, two at a time, and Winograd's room


def test_the_executor_takes_it_where_it_pays():
    net = Sequential([conv(8, 3, pad=1), batch_norm(), "relu", max_pool(3, 2), affine(5)], (3, 16, 16), seed=0)
    plan = net.summary(plan=True)
    assert "predictions, as a whole" in plan
    assert "conv1 + norm1 + relu1: compiled folded + relu" in plan
    x, t = batch(net, 5), np.arange(5)
    assert close(net.predict(x), expected(net, x))
    net.train_pass(x, t)
    for name, g in net.grads.items():
        net.params[name] -= 0.1 * g
    assert close(net.predict(x), expected(net, x))
    small = Sequential([conv(8, 3, pad=1), "relu", max_pool(2), affine(5)], (1, 16, 16), seed=0)
    assert "as a whole" not in small.summary(plan=True)
