"""What a card shows and a double cannot, or only in part: real asynchrony, cuBLAS, memory, and learning.

All other tests of the CUDA path (`pytest -m gpu`, tests/ops/cuda, every test with a `device`) also run on a card
where there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn import Trainer
from xpcnn.device import CudaDevice, asnumpy
from xpcnn.models import DeepConvNet, SimpleConvNet
from xpcnn.ops.cuda.convolution import conv2d_backward, conv2d_forward
from xpcnn.ops.reference import conv2d_backward as reference_backward
from xpcnn.ops.reference import conv2d_forward as reference_forward


def _digits(N: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten patterns with noise on them: as easy as digits to tell apart."""
    rng = np.random.default_rng(0)
    patterns = rng.random((10, 1, 28, 28), dtype=np.float32)
    t = rng.integers(0, 10, N)
    return 0.5 * patterns[t] + 0.5 * rng.random((N, 1, 28, 28), dtype=np.float32), t


def _trainer(card: CudaDevice, dtype: str = "float32", N: int = 300, **how: Any) -> Trainer:
    x, t = _digits(N)
    net = SimpleConvNet(seed=0, weight_init_std="he", device=card, dtype=dtype)
    return Trainer(net, x, t, mini_batch_size=50, optimizer="adam", verbose=False, train_accuracy="running", **how)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_learns(card: CudaDevice, dtype: str) -> None:
    trainer = _trainer(card, dtype, epochs=3)
    assert trainer.train()[-1]["train_acc"] > 0.8


def test_a_step_returns_before_the_device_has_done_it(real: CudaDevice) -> None:
    trainer = _trainer(real, N=50)
    x, t = (real.asarray(a) for a in _digits(50))
    trainer.step(x, t)  # compiles
    big = real.xp.ones((8192, 8192), dtype=np.float32)
    real.synchronize()
    end = real.xp.cuda.Event()
    for _ in range(20):
        big @ big  # a second of work, or a good part of one
    trainer.step(x, t)
    end.record()
    assert not end.done, "the step waited for the work before it"
    real.synchronize()


def test_memory_does_not_grow_over_steps(card: CudaDevice) -> None:
    trainer = _trainer(card, N=50)
    x, t = (card.asarray(a) for a in _digits(50))
    pool = card.xp.get_default_memory_pool()
    trainer.step(x, t)
    trainer.step(x, t)
    held = pool.used_bytes()
    for _ in range(30):
        trainer.step(x, t)
    assert pool.used_bytes() == held


def test_the_same_run_twice_gives_the_same_bits(card: CudaDevice) -> None:
    first, second = (_trainer(card, epochs=1) for _ in range(2))
    first.train()
    second.train()
    for name, a in first.network.params.items():
        np.testing.assert_array_equal(asnumpy(a), asnumpy(second.network.params[name]), err_msg=name)


def test_a_batch_that_does_not_fit_is_split(card: CudaDevice) -> None:
    net = DeepConvNet(seed=0, device=card)
    x, t = _digits(200)
    wanted = float(DeepConvNet(seed=0).train_pass(x, t)[0])
    pool = card.xp.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 40_000_000)
    try:
        loss, _ = net.train_pass(x, t)
    finally:
        pool.set_limit(size=0)
    assert net.executor.most is not None
    np.testing.assert_allclose(float(loss), wanted, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_cublas_takes_turned_operands(card: CudaDevice, groups: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 8, 9, 9)).astype(np.float32)
    W, b = rng.standard_normal((16, 8 // groups, 3, 3)).astype(np.float32), rng.standard_normal(16).astype(np.float32)
    y, col = reference_forward(x, W, b, 1, 1, 1, groups)
    dout = rng.standard_normal(y.shape).astype(np.float32)
    there = [card.asarray(a) for a in (x, W, b)]
    # Sums of 72 and of 324 products in float32; TF32, were it on, would be off by 1e-3.
    np.testing.assert_allclose(asnumpy(conv2d_forward(*there, 1, 1, 1, groups)), y, rtol=0, atol=2e-4)
    found = conv2d_backward(card.asarray(dout), there[0], there[1], None, 1, 1, 1, groups)
    for got, want in zip(found, reference_backward(dout, col, W, x.shape, 1, 1, 1, groups, True), strict=True):
        np.testing.assert_allclose(asnumpy(got), want, rtol=0, atol=1e-5 * np.abs(want).max() * 10)
