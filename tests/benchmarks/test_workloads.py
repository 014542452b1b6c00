from __future__ import annotations

import numpy as np
import pytest
from peers.ours import network
from workloads import NETS, Affine, Conv, Net, Workload, batches, parameters, pictures

from xpcnn.models import DeepConvNet, SimpleConvNet


@pytest.mark.parametrize(("name", "model"), [("simple", SimpleConvNet), ("deep", DeepConvNet)])
def test_the_models_are_the_library_s(name, model):
    net, ours = NETS[name], model(seed=0)
    params = parameters(net)
    assert {k: a.shape for k, a in params.items()} == {k: a.shape for k, a in ours.params.items()}
    assert {a.dtype for a in params.values()} == {np.dtype("float32")}
    built = network(net)
    assert [type(layer) for layer in built.layers.values()] == [type(layer) for layer in ours.layers.values()]
    assert [shape for _, shape in net.places()] == [node.shape for node in ours.nodes.values()]
    ours.load_arrays(params)
    x = pictures(net, 3)
    np.testing.assert_array_equal(built.predict(x), ours.predict(x))


def test_flops_of_simple_convnet():
    conv, affine1, affine2 = 2 * 25 * 30 * 24 * 24, 2 * 4320 * 100, 2 * 100 * 10
    net = NETS["simple"]
    assert net.flops() == conv + affine1 + affine2
    assert net.flops("parameters") == 2 * conv + 3 * (affine1 + affine2)  # the first layer's dx is not asked for
    assert net.flops("all") == 3 * (conv + affine1 + affine2)
    assert Workload("train", net, 100).flops == 100 * net.flops("parameters")
    assert Workload("inference", net, 7).flops == 7 * net.flops()


def test_flops_of_a_layer_with_stride():
    assert NETS["conv7x7"].flops() == 2 * 3 * 49 * 64 * 112 * 112
    assert Workload("both", NETS["conv64"], 32).flops == 3 * 32 * 2 * 64 * 9 * 64 * 32 * 32


def test_batches():
    net = Net("", (2, 6, 5), (Conv(2, 3, 3), "relu", "pool", Affine(6, 4)))
    found = batches(Workload("train", net, 8), 3)
    assert len(found) == 3
    for x, t in found:
        assert (x.shape, x.dtype, t.shape) == ((8, 2, 6, 5), np.float32, (8,))
        assert x.min() == 0.0
        assert 0.0 < x.max() < 1.0
        assert set(t) <= set(range(4))
    assert not np.array_equal(found[0][0], found[1][0])
    ((x, dout),) = batches(Workload("both", Net("", (2, 6, 5), (Conv(2, 3, 3),)), 8))
    assert (x.shape, dout.shape, dout.dtype) == ((8, 2, 6, 5), (8, 3, 4, 3), np.float32)
