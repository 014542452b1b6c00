"""Whole networks: gradients, batches in pieces, evaluation, copies, seeds, errors for people, files, words."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import oracles
from xpcnn.device import Device, asnumpy
from xpcnn.errors import CheckpointError, ConfigError, DataError, ShapeError
from xpcnn.formats import load_arrays, save_arrays
from xpcnn.layers import (
    Affine,
    Convolution,
    Relu,
    SoftmaxWithLoss,
    affine,
    average_pool,
    batch_norm,
    conv,
    dropout,
    max_pool,
)
from xpcnn.network import Network, Sequential
from xpcnn.ops.gradcheck import relative_error
from xpcnn.optimizers import make_optimizer


def _small(**options: Any) -> Sequential:
    """Six by seven pixels of two channels into three classes, with everything that has a memory or draws."""
    return Sequential(
        [conv(3, 3, pad=1), batch_norm(), "relu", max_pool(2), dropout(0.3), affine(5), "tanh", affine(3)],
        input_shape=(2, 6, 7),
        **{"seed": 0, **options},
    )


def _plain(**options: Any) -> Sequential:
    return Sequential(
        [conv(3, 3), "relu", max_pool(2), affine(5), "relu", affine(3)], (2, 6, 7), **{"seed": 0, **options}
    )


def _batch(N: int, shape: tuple[int, ...] = (2, 6, 7), K: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((N, *shape)).astype(np.float32), random.integers(0, K, N)


def _assert_gradients(net: Network, x: np.ndarray, t: np.ndarray) -> None:
    expected = net.numerical_gradient(x, t)  # first: it uses the masks that gradient is about to use
    got = net.gradient(x, t)
    assert list(got) == list(expected) == list(net.params)
    for name, g in got.items():
        assert g.shape == net.params[name].shape
        # Central differences of a loss of about 1 err by 1e-10 (see tests/layers/test_base.py), relative to gradients
        # that are 1e-2 or larger: 1e-8. A wrong gradient is wrong in its first digits.
        # A bias before batch normalisation has no say: there both are rounding and nothing else.
        if abs(expected[name]).max() > 1e-8 or abs(g).max() > 1e-12:
            assert relative_error(g, expected[name]) < 1e-6, name


# -------------------------------------------------------------------------------------------------------- gradients
def test_a_chains_gradients(device: Device) -> None:
    _assert_gradients(_small(dtype="float64", device=device), *_batch(5))


def test_branches_that_add_and_concatenate(device: Device) -> None:
    net = Network(
        [
            ("stem", conv(4, 3, pad=1)),
            ("act", "relu"),
            ("left", conv(4, 3, pad=1), "act"),
            ("left_act", "elu"),
            ("sum", "add", ["act", "left_act", "stem"]),
            ("right", conv(2, 1), "act"),
            ("straight", average_pool(3, stride=1, pad=1), "input"),
            ("all", "concatenate", ["sum", "right", "straight", "right"]),
            ("pool", max_pool(2)),
            affine(3),
        ],
        (2, 5, 7),
        seed=0,
        dtype="float64",
        device=device,
    )
    assert net.nodes["all"].shape == (10, 5, 7)
    _assert_gradients(net, *_batch(3, (2, 5, 7)))


def test_twice_the_same_input() -> None:
    net = Network([("a", affine(4)), ("b", "add", ["a", "a"]), affine(3)], (5,), seed=0, dtype="float64")
    _assert_gradients(net, *_batch(4, (5,)))


def test_one_layer_at_two_nodes_shares_its_weights(device: Device) -> None:
    random = np.random.default_rng(0)
    layer = Convolution(random.standard_normal((2, 2, 3, 3)) * 0.3, random.standard_normal(2), pad=1)
    net = Network(
        [("once", layer), ("act", "tanh"), ("again", layer), affine(3)],
        (2, 5, 4),
        seed=0,
        dtype="float64",
        device=device,
    )
    assert list(net.params) == ["once.W", "once.b", "affine1.W", "affine1.b"]
    x, t = _batch(3, (2, 5, 4))
    _assert_gradients(net, x, t)
    twin = net.copy()
    assert twin.layers["once"] is twin.layers["again"]
    # One step of SGD moves the shared weights once.
    before, grads = asnumpy(net.params["once.W"]).copy(), net.gradient(x, t)
    make_optimizer("sgd", lr=0.5).update(net.params, grads)
    np.testing.assert_allclose(asnumpy(layer.W), before - 0.5 * asnumpy(grads["once.W"]), rtol=1e-15)
    np.testing.assert_array_equal(asnumpy(twin.params["once.W"]), before)
    assert f"{38 + 40 * 3 + 3} parameters" in net.summary()


def test_layers_before_the_first_parameters(device: Device) -> None:
    net = Sequential([max_pool(2), "relu", "flatten", affine(3)], (2, 6, 7), seed=0, dtype="float64", device=device)
    assert not net.nodes["affine1"].needs_dx
    _assert_gradients(net, *_batch(4))


def test_a_network_that_has_nothing_to_learn() -> None:
    net = Sequential(["flatten"], (3,), seed=0)
    x, t = _batch(4, (3,))
    assert net.gradient(x, t) == {}
    assert float(net.loss(x, t)) == pytest.approx(oracles.cross_entropy(x, t.tolist()), rel=1e-6)  # float32


def test_label_smoothing_reaches_the_gradient() -> None:
    net = _plain(dtype="float64", loss=SoftmaxWithLoss(0.2))
    x, t = _batch(4)
    _assert_gradients(net, x, t)
    net.use_loss(SoftmaxWithLoss())
    _assert_gradients(net, x, t)


def test_numerical_gradients_leave_the_network_as_it_was() -> None:
    net = _small()
    before = {name: a.copy() for name, a in net.arrays().items()}
    step = net.step
    numerical = net.numerical_gradient(*_batch(3))
    assert {a.dtype.name for a in numerical.values()} == {"float64"}
    assert net.step == step
    for name, a in net.arrays().items():
        np.testing.assert_array_equal(a, before[name])


def test_gradients_are_the_callers() -> None:
    net = _small()
    first = net.gradient(*_batch(4))
    kept = {name: g.copy() for name, g in first.items()}
    net.gradient(*_batch(4, seed=1))
    for name, g in first.items():
        np.testing.assert_array_equal(g, kept[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_dtype_throughout(device: Device, dtype: str) -> None:
    net = _small(dtype=dtype, device=device)
    x, t = _batch(4)
    for images in (x, x.astype(np.float64), (x * 10).astype(np.int16), x.tolist()):
        outputs = [
            net.predict(images),
            net.loss(images, t),
            *net.gradient(images, t).values(),
            *net.activations(images).values(),
        ]
        assert {a.dtype.name for a in [*outputs, *net.arrays().values()]} == {dtype}


# ---------------------------------------------------------------------------------------------------------- batches
def test_predict_is_one_layer_after_another(device: Device) -> None:
    net = _small(device=device)
    x, t = _batch(5)
    net.gradient(x, t)  # so that the running statistics are not the first ones
    y = net.device.asarray(x)
    for layer in net.layers.values():
        y = layer.forward(y)
    # Pieces may order a sum otherwise: float32, sums of up to 63 products of the size of 1.
    np.testing.assert_allclose(asnumpy(net.predict(x)), asnumpy(y), rtol=0.0, atol=63 * 6e-8 * 10)


@pytest.mark.parametrize("build", [_small, _plain])
def test_predict_in_pieces_equals_the_whole(device: Device, build: Callable[..., Sequential]) -> None:
    net = build(device=device)
    x, _ = _batch(23)
    whole = asnumpy(net.predict(x, batch_size=None))
    assert whole.shape == (23, 3)
    for batch_size in (1, 7, 22, 23, 100):
        # Pieces may order a sum otherwise: float32, sums of up to 63 products of the size of 1.
        np.testing.assert_allclose(asnumpy(net.predict(x, batch_size=batch_size)), whole, rtol=0.0, atol=63 * 6e-8 * 10)
    with pytest.raises(ConfigError, match="batch_size is a whole number of at least 1, got 0"):
        net.predict(x, batch_size=0)


def test_an_empty_batch_has_no_scores_and_no_loss(device: Device) -> None:
    net = _small(device=device)
    x, t = _batch(0)
    assert net.predict(x).shape == (0, 3)
    with pytest.raises(ShapeError, match="empty batch"):
        net.loss(x, t)
    with pytest.raises(ShapeError, match="empty batch"):
        net.gradient(x, t)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 10, 23, 100])
def test_evaluation_counts_every_sample_once(device: Device, batch_size: int, one_hot: bool) -> None:
    net = _plain(device=device)
    x, t = _batch(23)
    labels = np.eye(3, dtype=np.float32)[t] if one_hot else t
    scores = asnumpy(net.predict(x)).astype(np.float64)
    right = sum(int(row.argmax() == label) for row, label in zip(scores, t, strict=True))
    assert 0 < right < 23
    loss, accuracy = net.evaluate(x, labels, batch_size)
    assert accuracy == net.accuracy(x, labels, batch_size=batch_size) == right / 23
    assert loss == pytest.approx(oracles.cross_entropy(scores, t.tolist()), rel=1e-6)  # float32 means of batches
    assert type(loss) is type(accuracy) is float


def test_evaluation_uses_test_time(device: Device) -> None:
    net = _small(device=device)
    before = {name: asnumpy(a).copy() for name, a in net.state.items()}
    x, t = _batch(9)
    assert net.evaluate(x, t) == net.evaluate(x, t)
    for name, a in net.state.items():
        np.testing.assert_array_equal(asnumpy(a), before[name])


def test_evaluation_errors() -> None:
    net = _plain()
    x, t = _batch(5)
    with pytest.raises(DataError, match="at least one sample, got none"):
        net.accuracy(x[:0], t[:0])
    with pytest.raises(DataError, match="got 5 samples and 4 labels"):
        net.accuracy(x, t[:4])
    with pytest.raises(ConfigError, match="batch_size is a whole number of at least 1, got 0"):
        net.accuracy(x, t, batch_size=0)


def test_loss_is_the_cross_entropy_of_the_scores(device: Device) -> None:
    net = _plain(device=device)
    x, t = _batch(6)
    scores = asnumpy(net.predict(x)).astype(np.float64)
    assert float(net.loss(x, t)) == pytest.approx(oracles.cross_entropy(scores, t.tolist()), rel=1e-6)  # float32
    loss, train_scores = net.train_pass(x, t)
    assert float(loss) == pytest.approx(float(net.loss(x, t)), rel=1e-6)
    np.testing.assert_allclose(asnumpy(train_scores), scores, rtol=0.0, atol=1e-5)


def test_activations_are_every_layers_output(device: Device) -> None:
    net = _plain(device=device)
    x, _ = _batch(3)
    outputs = net.activations(x)
    assert {name: a.shape for name, a in outputs.items()} == {n: (3, *node.shape) for n, node in net.nodes.items()}
    np.testing.assert_allclose(asnumpy(outputs["affine2"]), asnumpy(net.predict(x)), rtol=0.0, atol=1e-5)
    y = net.layers["relu1"].forward(outputs["conv1"])
    np.testing.assert_array_equal(asnumpy(y), asnumpy(outputs["relu1"]))


def test_the_first_layer_that_is_not_finite() -> None:
    net = _plain()
    x, _ = _batch(2)
    assert net.first_nonfinite(x) is None
    net.params["affine1.b"][1] = math.inf
    assert net.first_nonfinite(x) == "affine1"
    x[1, 0, 3, 3] = math.nan
    assert net.first_nonfinite(x) == "conv1"


def test_looking_for_it_changes_nothing() -> None:
    net = _small()
    before = {name: a.copy() for name, a in net.arrays().items()}
    x, _ = _batch(4)
    x[0, 0, 0, 0] = math.inf
    assert net.first_nonfinite(x) == "conv1"
    assert net.step == 0
    for name, a in net.arrays().items():
        np.testing.assert_array_equal(a, before[name])


# ------------------------------------------------------------------------------------------------------------ seeds
def test_a_seed_gives_the_same_bits(device: Device) -> None:
    x, t = _batch(6)
    a, b = _small(device=device), _small(device=device)
    for _ in range(3):
        for got, want in zip(a.gradient(x, t).values(), b.gradient(x, t).values(), strict=True):
            np.testing.assert_array_equal(asnumpy(got), asnumpy(want))
    assert not np.array_equal(asnumpy(_small(seed=1).params["conv1.W"]), asnumpy(a.params["conv1.W"]))


def test_no_seed_is_another_seed_each_time() -> None:
    a, b = _small(seed=None), _small(seed=None)
    assert a.seed != b.seed
    assert not np.array_equal(a.params["conv1.W"], b.params["conv1.W"])
    again = _small(seed=a.seed)
    np.testing.assert_array_equal(again.params["conv1.W"], a.params["conv1.W"])


def test_every_step_has_its_own_dropout_masks() -> None:
    net = Sequential([dropout(0.5), affine(3)], (40,), seed=0)
    x, t = np.ones((4, 40), dtype=np.float32), np.zeros(4, dtype=int)
    first, second = net.gradient(x, t)["affine1.W"], net.gradient(x, t)["affine1.W"]
    assert not np.array_equal(first == 0.0, second == 0.0)
    net.step = 0
    np.testing.assert_array_equal(net.gradient(x, t)["affine1.W"], first)
    net.step = 0
    net.use_seed(1)
    assert not np.array_equal(net.gradient(x, t)["affine1.W"], first)


def test_two_dropouts_of_one_network_draw_apart() -> None:
    net = Network([("a", dropout(0.5)), ("b", dropout(0.5), "input"), ("c", "concatenate", ["a", "b"])], (50,), seed=0)
    y = net.predict(np.ones((2, 50)), train=True)
    assert not np.array_equal(y[:, :50], y[:, 50:])


# ----------------------------------------------------------------------------------------------- copies and devices
def test_a_copy_has_its_own_arrays() -> None:
    net = _small()
    x, t = _batch(5)
    twin = net.copy()
    kept = {name: a.copy() for name, a in net.arrays().items()}
    np.testing.assert_array_equal(twin.predict(x), net.predict(x))
    for name, a in twin.arrays().items():
        assert not np.shares_memory(a, net.arrays()[name])
        a[...] = 0.5
    twin.gradient(x, t)
    assert net.step == 0
    assert not net.layers["conv1"].grads
    for name, a in net.arrays().items():
        np.testing.assert_array_equal(a, kept[name])
    assert (type(twin), list(twin.params), twin.input_shape) == (type(net), list(net.params), net.input_shape)


def test_a_copy_in_float64() -> None:
    net = _small()
    twin = net.copy("float64")
    x, _ = _batch(5)
    assert twin.predict(x).dtype == np.float64
    assert net.params["conv1.W"].dtype == np.float32
    # The same weights; the float32 network rounds sums of up to 63 products of the size of 1.
    np.testing.assert_allclose(net.predict(x), twin.predict(x), rtol=0.0, atol=63 * 6e-8 * 10)


def test_moving(device: Device) -> None:
    net = _small()
    x, t = _batch(5)
    net.gradient(x, t)
    want = asnumpy(net.predict(x))
    assert net.to(device) is net
    assert net.device == device
    assert all(isinstance(a, device.xp.ndarray) for a in net.arrays().values())
    # On another device sums are ordered otherwise: float32, up to 63 products of the size of 1.
    np.testing.assert_allclose(asnumpy(net.predict(x)), want, rtol=0.0, atol=63 * 6e-8 * 10)
    net.to("cpu")
    np.testing.assert_array_equal(net.predict(x), want)
    with pytest.raises(ConfigError, match="no device is called 'abacus'"):
        net.to("abacus")


def test_a_layers_own_arrays_become_the_networks_dtype() -> None:
    net = Sequential([Affine(np.ones((4, 3)), np.zeros(3))], (4,), seed=0)
    assert net.params["affine1.W"].dtype == np.float32


def test_params_are_live() -> None:
    net = _plain()
    x, _ = _batch(2)
    before = net.predict(x)
    net.params["affine2.b"] = np.array([1.0, 2.0, 3.0])
    assert net.layers["affine2"].b.tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(net.predict(x), before + np.array([1.0, 2.0, 3.0]), rtol=0.0, atol=1e-6)
    net.layers["affine2"].W = np.zeros((5, 3), dtype=np.float32)
    np.testing.assert_array_equal(net.predict(x), [[1.0, 2.0, 3.0]] * 2)
    with pytest.raises(ShapeError, match=r"'affine2.b' has shape \(3,\), got an array of shape \(4,\)"):
        net.params["affine2.b"] = np.zeros(4)
    assert list(net.grads) == list(net.params)
    assert "affine2.b" not in net.grads


# ------------------------------------------------------------------------------------------------ errors for people
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 1, 28), r"layer 'conv1' takes a batch of shape \(N, 1, 28, 28\), got \(4, 1, 28\)$"),
        ((4, 3, 28, 28), r"got \(4, 3, 28, 28\)$"),
        ((), r"got \(\)$"),
        ((4, 784), r"got \(4, 784\); these are flat, use x.reshape\(-1, 1, 28, 28\) or flatten=False"),
        (
            (4, 28, 28, 1),
            r"got \(4, 28, 28, 1\); these have their channels last \(NHWC\), use x.transpose\(0, 3, 1, 2\)",
        ),
        ((1, 28, 28), r"got \(1, 28, 28\); this is a single sample, make a batch of it with x\[None\]"),
    ],
)
def test_batches_that_do_not_fit(shape: tuple[int, ...], words: str) -> None:
    net = Sequential([conv(2, 3), affine(3)], (1, 28, 28), seed=0)
    x = np.zeros(shape, dtype=np.float32)
    for use in (net.predict, net.activations, lambda x: net.loss(x, np.zeros(4, dtype=int))):
        with pytest.raises(ShapeError, match=words):
            use(x)


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (np.zeros(3, dtype=int), r"labels for 4 rows have shape \(4,\) or one-hot \(4, 3\), got \(3,\)"),
        (np.zeros((4, 2)), r"have shape \(4, 3\), got \(4, 2\)"),
        (np.zeros(4), "class labels are whole numbers, got dtype float64"),
        ([0, 1, 2, 3], r"labels for 3 classes lie in 0..2, got values from 0 to 3"),
    ],
)
def test_labels_that_do_not_fit(t: Any, words: str) -> None:
    net = _plain()
    uses = (net.loss, net.gradient, net.accuracy) if len(t) == 4 else (net.loss, net.gradient)
    for use in uses:
        with pytest.raises(ShapeError, match=words):
            use(_batch(4)[0], t)


def test_arguments_that_make_no_sense() -> None:
    for dtype in ("int32", "complex64"):
        with pytest.raises(ConfigError, match=f"dtype is one of float32, float64, float16, got {dtype}"):
            _small(dtype=dtype)
    with pytest.raises(ConfigError, match="dtype is one of float32, float64, float16, got 'banana'"):
        _small(dtype="banana")
    with pytest.raises(ConfigError, match="param_names is one of layer, book, got 'short'"):
        _small(param_names="short")
    with pytest.raises(ConfigError, match="no device is called 'abacus'"):
        _small(device="abacus")
    with pytest.raises(ConfigError, match="no initial weight is called 'hee'"):
        _small(init="hee")
    with pytest.raises(ShapeError, match=r"input_shape is one sample's shape .*got 784"):
        Sequential([affine(3)], 784)
    with pytest.raises(ConfigError, match="two layers are called 'a'"):
        Network([("a", "relu"), ("a", "relu")], (3,))
    with pytest.raises(ConfigError, match="call it: relu"):
        Sequential([Relu], (3,))


# ------------------------------------------------------------------------------------------------------------ files
each_suffix = pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])


@each_suffix
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("param_names", ["layer", "book"])
def test_parameters_come_back_to_the_bit(tmp_path: Path, suffix: str, dtype: str, param_names: str) -> None:
    net = _small(dtype=dtype, param_names=param_names)
    x, t = _batch(5)
    for _ in range(3):  # running statistics that are not the first ones
        make_optimizer("adam", lr=0.01).update(net.params, net.gradient(x, t))
    path = tmp_path / f"weights{suffix}"
    net.save_params(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    other = _small(dtype=dtype, param_names=param_names, seed=1)
    other.load_params(path)
    assert list(net.arrays())[-2:] == ["norm1.running_mean", "norm1.running_var"]
    for name, a in net.arrays().items():
        b = other.arrays()[name]
        assert (b.dtype, b.shape) == (a.dtype, a.shape)
        assert b.tobytes() == a.tobytes(), name
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_a_float64_file_is_rounded_once_into_a_float32_network(tmp_path: Path) -> None:
    large, small = _small(dtype="float64"), _small(seed=1)
    large.save_params(tmp_path / "w.npz")
    small.load_params(tmp_path / "w.npz")
    for name, a in small.arrays().items():
        np.testing.assert_array_equal(a, large.arrays()[name].astype(np.float32))


@each_suffix
def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path, suffix: str) -> None:
    net = _small()
    arrays = {name: a.copy() + 1.0 for name, a in net.arrays().items()}
    del arrays["norm1.running_var"], arrays["conv1.b"]
    arrays["affine1.W"] = np.zeros((4, 5), dtype=np.float32)
    arrays["affine9.W"] = np.zeros((2, 2), dtype=np.float32)
    path = tmp_path / f"other{suffix}"
    save_arrays(path, arrays)
    kept = {name: a.copy() for name, a in net.arrays().items()}
    with pytest.raises(CheckpointError) as raised:
        net.load_params(path)
    assert str(raised.value).splitlines() == [
        f"{path} does not fit this network:",
        "  affine1.W: the network has (27, 5), the file (4, 5)",
        "  conv1.b: missing in the file",
        "  norm1.running_var: missing in the file",
        "  affine9.W: not in the network",
    ]
    for name, a in net.arrays().items():
        np.testing.assert_array_equal(a, kept[name])
    with pytest.raises(CheckpointError, match=r"affine1.W: the network has \(27, 5\), the file \(4, 5\)"):
        net.load_params(path, partial=True)


def test_partial_loading(tmp_path: Path) -> None:
    net = _small()
    save_arrays(tmp_path / "some.npz", {"conv1.b": np.ones(3), "else": np.ones(1)})
    W = net.params["conv1.W"].copy()
    net.load_params(tmp_path / "some.npz", partial=True)
    assert net.params["conv1.b"].tolist() == [1.0] * 3
    np.testing.assert_array_equal(net.params["conv1.W"], W)


def test_files_that_are_missing_or_of_no_known_kind(tmp_path: Path) -> None:
    net = _plain()
    with pytest.raises(CheckpointError, match="there is no such file"):
        net.load_params(tmp_path / "nothing.npz")
    with pytest.raises(ConfigError, match="names no known format"):
        net.save_params(tmp_path / "weights.h5")


def test_the_usual_name_is_params_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = _plain()
    net.save_params()
    assert [p.name for p in tmp_path.iterdir()] == ["params.safetensors"]
    assert sorted(load_arrays("params.safetensors")) == sorted(net.params)
    _plain(seed=1).load_params()


# ------------------------------------------------------------------------------------------------------------ words
def test_summary() -> None:
    lines = _small().summary().splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "after"]
    assert set(lines[1]) == {"-"}
    assert lines[2].split() == ["conv1", "Convolution", "(N,", "3,", "6,", "7)", "57", "input"]
    assert lines[3].split() == ["norm1", "BatchNormalization", "(N,", "3,", "6,", "7)", "6", "conv1"]
    assert lines[-2].split()[-2:] == ["18", "tanh1"]
    assert lines[-1] == f"{57 + 6 + 27 * 5 + 5 + 18} parameters, float32, on cpu"
    assert len(lines) == 2 + 8 + 1
    big = Sequential([affine(1000)], (1000,), seed=0, init="zeros")
    assert big.summary().splitlines()[-1].startswith("1,001,000 parameters")


def test_repr_and_shapes() -> None:
    net = _small()
    assert repr(net) == "<Sequential of 8 layers on cpu>"
    assert (net.input_shape, net.output_shape) == ((2, 6, 7), (3,))
    assert list(net.layers) == ["conv1", "norm1", "relu1", "pool1", "dropout1", "affine1", "tanh1", "affine2"]


def test_the_readmes_first_network() -> None:
    net = Sequential([conv(32, 3, pad=1), "relu", max_pool(2), affine(10)], input_shape=(1, 28, 28), seed=0)
    assert net.predict(np.zeros((2, 1, 28, 28))).shape == (2, 10)
    # "auto" is He's rule; 288 draws scatter by 4 percent, 62,720 by 0.3: five times that.
    assert float(net.params["conv1.W"].std()) == pytest.approx(math.sqrt(2.0 / 9.0), rel=0.21)
    assert float(net.params["affine1.W"].std()) == pytest.approx(math.sqrt(2.0 / 6272.0), rel=0.015)
