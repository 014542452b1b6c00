"""The CUDA path through whole networks: equal to the reference on the CPU, nothing moved, waited for or allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.install import installed
from xpcnn import Network, Trainer
from xpcnn.device import CudaDevice, asnumpy, get_device
from xpcnn.errors import ConfigError, DeviceError
from xpcnn.executors import EagerExecutor
from xpcnn.executors.cuda import CudaExecutor
from xpcnn.executors.tally import Tally
from xpcnn.layers import affine, average_pool, batch_norm, conv, dropout, max_pool
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.models import AlexNet, DeepConvNet, LeNet5, SimpleConvNet

_FILTERS = {"filter_num": 5, "filter_size": 3, "pad": 1, "stride": 1}


def _branches(**how: Any) -> Network:
    """Every stage there is, two branches, and a pooling that overlaps and pads."""
    return Network(
        [
            ("stem", conv(4, 3, pad=1)),
            ("relu", "relu"),
            ("left", conv(4, 1), "relu"),
            ("right", conv(4, 3, stride=2, pad=(1, 1, 1, 2), groups=2), "relu"),
            ("small", max_pool(3, 2, pad=1), "left"),
            ("cut", conv(4, 2), "right"),
            ("grown", conv(4, 2, pad=1), "cut"),
            ("sum", "add", ("small", "grown")),
            ("norm", batch_norm()),
            ("relu2", "relu"),
            ("both", "concatenate", ("relu2", "sum")),
            ("pool", average_pool(2)),
            ("lrn", "lrn"),
            ("relu3", "relu"),
            ("hidden", affine(12)),
            ("tanh", "tanh"),
            ("drop", dropout(0.3)),
            ("scores", affine(7)),
        ],
        (2, 10, 9),
        **how,
    )


_MODELS: dict[str, tuple[Callable[..., Network], tuple[int, ...], int]] = {
    "SimpleConvNet": (lambda **how: SimpleConvNet((1, 12, 12), _FILTERS, 16, **how), (1, 12, 12), 10),
    "DeepConvNet": (lambda **how: DeepConvNet((1, 16, 16), **how), (1, 16, 16), 10),
    "LeNet5": (lambda **how: LeNet5(**how), (1, 28, 28), 10),
    "AlexNet": (lambda **how: AlexNet(input_dim=(3, 32, 32), **how), (3, 32, 32), 10),
    "branches": (_branches, (2, 10, 9), 7),
}


def _batch(shape: tuple[int, ...], classes: int, N: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((N, *shape), dtype=np.float32), rng.integers(0, classes, N)


def _reference(net: Network) -> Network:
    """On the CPU, in float64, layer after layer."""
    twin = net.to("cpu").copy("float64")
    twin.executor = EagerExecutor(twin.nodes, twin.loss_layer, twin.seed)
    return twin


def _pairs(found: Any, wanted: Any) -> Any:
    return [(name, asnumpy(found[name]).astype(np.float64), wanted[name]) for name in wanted]


@pytest.mark.parametrize("name", _MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_pass_is_the_reference_s(cuda: CudaDevice, name: str, dtype: str) -> None:
    make, shape, classes = _MODELS[name]
    wanted = _reference(make(seed=1, dtype=dtype))
    net = make(seed=1, dtype=dtype, device=cuda)
    x, t = _batch(shape, classes)
    wanted_loss, wanted_scores = wanted.train_pass(x, t)
    loss, scores = net.train_pass(x, t)
    # Each value is a sum of up to a few thousand products, over up to eleven layers: errors of about 1e3 * eps of
    # the largest value, and a factor of 10 for what the layers behind make of them.
    eps = 1e4 * float(np.finfo(dtype).eps)
    assert scores.dtype == dtype
    np.testing.assert_allclose(float(loss), float(wanted_loss), rtol=eps)
    np.testing.assert_allclose(asnumpy(scores), wanted_scores, rtol=eps, atol=eps * abs(wanted_scores).max())
    for key, g, want in _pairs(net.grads, wanted.grads):
        np.testing.assert_allclose(g, want, rtol=0, atol=eps * max(abs(want).max(), 1e-6), err_msg=key)
    for key, a, want in _pairs(net.state, wanted.state):
        np.testing.assert_allclose(a, want, rtol=0, atol=eps * abs(want).max(), err_msg=key)
    np.testing.assert_allclose(
        asnumpy(net.predict(x)), wanted.predict(x), rtol=0, atol=eps * abs(wanted.predict(x)).max()
    )


def test_equal_passes_give_equal_bits(cuda: CudaDevice) -> None:
    x, t = _batch((2, 10, 9), 7)
    first, second = (_branches(seed=2, device=cuda) for _ in range(2))
    for _ in range(2):
        losses = [asnumpy(net.train_pass(x, t)[0]) for net in (first, second)]
        np.testing.assert_array_equal(*losses)
        for name in first.grads:
            np.testing.assert_array_equal(asnumpy(first.grads[name]), asnumpy(second.grads[name]), err_msg=name)


@pytest.mark.parametrize("how", ["one-hot", "at test time", "smoothed"])
def test_what_no_kernel_does_goes_layer_after_layer(cuda: CudaDevice, how: str) -> None:
    make, shape, classes = _MODELS["SimpleConvNet"]
    loss = SoftmaxWithLoss(0.2) if how == "smoothed" else SoftmaxWithLoss()
    wanted, net = _reference(make(seed=1)), make(seed=1, device=cuda)
    x, t = _batch(shape, classes)
    for one in (wanted, net):
        one.use_loss(loss)
    t = np.eye(classes, dtype=np.float32)[t] if how == "one-hot" else t
    train = how != "at test time"
    want, _ = wanted.executor.gradient(x.astype(np.float64), t, train)
    found, _ = net.executor.gradient(cuda.asarray(x), cuda.asarray(t), train)
    np.testing.assert_allclose(float(found), float(want), rtol=1e-5)
    for key, g, want_g in _pairs(net.grads, wanted.grads):
        np.testing.assert_allclose(g, want_g, rtol=0, atol=1e-4 * abs(want_g).max(), err_msg=key)
        assert net.grads[key].data.ptr >= net.executor.flat.grads.data.ptr  # where the optimizer looks for them


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_some_steps_end_where_the_cpu_s_end(cuda: CudaDevice, optimizer: str) -> None:
    make, shape, classes = _MODELS["SimpleConvNet"]
    x, t = _batch(shape, classes, N=20)
    nets = [make(seed=3, device=device) for device in ("cpu", cuda)]
    param = {"lr": 0.01, "weight_decay": 0.01, "clip_norm": 0.5, "clip_value": 0.2}
    for net in nets:
        Trainer(
            net, x, t, epochs=2, mini_batch_size=8, optimizer=optimizer, optimizer_param=param, verbose=False
        ).train()
    for name, a in nets[0].params.items():
        # Six steps of at most 0.01 (AdaGrad's and RMSprop's first are larger) with float32 gradients; where a
        # gradient is nearly 0, adaptive rules amplify its rounding, so only the bulk is compared closely.
        apart = abs(asnumpy(nets[1].params[name]) - a)
        assert np.median(apart) <= 1e-6, name
        assert apart.max() <= 0.05, name


def test_pieces_of_a_batch_give_the_whole_s_step(cuda: CudaDevice) -> None:
    make, shape, classes = _MODELS["DeepConvNet"]
    x, t = _batch(shape, classes, N=7)
    whole, pieces = (make(seed=4, device=cuda) for _ in range(2))
    pieces.executor.most = 3
    wanted, scores = whole.train_pass(x, t)
    loss, scores_too = pieces.train_pass(x, t)
    np.testing.assert_allclose(float(loss), float(wanted), rtol=1e-6)
    np.testing.assert_allclose(asnumpy(scores_too), asnumpy(scores), rtol=1e-5, atol=1e-6)
    for name in whole.grads:
        want = asnumpy(whole.grads[name])
        np.testing.assert_allclose(asnumpy(pieces.grads[name]), want, rtol=0, atol=1e-5 * abs(want).max(), err_msg=name)


def test_float16_keeps_float32_parameters_and_learns(cuda: CudaDevice) -> None:
    make, shape, classes = _MODELS["SimpleConvNet"]
    x, t = _batch(shape, classes, N=20)
    wanted = _reference(make(seed=5))
    net = make(seed=5, dtype="float16", device=cuda)
    assert {a.dtype.name for a in net.params.values()} == {"float32"}
    assert net.predict(x).dtype == np.float32
    gradient = net.gradient(x, t)
    wanted.train_pass(x, t)
    for name, want in wanted.grads.items():
        # float16 has 11 bits: 5e-4 a rounding, and some of the 20 samples' ReLUs fall on the other side.
        assert np.linalg.norm(asnumpy(gradient[name]) - want) <= 0.1 * np.linalg.norm(want), name
    trainer = Trainer(net, x, t, epochs=30, mini_batch_size=20, optimizer="adam", verbose=False)
    trainer.train()
    losses = trainer.train_loss_list
    assert losses[-1] < 0.9 * losses[0]


def test_a_float16_step_that_overflows_changes_nothing_but_the_scale(cuda: CudaDevice) -> None:
    make, shape, classes = _MODELS["SimpleConvNet"]
    x, t = _batch(shape, classes)
    net = make(seed=5, dtype="float16", device=cuda)
    trainer = Trainer(net, x, t, epochs=1, mini_batch_size=6, optimizer="adam", verbose=False)
    scaling = net.executor.scaling
    scaling.scale.fill(2.0**24)
    before = {name: asnumpy(a).copy() for name, a in net.params.items()}
    trainer.step(cuda.asarray(x), cuda.asarray(t))
    for name, a in before.items():
        np.testing.assert_array_equal(asnumpy(net.params[name]), a)
    assert float(scaling.scale[0]) == 2.0**23
    assert int(scaling.step[0]) == 0


def test_float16_is_refused_on_a_cpu(cuda: CudaDevice) -> None:
    with pytest.raises(ConfigError, match="GPU"):
        SimpleConvNet(dtype="float16")
    net = _MODELS["SimpleConvNet"][0](dtype="float16", device=cuda)
    with pytest.raises(ConfigError, match="float32"):
        net.to("cpu")
    assert net.copy("float32").to("cpu").dtype == np.float32


def test_the_plan_names_every_stage(cuda: CudaDevice) -> None:
    plan = _branches(device=cuda).summary(plan=True)
    for words in (
        "stem + relu: implicit product + relu",
        "norm + relu2: batch normalisation + relu",
        "tanh: reference",
    ):
        assert words in plan
    assert isinstance(_branches(device=cuda).executor, CudaExecutor)
    assert "columns + relu + max pool" in DeepConvNet(device=cuda).summary(plan=True)


def test_what_predict_returns_stays_as_it_is(cuda: CudaDevice) -> None:
    make, shape, classes = _MODELS["SimpleConvNet"]
    net = make(seed=1, device=cuda)
    x, _ = _batch(shape, classes)
    first = net.predict(x)
    kept = asnumpy(first).copy()
    net.predict(x[::-1].copy())
    np.testing.assert_array_equal(asnumpy(first), kept)


@contextmanager
def _limited(device: CudaDevice, extra: int) -> Iterator[None]:
    """The double's memory has room for so many more bytes."""
    pool = device.xp.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + extra)
    try:
        yield
    finally:
        pool.set_limit(size=0)


def test_a_batch_that_does_not_fit_goes_in_pieces_to_the_same_step() -> None:
    make, shape, classes = _MODELS["DeepConvNet"]
    x, t = _batch(shape, classes, N=32)
    with installed():
        cuda = get_device("cuda")
        roomy, tight = (make(seed=4, device=cuda) for _ in range(2))
        wanted, _ = roomy.train_pass(x, t)
        tally = Tally(cuda.xp)
        with _limited(cuda, 1_000_000):  # 32 samples take about 2.4 million bytes
            loss, _ = tight.train_pass(x, t, tally)
        assert tight.executor.most in (2, 4, 8, 16)
        np.testing.assert_allclose(float(loss), float(wanted), rtol=1e-6)
        np.testing.assert_allclose(tally.figures()[0], float(wanted), rtol=1e-6)
        assert tally.seen == 32
        for name in roomy.grads:
            want = asnumpy(roomy.grads[name])
            np.testing.assert_allclose(asnumpy(tight.grads[name]), want, rtol=0, atol=1e-5 * abs(want).max())
        np.testing.assert_allclose(asnumpy(tight.predict(x)), _whole(roomy, x), rtol=1e-5, atol=1e-6)


def _whole(net: Network, x: np.ndarray) -> np.ndarray:
    return np.concatenate([asnumpy(net.predict(x[i : i + 8])) for i in range(0, len(x), 8)])


def test_not_even_one_sample_fits() -> None:
    make, shape, classes = _MODELS["DeepConvNet"]
    x, t = _batch(shape, classes, N=4)
    with installed():
        net = make(seed=4, device="cuda")
        with (
            _limited(net.device, 70_000),
            pytest.raises(DeviceError, match=r"bytes were asked for.*held.*free.*not even one sample"),
        ):
            net.train_pass(x, t)


def test_batch_normalisation_s_batch_cannot_be_split() -> None:
    x, t = _batch((2, 10, 9), 7, N=64)
    with installed():
        net = _branches(seed=1, device="cuda")
        with (
            _limited(net.device, 300_000),
            pytest.raises(DeviceError, match=r"batch of 64.*bytes were asked for.*batch normalisation"),
        ):
            net.train_pass(x, t)
