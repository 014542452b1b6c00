"""Every library that is installed computes the same, so that the times are those of the same work."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from book_style import Adam, BookNetwork
from peers import PEERS, Unavailable, ours
from workloads import LEARNING_RATE, NETS, Affine, Conv, Net, Workload, batches, parameters

TINY = Net("tiny", (1, 10, 10), (Conv(1, 3, 3, 1, 1), "relu", "pool", Affine(75, 6), "relu", Affine(6, 5)))
LAYER = Net("layer", (3, 9, 9), (Conv(3, 4, 3, 2, 1),))
NEEDS = {"torch": ["torch"], "torch-cl": ["torch"], "onnxruntime": ["onnxruntime", "onnx"]}
LIBRARIES = [
    pytest.param(name, marks=[pytest.mark.parity] if name in NEEDS else [])
    for name in ("ours", "ours-numpy", "book", "torch", "torch-cl", "onnxruntime")
]


@pytest.fixture(autouse=True)
def _same_threads():
    """PyTorch's threads are afterwards what they were."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if threads is not None:
        sys.modules["torch"].set_num_threads(threads)


@pytest.fixture
def build(request, monkeypatch):
    """build(task, net) -> one iteration of the library that the test is about."""
    name = request.param
    for needed in NEEDS.get(name, []):
        pytest.importorskip(needed)
    peer = PEERS[name]
    for key, value in peer.environment.items():
        monkeypatch.setenv(key, value)
    module = peer.load()
    assert all(module.versions().values())

    def of(task, net):
        if task not in peer.tasks:
            pytest.skip(f"{name} has no {task}")
        try:
            return module.build(Workload(task, net, 6), 1, **peer.options)
        except Unavailable as error:
            pytest.skip(str(error))

    of.library = name
    return of


each_library = pytest.mark.parametrize("build", LIBRARIES, indirect=True)


@each_library
@pytest.mark.parametrize("net", [NETS["simple"], NETS["deep"], NETS["conv128"]], ids=["simple", "deep", "conv128"])
def test_scores(build, net):
    x = batches(Workload("inference", net, 6), 1)[0][0]
    # Without its dropout, whose rule at test time is another than everybody else's.
    want = BookNetwork(net, parameters(net), dropout_ratio=0.0).predict(x)
    got = np.asarray(build("inference", net)())
    if net is NETS["deep"] and build.library == "book":
        want = BookNetwork(net, parameters(net)).predict(x)
    # float32 against float64: sums of up to 4,320 terms that come to the size of 1.
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-4)


@each_library
def test_a_training_step(build):
    step = build("train", TINY)
    data = batches(Workload("train", TINY, 6))
    book, optimizer = BookNetwork(TINY, parameters(TINY)), Adam(LEARNING_RATE)
    losses = []
    for x, t in (data + data)[:12]:  # the batches come round and round
        losses.append(book.loss(x, t))
        optimizer.update(book.params, book.gradient(x, t))
        # float32 against float64, from a loss of 2 or so; without the steps it would be off by 2e-4 in the end.
        assert float(step()) == pytest.approx(losses[-1], abs=2e-5)
    assert abs(losses[10] - losses[0]) > 1e-4  # the same batch again


@each_library
def test_forward_and_backward_of_a_layer(build):
    both = build("both", LAYER)
    both()
    assert both() is not None


@pytest.mark.parametrize("compiled", [False, True])
def test_our_layer_computes_its_input_s_gradient(compiled, monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "1" if compiled else "0")
    asked = []
    real = ours.make_executor
    monkeypatch.setattr(ours, "make_executor", lambda nodes, *rest: asked.append(nodes) or real(nodes, *rest))
    ours.build(Workload("both", LAYER, 6), 1)()
    (nodes,) = asked
    assert all(node.needs_dx for node in nodes.values())
    x, dout = batches(Workload("both", LAYER, 6))[0]
    book = BookNetwork(LAYER, parameters(LAYER))
    book.predict(x, train=True)
    book.backward(dout)
    (layer,) = (node.layer for node in nodes.values())
    # float32 against float64: sums of 150 terms of the size of 1.
    np.testing.assert_allclose(layer.grads["W"], book.learning[0].dW, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(layer.grads["b"], book.learning[0].db, rtol=0.0, atol=1e-4)


@pytest.mark.parity
def test_torch_computes_the_input_s_gradient():
    pytest.importorskip("torch")
    from peers import torch_eager

    x, dout = batches(Workload("both", LAYER, 6))[0]
    book = BookNetwork(LAYER, parameters(LAYER))
    book.predict(x, train=True)
    got = torch_eager.build(Workload("both", LAYER, 6), 1)()
    np.testing.assert_allclose(got.numpy(), book.backward(dout), rtol=0.0, atol=1e-4)


def test_without_compiled_kernels_ours_says_why(monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    with pytest.raises(Unavailable, match="XPCNN_COMPILED=0"):
        ours.build(Workload("inference", TINY, 2), 1, compiled=True)


def test_the_matrix_product():
    product = PEERS["sgemm"].load()
    out = product.build(Workload("train", TINY, 2), 1)()
    assert 2 * out.shape[0] * out.shape[1] * 1536 == product.FLOPS
