"""Every public layer inside a network: over pieces and threads, on a device, copied, pickled and read from a file."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.executors.every_layer import LEARNING, MIDDLES, NO_PART_OF_A_NETWORK, SHAPE
from xpcnn import Network
from xpcnn import layers as public
from xpcnn.device import Device, asnumpy
from xpcnn.executors import CpuExecutor, EagerExecutor
from xpcnn.executors.cuda import CudaExecutor
from xpcnn.layers import Identity, Layer, affine, conv

N = 7  # over two threads 3 and 4, each in pieces of 2; on a device pieces of 3
each_layer = pytest.mark.parametrize("name", MIDDLES)


def _network(name: str, seed: int = 0, learned_before: bool = True) -> Network:
    """The layer between a convolution and an affine layer; not learned_before: nobody asks for its gradient dx."""
    random = np.random.default_rng(seed)

    def make(*shape: int) -> np.ndarray:
        return random.uniform(0.5, 1.5, shape)

    first = conv(SHAPE[0], 3, pad=1) if learned_before else Identity()
    net = Network([("c", first), *MIDDLES[name](make), affine(3)], SHAPE, seed=seed, dtype="float64")
    net.use_threads(1)
    return net


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """Each has been at work already, so that its copies would have what a layer remembers."""
    made = {name: _network(name) for name in MIDDLES}
    x, t = _batch()
    for net in made.values():
        net.train_pass(x, t)
        net.predict(x[:1])
    return made


def _plain(net: Network) -> Network:
    twin = net.copy()
    twin.executor = EagerExecutor(twin.nodes, twin.loss_layer, twin.seed)
    return twin


def _in_pieces(net: Network) -> Network:
    twin = net.copy()
    twin.use_threads(2)
    assert isinstance(twin.executor, CpuExecutor)
    twin.executor.predict_size = 2
    for segment in twin.executor.segments:
        segment.piece_size = segment.piece_size and 2
    return twin


def _on(cuda: Device, net: Network) -> Network:
    twin = net.copy().to(cuda)
    assert isinstance(twin.executor, CudaExecutor)
    twin.executor.most = 3
    return twin


def _batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.standard_normal((N, *SHAPE)), random.integers(0, 3, N)


def _assert_alike(got: Mapping[str, Any], want: Mapping[str, Any], tolerance: float = 1e-12) -> None:
    """tolerance: as a part of the largest of all; by default that of some hundred float64 products summed anyhow."""
    assert got.keys() == want.keys()
    largest = max([1.0, *(float(abs(asnumpy(a)).max()) for a in want.values())])
    for key, a in want.items():
        np.testing.assert_allclose(asnumpy(got[key]), asnumpy(a), rtol=0.0, atol=tolerance * largest, err_msg=key)


def _assert_same_passes(net: Network, plain: Network) -> None:
    x, t = _batch()
    for _ in range(2):  # the second over memory that is used again, and with another dropout mask
        (loss, scores), (want, want_scores) = net.train_pass(x, t), plain.train_pass(x, t)
        _assert_alike({"loss": loss, "scores": scores}, {"loss": want, "scores": want_scores})
        _assert_alike(net.grads, plain.grads)
        _assert_alike(net.state, plain.state)
    for batch in (x, x[:1]):
        _assert_alike({"scores": net.predict(batch)}, {"scores": plain.predict(batch)})


def test_no_kind_is_left_out(networks: dict[str, Network]) -> None:
    kinds = {a for a in vars(public).values() if isinstance(a, type) and issubclass(a, Layer) and a is not Layer}
    held = {type(layer) for net in networks.values() for layer in net.layers.values()}
    assert held == kinds - NO_PART_OF_A_NETWORK


@each_layer
def test_pieces_over_threads(networks: dict[str, Network], name: str) -> None:
    _assert_same_passes(_in_pieces(networks[name]), _plain(networks[name]))


@each_layer
def test_on_a_device(cuda: Device, networks: dict[str, Network], name: str) -> None:
    twin = _on(cuda, networks[name])
    _assert_same_passes(twin, _plain(networks[name]))
    for layer in twin.layers.values():  # what lies on the device lies where a move to another one finds it
        for key, value in vars(layer).items():
            arrays = value if isinstance(value, list | tuple) else [value]
            assert not any(isinstance(a, cuda.xp.ndarray) for a in arrays), key


@pytest.mark.parametrize("name", LEARNING)
def test_with_nothing_learned_before(cuda: Device, name: str) -> None:
    net = _network(name, learned_before=False)
    assert not any(node.needs_dx for node in list(net.nodes.values())[:2])
    _assert_same_passes(_in_pieces(net), _plain(net))
    _assert_same_passes(_on(cuda, net), _plain(net))


@each_layer
def test_float32_between_fast_stages(networks: dict[str, Network], name: str) -> None:
    net, plain, (x, t) = _in_pieces(networks[name].copy("float32")), _plain(networks[name]), _batch()
    loss, scores = net.train_pass(x.astype("float32"), t)
    want, want_scores = plain.train_pass(x, t)
    # Some hundred roundings of 6e-8, of which most cancel; what comes out of exp or a quotient has lost a digit more.
    _assert_alike({"loss": loss, "scores": scores}, {"loss": want, "scores": want_scores}, 1e-5)
    _assert_alike(net.grads, plain.grads, 1e-5)
    for batch in (x, x[:1]):
        _assert_alike({"scores": net.predict(batch.astype("float32"))}, {"scores": plain.predict(batch)}, 1e-5)
    assert {a.dtype.name for a in (loss, scores, net.predict(x), *net.grads.values())} == {"float32"}


@each_layer
def test_float16_on_a_device(cuda: Device, networks: dict[str, Network], name: str) -> None:
    net, plain, (x, t) = networks[name].copy().to(cuda).copy("float16"), _plain(networks[name]), _batch()
    with np.errstate(over="ignore", invalid="ignore"):  # the first loss scale may be too large, and is then lowered
        loss, _ = net.train_pass(x, t)
    want, _ = plain.train_pass(x, t)
    # Each value between two layers has three digits.
    _assert_alike({"loss": loss, "scores": net.predict(x)}, {"loss": want, "scores": plain.predict(x)}, 5e-3)
    assert {a.dtype.name for a in (net.predict(x), *net.params.values())} == {"float32"}


@each_layer
def test_copied_pickled_and_saved(networks: dict[str, Network], tmp_path: Path, name: str) -> None:
    net = networks[name].copy()
    x, t = _batch()
    net.train_pass(x, t)  # moves running statistics
    want = net.predict(x)
    net.save_params(tmp_path / "params.safetensors")
    read = _network(name, seed=5)
    assert not np.array_equal(read.predict(x), want)
    read.load_params(tmp_path / "params.safetensors")
    twins: dict[str, Callable[[], Network]] = {
        "copied": net.copy,
        "pickled": lambda: pickle.loads(pickle.dumps(net)),
        "read": lambda: read,
    }
    for how, make in twins.items():
        twin = make()
        np.testing.assert_array_equal(twin.predict(x), want, err_msg=how)
        assert twin.summary(plan=True) == net.summary(plan=True)
        for a in (*twin.params.values(), *twin.state.values()):  # its arrays are its own
            a += 1.0
    np.testing.assert_array_equal(net.predict(x), want)
