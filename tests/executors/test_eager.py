"""The plain way through a network: the same as calling the layers by hand, and nothing left behind."""

from __future__ import annotations

import itertools
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ShapeError
from xpcnn.executors.eager import EagerExecutor, deliver
from xpcnn.graph import Node, build_graph
from xpcnn.layers import Affine, Context, Layer, SoftmaxWithLoss, affine, conv, dropout, max_pool
from xpcnn.ops.gradcheck import relative_error


def _chain(dtype: str = "float64") -> dict[str, Node]:
    items = [conv(3, 3), "relu", max_pool(2), dropout(0.4), affine(6), "tanh", affine(3)]
    return build_graph(items, (2, 6, 6), 0, np.dtype(dtype), "auto")


def _executor(nodes: dict[str, Node], seed: int = 0) -> EagerExecutor:
    return EagerExecutor(nodes, SoftmaxWithLoss(), seed)


def _batch(N: int = 8, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.standard_normal((N, 2, 6, 6)).astype(dtype), random.integers(0, 3, N)


def _grads(nodes: dict[str, Node]) -> dict[str, np.ndarray]:
    return {f"{n}.{p}": asnumpy(g).copy() for n, node in nodes.items() for p, g in node.layer.grads.items()}


def test_predict_is_the_layers_by_hand(device: Device) -> None:
    nodes = _chain()
    for node in nodes.values():
        node.layer.params = {name: device.asarray(a) for name, a in node.layer.params.items()}
    x = device.asarray(_batch()[0])
    seen: dict[str, Any] = {}
    scores = _executor(nodes).predict(x, visit=seen.__setitem__)
    y = x
    for name, node in nodes.items():
        y = node.layer.forward(y)
        np.testing.assert_array_equal(asnumpy(seen[name]), asnumpy(y))
    assert list(seen) == list(nodes)
    np.testing.assert_array_equal(asnumpy(scores), asnumpy(y))


def test_gradient_is_the_layers_by_hand() -> None:
    nodes = _chain()
    x, t = _batch()
    loss, scores = _executor(nodes).gradient(x, t, train=False)
    got = _grads(nodes)
    y = x
    for node in nodes.values():
        y = node.layer.forward(y)
    np.testing.assert_array_equal(scores, y)
    by_hand = SoftmaxWithLoss()
    assert loss == by_hand.forward(y, t)
    dout = by_hand.backward()
    for node in reversed(nodes.values()):
        dout = node.layer.backward(dout)
    want = _grads(nodes)
    assert list(got) == ["conv1.W", "conv1.b", "affine1.W", "affine1.b", "affine2.W", "affine2.b"] == list(want)
    for name, g in got.items():
        np.testing.assert_array_equal(g, want[name])


def test_the_layers_own_contexts_are_left_alone() -> None:
    nodes = _chain()
    _executor(nodes).gradient(*_batch())
    for node in nodes.values():
        assert node.layer._context is None
        assert node.layer.calls == 0


def test_values_go_when_nobody_needs_them_any_more() -> None:
    nodes = build_graph(
        [
            ("a", affine(3)),
            ("b", affine(3)),
            ("c", affine(3)),
            ("d", "add", ["a", "c"]),
            ("e", affine(3)),
            ("f", affine(3)),
        ],
        (3,),
        0,
        np.dtype("float64"),
        "he",
    )
    alive: dict[str, Any] = {}
    held: dict[str, list[str]] = {}

    def visit(name: str, value: Any) -> None:
        alive[name] = weakref.ref(value)
        held[name] = [n for n, ref in alive.items() if ref() is not None]

    _executor(nodes).predict(np.ones((2, 3)), visit=visit)
    assert held == {"a": ["a"], "b": ["a", "b"], "c": ["a", "c"], "d": ["d"], "e": ["e"], "f": ["f"]}


class _NoWayBack(Layer):
    def forward_in(self, ctx: Context, *xs: Any) -> Any:
        return xs[0] * 2.0

    def backward_in(self, ctx: Context, dout: Any) -> Any:
        raise AssertionError("nothing before this layer learns")


def test_what_comes_before_the_first_parameters_has_no_backward() -> None:
    nodes = build_graph([_NoWayBack(), ("w", affine(3))], (4,), 0, np.dtype("float64"), "he")
    _executor(nodes).gradient(np.ones((2, 4)), np.array([0, 1]))
    assert sorted(nodes["w"].layer.grads) == ["W", "b"]


def test_masks_change_with_the_step_and_repeat() -> None:
    executor = _executor(_chain())
    x, _ = _batch()
    first = executor.predict(x, train=True, step=3)
    np.testing.assert_array_equal(executor.predict(x, train=True, step=3), first)
    assert not np.array_equal(executor.predict(x, train=True, step=4), first)
    assert not np.array_equal(_executor(_chain(), seed=1).predict(x, train=True, step=3), first)
    np.testing.assert_array_equal(executor.predict(x, step=3), executor.predict(x, step=4))


@pytest.mark.parametrize("cuts", [(), (1,), (3, 4), (2, 5, 7)])
def test_pieces_add_up_to_the_whole(cuts: tuple[int, ...]) -> None:
    nodes = _chain()
    executor = _executor(nodes)
    x, t = _batch()
    loss, scores = executor.gradient(x, t, step=5)
    whole = _grads(nodes)
    edges = (0, *cuts, len(x))
    parts = [
        executor.piece(x[a:b], t[a:b], True, 5, first=a, share=(b - a) / len(x)) for a, b in itertools.pairwise(edges)
    ]
    # The same masks, hence the same numbers but for the order of sums: float64, hundreds of terms of the size of 1.
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), scores, rtol=0.0, atol=1e-13)
    assert sum(float(part[0]) for part in parts) == pytest.approx(float(loss), rel=1e-13)
    deliver(executor.nodes, [part[2] for part in parts])
    for name, g in _grads(nodes).items():
        np.testing.assert_allclose(g, whole[name], rtol=0.0, atol=1e-13)


def test_pieces_in_threads_are_those_one_after_another() -> None:
    executor = _executor(_chain("float32"))
    x, t = _batch(32, "float32")

    def work(start: int) -> Any:
        return executor.piece(x[start : start + 4], t[start : start + 4], True, 0, first=start, share=0.125)

    alone = [work(start) for start in range(0, 32, 4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(0, 32, 4)))
    for (loss_a, scores_a, grads_a), (loss_b, scores_b, grads_b) in zip(alone, together, strict=True):
        assert loss_a == loss_b
        np.testing.assert_array_equal(scores_a, scores_b)
        for node, arrays in grads_a.items():
            for name, g in arrays.items():
                np.testing.assert_array_equal(grads_b[node][name], g)


def test_gradients_of_branches_meet() -> None:
    items = [
        ("a", affine(4)),
        ("act", "tanh"),
        ("b", affine(4)),
        ("sum", "add", ["act", "b", "a", "act"]),
        ("both", "concatenate", ["sum", "b", "input"]),
        ("out", affine(3)),
    ]
    nodes = build_graph(items, (5,), 0, np.dtype("float64"), "he")
    executor = _executor(nodes)
    random = np.random.default_rng(2)
    x, t = random.standard_normal((6, 5)), random.integers(0, 3, 6)
    executor.gradient(x, t)
    got = _grads(nodes)
    for name, node in nodes.items():
        for p, a in node.layer.params.items():
            slopes = oracles.central_difference(lambda: float(executor.gradient(x, t)[0]), a)
            # Central differences err by about 1e-10; a wrong gradient is wrong in its first digits.
            assert relative_error(got[f"{name}.{p}"], slopes) < 1e-6, f"{name}.{p}"


def test_a_layer_at_two_nodes_gets_the_sum_of_both_gradients() -> None:
    random = np.random.default_rng(0)
    W, b = random.standard_normal((4, 4)), random.standard_normal(4)
    shared = Affine(W, b)
    one = build_graph([("a", shared), "tanh", ("b", shared)], (4,), 0, np.dtype("float64"), "he")
    two = build_graph([("a", Affine(W, b)), "tanh", ("b", Affine(W, b))], (4,), 0, np.dtype("float64"), "he")
    x, t = random.standard_normal((5, 4)), random.integers(0, 4, 5)
    for _ in range(2):  # the second pass starts from nothing again
        _executor(one).gradient(x, t)
    _executor(two).gradient(x, t)
    for name in ("W", "b"):
        want = two["a"].layer.grads[name] + two["b"].layer.grads[name]
        assert abs(two["a"].layer.grads[name]).max() > 1e-3
        assert abs(two["b"].layer.grads[name]).max() > 1e-3
        np.testing.assert_allclose(shared.grads[name], want, rtol=0.0, atol=1e-15)  # one sum, in either order


def test_deliver_does_not_write_into_the_pieces() -> None:
    nodes = build_graph([("a", affine(2, bias=False))], (2,), 0, np.dtype("float64"), "he")
    pieces = [{"a": {"W": np.full((2, 2), v)}} for v in (1.0, 2.0, 4.0)]
    deliver(list(nodes.values()), pieces)
    assert nodes["a"].layer.grads["W"].tolist() == [[7.0, 7.0]] * 2
    assert [float(p["a"]["W"][0, 0]) for p in pieces] == [1.0, 2.0, 4.0]
    deliver(list(nodes.values()), [])
    assert nodes["a"].layer.grads == {}


def test_an_error_leaves_the_executor_usable() -> None:
    nodes = _chain()
    executor = _executor(nodes)
    x, t = _batch()
    want = executor.gradient(x, t)[1]
    with pytest.raises(ShapeError):
        executor.gradient(x, t[:3])
    np.testing.assert_array_equal(executor.gradient(x, t)[1], want)
    assert executor.describe().startswith("eager")
